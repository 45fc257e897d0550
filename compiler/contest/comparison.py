"""What a run of a graph leaves, and how far that is from what another one left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foretune.compiler.torch_private import clone_preserve_strides

_SMALLEST = 1e-6  # magnitude that errors are relative to, at least
_VANISHING = 1e-3  # gradients so much smaller than the largest are sums that cancel
_COARSE, _ROUNDINGS = 1e-4, 4.0  # types with such an epsilon may differ by so many of it
_OWN_ERRORS = 2.0  # of PyTorch's own rounding inside; as many as its own tests allow its compiler


def asks_for_gradients(inputs: Sequence[Any]) -> bool:
    """Whether a run on these inputs would be followed by one backward."""
    return torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in inputs)


def call(run: Callable, inputs: Sequence[Any], trains: bool) -> tuple[Any, Sequence[torch.Tensor | None]]:
    """(outputs, gradients) of one run."""
    outputs = run(*inputs)
    if not trains:
        return outputs, ()
    sources = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    ends = [y for y in _flat(outputs) if isinstance(y, torch.Tensor) and y.requires_grad and y.grad_fn is not None]
    if not ends:
        return outputs, ()
    return outputs, torch.autograd.grad(ends, sources, [torch.ones_like(y) for y in ends], allow_unused=True)


@dataclass(frozen=True)
class Observed:
    """All that a run leaves.

    Attributes:
        outputs: with the values of changed inputs behind them.
        gradients: of those inputs that have any.
        changed: positions of the inputs that were changed in place.
        shared: for each output and then each input, the first of all these that it shares memory with.
    """

    outputs: list[Any]
    gradients: list[Any]
    changed: frozenset[int]
    shared: tuple[int, ...]


def observe(run: Callable, inputs: Sequence[Any], trains: bool, changed: frozenset[int] | None = None) -> Observed:
    """Runs on copies; which inputs it changes is told by their values, where it is not known.

    Versions do not tell it: batch norm changes its running statistics without a new one.
    """
    copies = copies_of(inputs, changed)
    outputs, gradients = call(run, copies, trains)
    if changed is None:
        changed = frozenset(
            i for i, (x, y) in enumerate(zip(inputs, copies)) if isinstance(x, torch.Tensor) and not torch.equal(x, y)
        )
    shared = _shared_memory([*_flat(outputs), *copies])
    return Observed(
        [*map(_kept, _flat(outputs)), *(_kept(copies[i]) for i in sorted(changed))],
        [*map(_kept, gradients)],
        changed,
        shared,
    )


def _shared_memory(values: Sequence[Any]) -> tuple[int, ...]:
    """Of each value, the position of the first one with the same storage."""
    first: dict[Any, int] = {}
    return tuple(first.setdefault(_storage_of(value) or ("none", i), i) for i, value in enumerate(values))


def _storage_of(value: Any) -> int:
    """The address of a tensor's memory; 0 if it has none."""
    return (
        value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) and value.layout == torch.strided else 0
    )


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def copies_of(inputs: Sequence[Any], changed: frozenset[int] | None = None) -> list[Any]:
    """Inputs to run on: copies, or only of those that a run changes, where that is known.

    What is the same tensor stays so, and symbolic sizes become the numbers that they stand for.
    """
    copied: dict[int, Any] = {}
    for i, x in enumerate(inputs):
        if id(x) not in copied:
            copied[id(x)] = _copy(x, changed is None or i in changed)
    return [copied[id(x)] for x in inputs]


def copies_beside(inputs: Sequence[Any], same: frozenset[int]) -> list[Any]:
    """Inputs to run on beside the program, which goes on with its own: copies of all but those at some positions, which
    stay the same from call to call.
    """
    return copies_of(inputs, frozenset(range(len(inputs))) - same)


def _copy(x: Any, changes: bool) -> Any:
    if isinstance(x, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return x.node.hint
    if not isinstance(x, torch.Tensor) or not changes:
        return x
    return clone_preserve_strides(x.detach()).requires_grad_(x.requires_grad)


def largest_error(expected: Observed, actual: Observed, exact: Observed | None = None) -> float:
    """The largest error of all that a run left; infinite where its structure differs.

    Args:
        expected: what PyTorch's run left.
        actual: what the run left.
        exact: what PyTorch's leaves when it computes with more bits; errors that its own rounding explains are none.
    """
    if len(expected.outputs) != len(actual.outputs) or len(expected.gradients) != len(actual.gradients):
        return math.inf
    if expected.shared != actual.shared:  # a caller who writes to one would change another
        return math.inf
    floor = _VANISHING * max((_scale(g) for g in expected.gradients if isinstance(g, torch.Tensor)), default=0.0)
    known = exact or Observed([None] * len(expected.outputs), [None] * len(expected.gradients), frozenset(), ())
    errors = [error_of(*values) for values in zip(expected.outputs, actual.outputs, known.outputs)]
    errors += [error_of(*values, floor) for values in zip(expected.gradients, actual.gradients, known.gradients)]
    return max(errors, default=0.0)


def error_of(expected: Any, actual: Any, exact: Any = None, floor: float = 0.0) -> float:
    """The error of one value, as `rel_error` has it, beyond what PyTorch's own rounding explains.

    Args:
        expected: what PyTorch's run left.
        actual: what the run left.
        exact: what PyTorch's leaves when it computes with more bits; None where that is not known.
        floor: see `rel_error`.
    """
    if not isinstance(expected, torch.Tensor) or not isinstance(actual, torch.Tensor):
        return 0.0 if type(expected) is type(actual) and expected == actual else math.inf
    error = rel_error(expected, actual, floor)
    if not isinstance(exact, torch.Tensor) or not math.isfinite(error):
        return error
    exact = exact.to(expected.dtype)
    own = rel_error(exact, expected, floor)
    return min(error, max(0.0, rel_error(exact, actual, floor) - _OWN_ERRORS * own)) if math.isfinite(own) else error


def rel_error(expected: torch.Tensor, actual: torch.Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the largest finite expected magnitude, or to `floor` if that is more.

    Of 16-bit types it is the error beyond what their rounding explains. Infinite where shapes, types, NaNs or
    infinities disagree, or integers differ.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return math.inf
    if expected.is_quantized:
        expected, actual = expected.dequantize(), actual.dequantize()
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, actual) else math.inf
    wide = torch.complex128 if expected.is_complex() else torch.float64
    eps = torch.finfo(expected.dtype).eps
    expected, actual = expected.detach().to(wide), actual.detach().to(wide)
    finite = expected.isfinite()
    if not torch.equal(finite, actual.isfinite()) or not torch.equal(
        expected[~finite].nan_to_num(), actual[~finite].nan_to_num()
    ):
        return math.inf
    difference = (expected - actual).abs()[finite]
    if not difference.numel():
        return 0.0
    error = difference.max().item() / max(_scale(expected), floor, _SMALLEST)
    return max(0.0, error - _ROUNDINGS * eps) if eps > _COARSE else error


def _scale(x: torch.Tensor) -> float:
    magnitudes = x.detach().abs()[x.isfinite()]
    return magnitudes.max().item() if magnitudes.numel() else 0.0
