"""What rounding to 16 or 8 bits inside a graph explains.

Under autocast, or in a model of 16 bits, PyTorch itself is off from exact arithmetic by more than its outputs' types
show. So the graph runs once more with 32 bits wherever it would round to 16, and a compiler may be as far from that as
PyTorch is, twice over: the rule by which PyTorch tests its own compiler (`torch._dynamo.utils.same` with a reference of
more bits).

A quantised model rounds to 8 bits between its operators. There the same sums, added up in another order, now and then
fall on the other side of a half, so that a number moves by a whole step of its scale; more bits explain nothing of it.
So such a graph's answers may be off by two of the 127 steps that the largest magnitude has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from foretune.compiler.contest.comparison import Observed, observe
from foretune.compiler.torch_private import TorchDispatchMode, pytree

QUANTISED_ERROR = 2 / 127  # relative to the largest magnitude, beyond the usual tolerance
_NARROW = (torch.float16, torch.bfloat16)
_EIGHT_BITS = (torch.int8, torch.uint8, torch.qint8, torch.quint8)


class WatchForRounding(TorchDispatchMode):
    """Notices whether any operator rounds to few bits.

    Attributes:
        to_16_bits: whether one gave a tensor of 16-bit floating-point numbers.
        quantises: whether one made 8-bit integers of floating-point numbers, and a later one computed with 8 bits.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.to_16_bits = self.quantises = self._to_8_bits = False

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Runs an operator."""
        results = operator(*args, **(kwargs or {}))
        self.to_16_bits = self.to_16_bits or pytree.tree_any(_is_narrow, results)
        gives, takes = (pytree.tree_any(_is_of_8_bits, values) for values in (results, (args, kwargs)))
        self.quantises = self.quantises or (self._to_8_bits and takes and not gives)
        self._to_8_bits = self._to_8_bits or (gives and pytree.tree_any(_is_float, (args, kwargs)))
        return results


class _Widened(TorchDispatchMode):
    """Runs each operator with 32 bits where a graph says 16."""

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if operator is torch.ops.aten.view.dtype:
            raise TypeError("a program that looks at bits has others with another type")
        return operator(*pytree.tree_map(_widened, args), **pytree.tree_map(_widened, kwargs or {}))


def observe_widened(run: Callable, inputs: Sequence[Any], trains: bool, changed: frozenset[int]) -> Observed | None:
    """What a graph of 16-bit numbers leaves when it computes with 32 bits; None where that cannot be told.

    Args:
        run: PyTorch's own graph.
        inputs: of the run; none of them is changed.
        trains: whether a run is forward and backward.
        changed: positions of inputs that a run changes.
    """
    try:
        wide = [_leaf(x) for x in inputs]
        with _Widened():
            return observe(run, wide, trains, changed)
    except Exception:  # of any kind: a program may reinterpret bits, or insist on a type; nothing is explained then
        return None


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in _NARROW


def _is_of_8_bits(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in _EIGHT_BITS


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _widened(value: Any) -> Any:
    if _is_narrow(value):
        return value.float()
    return torch.float32 if isinstance(value, torch.dtype) and value in _NARROW else value


def _leaf(x: Any) -> Any:
    return x.detach().float().requires_grad_(x.requires_grad) if _is_narrow(x) else x
