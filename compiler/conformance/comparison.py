"""Whether a call of a compiled program did what PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foretune.compiler.conformance.program import Observation

_RELATIVE = {torch.float64: 1e-7, torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 5e-3}
_OF_LARGEST = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}
_OWN_ERRORS = 10.0  # PyTorch's own error may be exceeded so many times
_SUMMAND_ERROR = 1e-6  # of the largest summand


@dataclass(frozen=True)
class _Rules:
    """How strictly values are compared.

    Attributes:
        zeros_have_signs: whether 0.0 and -0.0 differ.
        slack: error that any element may have.
    """

    zeros_have_signs: bool = True
    slack: float = 0.0


_STRICT = _Rules()


def disagreement(
    expected: Observation, actual: Observation, exact: Observation | None = None, sums: bool = False
) -> str:
    """What is wrong with a call, first in its values, then in its memory; empty if nothing is.

    Args:
        expected: PyTorch's.
        actual: the compiled program's.
        exact: PyTorch's in float64. An element that agrees with it is right, too: sums of huge numbers overflow in one
            order and not in another.
        sums: whether the program adds elements up. The sign of a zero then depends on what a sum starts with, and small
            summands beside huge ones on their order.
    """
    if exact is not None and exact.error is not None:
        exact = None
    if not actual.fences_hold and expected.fences_hold:
        return "memory: written outside of an input"
    if expected.error is not None or actual.error is not None:
        return _errors_differ(expected.error, actual.error)
    kinds = [
        ("output", expected.outputs, actual.outputs, exact.outputs if exact else ()),
        ("input after the call", expected.inputs, actual.inputs, exact.inputs if exact else ()),
        ("gradient", expected.gradients, actual.gradients, exact.gradients if exact else ()),
    ]
    rules = _Rules(not sums, _SUMMAND_ERROR * _largest_product(expected.inputs) if sums else 0.0)
    differ = (_lists_differ(kind, e, a, best, rules) for kind, e, a, best in kinds)
    found = [next(filter(None, differ), "")]
    if expected.shared != actual.shared:
        found.append(_sharing_differs(expected, actual))
    return "; ".join(filter(None, found))


def _errors_differ(expected: Exception | None, actual: Exception | None) -> str:
    if expected is None:
        return f"error: {_told(actual)} where PyTorch raises nothing"
    if actual is None:
        return f"error: nothing raised where PyTorch raises {_told(expected)}"
    if isinstance(actual, type(expected)) or isinstance(expected, type(actual)):
        return ""
    return f"error: {_told(actual)} where PyTorch raises {_told(expected)}"


def _told(error: Exception | None) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:100] if lines else ''}"


def _sharing_differs(expected: Observation, actual: Observation) -> str:
    def told(pair: tuple[int, int]) -> str:
        n = len(expected.inputs)
        return " and ".join(f"input {i}" if i < n else f"output {i - n}" for i in pair)

    lost, gained = (sorted(a - b) for a, b in ((expected.shared, actual.shared), (actual.shared, expected.shared)))
    return "memory: " + "; ".join(
        f"{told(pairs[0])} {what}" for pairs, what in ((gained, "share memory"), (lost, "share no memory")) if pairs
    )


def _largest_product(inputs: Sequence[torch.Tensor]) -> float:
    """The largest finite product of one element of each input."""
    product = 1.0
    for x in inputs:
        if x.is_floating_point() and x.numel():
            product *= max(1.0, float(x.double().abs().nan_to_num(0.0, 0.0, 0.0).max()))
    return product


def _lists_differ(
    kind: str, expected: Sequence[Any], actual: Sequence[Any], exact: Sequence[Any], rules: _Rules
) -> str:
    if len(expected) != len(actual):
        return f"values: {len(actual)} {kind}s instead of {len(expected)}"
    for i, (e, a) in enumerate(zip(expected, actual)):
        best = exact[i] if len(exact) == len(expected) else None
        if found := _leaves_differ(e, a, best, rules):
            what, _, rest = found.partition(": ")
            return f"{what}: {kind} {i}: {rest}"
    return ""


def _leaves_differ(expected: Any, actual: Any, exact: Any, rules: _Rules) -> str:
    if not isinstance(expected, torch.Tensor) or not isinstance(actual, torch.Tensor):
        same = type(expected) is type(actual) and (expected == actual or (expected != expected and actual != actual))
        return "" if same else f"values: {actual!r} instead of {expected!r}"
    for name in ("dtype", "layout"):
        if getattr(expected, name) != getattr(actual, name):
            return f"{name}: {getattr(actual, name)} instead of {getattr(expected, name)}"
    if expected.shape != actual.shape:
        return f"shape: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if expected.layout != torch.strided:
        return ""
    if expected.numel() and expected.is_contiguous() and not actual.is_contiguous():
        return f"strides: {actual.stride()} instead of {expected.stride()}"
    return tensors_differ(expected, actual, exact if isinstance(exact, torch.Tensor) else None, rules)


def tensors_differ(
    expected: torch.Tensor, actual: torch.Tensor, exact: torch.Tensor | None = None, rules: _Rules = _STRICT
) -> str:
    """What is wrong with the values of a tensor; empty if nothing is."""
    if exact is not None and exact.shape != expected.shape:
        exact = None
    right = _same(expected, actual, _tolerance(expected, exact, rules.slack))
    signs = rules.zeros_have_signs and expected.is_floating_point()
    if signs:
        sure = exact is None or ((exact == 0) & (exact.signbit() == expected.signbit()))
        right &= ~(_signs_differ(expected, actual, True) & sure)
    if exact is not None:
        best = exact.to(expected.dtype)
        right |= _same(best, actual, _tolerance(best, None, rules.slack)) & ~_signs_differ(best, actual, signs)
        right |= exact.isfinite() & ~expected.isfinite() & ~actual.isfinite()  # both overflow on the way
    if bool(right.all()):
        return ""
    at = tuple((~right).nonzero()[0].tolist())
    e, a = expected[at].item(), actual[at].item()
    return f"{_kind_of(e, a)}: {a!r} instead of {e!r} at {at}, {int((~right).sum())} of {right.numel()} elements"


def _signs_differ(expected: torch.Tensor, actual: torch.Tensor, matter: bool) -> torch.Tensor:
    if not matter:
        return torch.zeros_like(expected, dtype=torch.bool)
    return (expected == 0) & (actual == 0) & (expected.signbit() != actual.signbit())


def _kind_of(expected: Any, actual: Any) -> str:
    if isinstance(expected, complex) or isinstance(actual, complex):
        return "values"
    if (expected != expected) != (actual != actual):
        return "nan"
    if expected == actual == 0:
        return "sign of zero"
    if abs(expected) == float("inf") or abs(actual) == float("inf"):
        return "infinity"
    return "values"


def _same(expected: torch.Tensor, actual: torch.Tensor, tolerance: torch.Tensor | None) -> torch.Tensor:
    equal = expected == actual
    if tolerance is None:
        return equal
    return (
        equal | (expected.isnan() & actual.isnan()) | (expected.isfinite() & ((expected - actual).abs() <= tolerance))
    )


def _tolerance(expected: torch.Tensor, exact: torch.Tensor | None, slack: float) -> torch.Tensor | None:
    """The error allowed in each element; None where all must be equal."""
    if not expected.is_floating_point() and not expected.is_complex():
        return None
    real = torch.finfo(expected.dtype).dtype if expected.is_complex() else str(expected.dtype).removeprefix("torch.")
    dtype = getattr(torch, real)
    magnitudes = expected.abs().double().nan_to_num(0.0, 0.0, 0.0)
    allowed = _RELATIVE.get(dtype, 1e-2) * magnitudes + slack
    if magnitudes.numel():
        allowed += _OF_LARGEST.get(dtype, 1e-2) * magnitudes.median()
    if exact is not None and expected.numel():
        own = (expected.double() - exact).abs().nan_to_num(0.0, 0.0, 0.0)
        allowed += _OWN_ERRORS * own.max()
    return allowed.clamp(max=torch.finfo(dtype).max).to(dtype)
