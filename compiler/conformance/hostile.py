"""Values that a first call seldom shows: NaN, infinities, zeros of both signs, denormals, huge and illegal ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

Fill = Callable[[torch.Tensor], torch.Tensor]


def _all(value: float) -> Fill:
    return lambda kind: torch.full_like(kind, value)


def _cycle(kind: torch.Tensor, values: Sequence[float], every: int = 1) -> torch.Tensor:
    """Puts the values, in turns, in place of every so many elements."""
    flat = kind.clone(memory_format=torch.contiguous_format).view(-1)
    places = torch.arange(0, flat.numel(), every)
    flat[places] = torch.tensor(values, dtype=kind.dtype)[torch.arange(len(places)) % len(values)]
    return flat.view(kind.shape)


def _at(value: float, part: float) -> Fill:
    """One element is replaced, so far into the tensor."""

    def fill(kind: torch.Tensor) -> torch.Tensor:
        flat = kind.clone(memory_format=torch.contiguous_format).view(-1)
        flat[min(flat.numel() - 1, int(part * flat.numel()))] = value
        return flat.view(kind.shape)

    return fill


def _float_fills(dtype: torch.dtype) -> dict[str, Fill]:
    info = torch.finfo(dtype)
    denormal, huge = info.tiny / 64, info.max / 1e8
    special = [math.nan, 1.0, math.inf, -0.0, -math.inf, 0.0, -1.0, denormal, huge, -denormal, -huge, 0.5, info.tiny]
    halves = [0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3.0, -3.0, -0.0, 0.0, 6.0, 5.999, 20.5, -20.0, 1.0, -1.0]
    fills: dict[str, Fill] = {
        "specials": lambda kind: _cycle(kind, special),
        "specials here and there": lambda kind: _cycle(kind, special, 3),
        "halves": lambda kind: _cycle(kind, halves),
        "ties": lambda kind: _cycle(kind, [1.0, 2.0, 1.0, 2.0, -0.0, 0.0]),
        "negative": lambda kind: -kind.abs(),
        "large": lambda kind: kind * 100,
        "very large": lambda kind: kind * math.sqrt(huge),
        "very small": lambda kind: kind * denormal,
        "max": _all(info.max),
    }
    for name, value in (("nan", math.nan), ("inf", math.inf), ("-inf", -math.inf)):
        fills[f"first {name}"], fills[f"middle {name}"], fills[f"last {name}"] = (
            _at(value, 0),
            _at(value, 0.5),
            _at(value, 1),
        )
    for value in (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0):
        fills[f"all {value}"] = _all(value)
    return fills


def _int_fills(dtype: torch.dtype, alone: bool) -> dict[str, Fill]:
    info = torch.iinfo(dtype)
    lowest = info.min if alone or info.min == 0 else info.min + 1  # the lowest by -1 ends PyTorch itself
    fills = {
        "zeros": _all(0), "ones": _all(1), "max": _all(info.max), "min": _all(lowest),
        "mixed": lambda kind: _cycle(kind, [0, 1, 2, 1, 0, 3]),
        "illegal": _all(100), "one illegal": _at(100, 0.5), "far": _all(min(info.max, 100_000)),
    }  # fmt: skip
    if info.min < 0:
        fills |= {
            "minus ones": _all(-1), "negative": lambda kind: -kind.abs() - 1, "one negative": _at(-1, 0.5),
            "one too negative": _at(-100, 0.5), "far negative": _all(max(info.min, -100_000)),
            "signs": lambda kind: _cycle(kind, [-7, 7, -3, 2, 5, -1, -2]),
        }  # fmt: skip
    return fills


_BOOL_FILLS: dict[str, Fill] = {
    "all true": _all(True), "all false": _all(False), "flipped": torch.logical_not,
    "one true": lambda kind: _at(True, 0.5)(torch.zeros_like(kind)),
}  # fmt: skip


def fills_of(dtype: torch.dtype, alone: bool = False) -> dict[str, Fill]:
    """Hostile fills of a type by name; none for complex numbers.

    Args:
        dtype: of the tensor.
        alone: whether it is a program's only input.
    """
    if dtype == torch.bool:
        return _BOOL_FILLS
    if dtype.is_floating_point:
        return _float_fills(dtype)
    return {} if dtype.is_complex else _int_fills(dtype, alone)


def hostile_inputs(
    inputs: Sequence[torch.Tensor], most_each: int = 4
) -> Iterator[tuple[str, tuple[torch.Tensor, ...]]]:
    """Names and values of later calls, whose tensors are shaped as the first call's.

    Args:
        inputs: of the first call.
        most_each: so many of the inputs are also filled alone.
    """
    alone = len(inputs) == 1
    tables = [fills_of(x.dtype, alone) if x.numel() else {} for x in inputs]
    for name in dict.fromkeys(name for table in tables for name in table):
        yield (
            f"all inputs {name}" if not alone else name,
            tuple(_like(x, table[name]) if name in table else x for x, table in zip(inputs, tables)),
        )
    if alone:
        return
    for i, table in enumerate(tables[:most_each]):
        for name, fill in table.items():
            yield f"input {i} {name}", (*inputs[:i], _like(inputs[i], fill), *inputs[i + 1 :])
    yield from _mixed(inputs, tables)


def _mixed(
    inputs: Sequence[torch.Tensor], tables: Sequence[dict[str, Fill]]
) -> Iterator[tuple[str, tuple[torch.Tensor, ...]]]:
    """All pairs of special values meet in two operands: each is shifted by another number of elements."""
    for shift in (1, 2, 5):
        yield (
            f"specials shifted by {shift}",
            tuple(
                _like(x, _rolled(table["specials"], i * shift)) if "specials" in table else x
                for i, (x, table) in enumerate(zip(inputs, tables))
            ),
        )


def _rolled(fill: Fill, by: int) -> Fill:
    return lambda kind: torch.roll(fill(kind), by)


def _like(kind: torch.Tensor, fill: Fill) -> torch.Tensor:
    """The filled tensor, in the strides of the kind one."""
    if any(stride == 0 and size > 1 for stride, size in zip(kind.stride(), kind.shape)):
        return kind.clone()
    made = torch.empty_strided(kind.shape, kind.stride(), dtype=kind.dtype)
    return made.copy_(fill(kind.detach()))
