"""Inputs that lie differently in memory than the first call's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def alike(inputs: Sequence[torch.Tensor]) -> Iterator[tuple[str, tuple[torch.Tensor, ...]]]:
    """Later calls with other strides, storage offsets, and inputs that lie in one memory."""
    yield "transposed", tuple(_transposed(x) for x in inputs)
    yield "every other element", tuple(_spread(x) for x in inputs)
    yield "behind others", tuple(_behind(x) for x in inputs)
    yield "expanded", tuple(x[:1].expand(x.shape) if x.dim() and x.shape[0] else x for x in inputs)
    yield "one tensor twice", tuple(_first_like(inputs, x) for x in inputs)
    yield "overlapping", tuple(_overlapping(inputs))


def _transposed(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1) if x.dim() > 1 else x


def _spread(x: torch.Tensor) -> torch.Tensor:
    if not x.dim():
        return x
    wide = x.new_ones(*x.shape[:-1], 2 * x.shape[-1])
    wide[..., ::2] = x
    return wide[..., ::2]


def _behind(x: torch.Tensor) -> torch.Tensor:
    long = x.new_ones(x.numel() + 3)
    long[3:] = x.reshape(-1)
    return long[3:].view(x.shape)


def _first_like(inputs: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return next(y for y in inputs if y.shape == x.shape and y.dtype == x.dtype)


def _overlapping(inputs: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Inputs of one type and shape become parts of one buffer, each one element behind the one before."""
    groups: dict[tuple, list[torch.Tensor]] = {}
    for x in inputs:
        groups.setdefault((x.shape, x.dtype), []).append(x)
    bases = {
        key: torch.cat([group[0].reshape(-1), group[-1].reshape(-1)[: len(group)]]) for key, group in groups.items()
    }
    places = dict.fromkeys(groups, 0)
    for x in inputs:
        key = (x.shape, x.dtype)
        start = min(places[key], bases[key].numel() - x.numel())
        places[key] += 1
        yield bases[key][start : start + x.numel()].view(x.shape)
