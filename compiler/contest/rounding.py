"""What rounding to 16 bits inside a graph explains.

Under autocast, or in a model of 16 bits, PyTorch itself is off from exact arithmetic by more than its outputs' types
show. So the graph runs once more with 32 bits wherever it would round to 16, and a compiler may be as far from that as
PyTorch is, twice over: the rule by which PyTorch tests its own compiler (`torch._dynamo.utils.same` with a reference of
more bits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from foretune.compiler.contest.comparison import Observed, observe
from foretune.compiler.torch_private import TorchDispatchMode, pytree

_NARROW = (torch.float16, torch.bfloat16)


class WatchFor16Bits(TorchDispatchMode):
    """Notices whether any operator gives a tensor of 16-bit floating-point numbers.

    Attributes:
        found: whether one did.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_dispatch__(self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Runs an operator."""
        results = operator(*args, **(kwargs or {}))
        self.found = self.found or pytree.tree_any(_is_narrow, results)
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


def _widened(value: Any) -> Any:
    if _is_narrow(value):
        return value.float()
    return torch.float32 if isinstance(value, torch.dtype) and value in _NARROW else value


def _leaf(x: Any) -> Any:
    return x.detach().float().requires_grad_(x.requires_grad) if _is_narrow(x) else x
