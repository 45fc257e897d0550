"""Programs by hand: whose memory results have, and inputs that are changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.kind import n, work, x

_aten = torch.ops.aten


def memory() -> Iterator[tuple]:
    """New memory where PyTorch gives new memory, the same where it gives the same."""
    yield "clone", lambda x: (work(x), x.clone()), x(4, 6)
    yield "cat of one", lambda x: (work(x), torch.cat([x])), x(4, 6)
    yield "stack of one", lambda x: (work(x), torch.stack([x])), x(4, 6)
    yield "plus 0", lambda x: (work(x), x + 0), x(4, 6)
    yield "times 1", lambda x: (work(x), x * 1), x(4, 6)
    yield "integers plus 0", lambda x, y: (work(x), y + 0, y * 1), x(4, 6), n(4, 6)
    yield "to copy", lambda x: (work(x), x.to(torch.float32, copy=True)), x(4, 6)
    yield "to the same type", lambda x: (work(x), x.to(torch.float32), x.contiguous()), x(4, 6)
    yield "reshape of an input", lambda x: (work(x), x.reshape(6, 4), x.flatten()), x(4, 6)
    yield "repeat once", lambda x: (work(x), x.repeat(1, 1), x.tile(1)), x(4, 6)
    yield "flip and roll by nothing", lambda x: (work(x), x.flip([]), x.roll(0)), x(4, 6)
    yield "pad by nothing", lambda x: (work(x), F.pad(x, (0, 0))), x(4, 6)
    yield "clone of a result", lambda x: (lambda y: (y, y.clone()))(work(x)), x(4, 6)
    yield "plus 0 of a result", lambda x: (lambda y: (y, y + 0, y * 1))(work(x)), x(4, 6)
    yield "cat and stack of a result", lambda x: (lambda y: (y, torch.cat([y]), torch.stack([y])))(work(x)), x(4, 6)
    yield "row of a result", lambda x: (lambda y: (y, y[0]))(work(x)), x(4, 6)
    yield "transposed result", lambda x: (lambda y: (y, y.t()))(work(x)), x(4, 6)
    yield "view of a result", lambda x: (lambda y: (y, y.view(6, 4), y.unsqueeze(0)))(work(x)), x(4, 6)
    yield "chunks of a result", lambda x: work(x).chunk(2), x(4, 6)
    yield "split of a result", lambda x: work(x).split(3, 1), x(4, 6)
    yield "unbind of a result", lambda x: work(x).unbind(0), x(4, 6)
    yield "narrow of a result", lambda x: (lambda y: (y, y.narrow(0, 1, 2)))(work(x)), x(4, 6)
    yield "only narrow of a result", lambda x: (lambda y: (y.narrow(0, 0, 2), y.narrow(0, 2, 2)))(work(x)), x(4, 6)
    yield "expanded result", lambda x: (lambda y: (y, y.expand(3, 4, 6)))(work(x)), x(4, 6)
    yield "diagonal of a result", lambda x: (lambda y: (y, y.diagonal()))(work(x)), x(4, 6)
    yield "as strided of a result", lambda x: (lambda y: (y, y.as_strided((2, 2), (6, 1), 1)))(work(x)), x(4, 6)
    yield "a result twice", lambda x: (lambda y: (y, y))(work(x)), x(4, 6)
    yield "equal results", lambda x: (work(x), work(x)), x(4, 6)
    yield "an input itself", lambda x: (work(x), x), x(4, 6)
    yield "a view of an input", lambda x: (work(x), x[1:], x.t()), x(4, 6)
    yield "detached result", lambda x: (lambda y: (y, y.detach()))(work(x)), x(4, 6)
    yield "constant", lambda x: (work(x), torch.zeros(3), torch.full((2,), 1.5), torch.arange(4)), x(4, 6)
    yield "constant alone", lambda x: (work(x), torch.ones(2, 2), torch.ones(2, 2)), x(4, 6)
    yield "where of one", lambda x: torch.where(torch.ones(4, 6, dtype=torch.bool), x, x), x(4, 6)
    yield (
        "masked fill of nothing",
        lambda x: (work(x), x.masked_fill(torch.zeros(4, 6, dtype=torch.bool), 1.0)),
        x(4, 6),
    )
    yield "sum over nothing", lambda x: (work(x), x.sum((0,), keepdim=True) if x.shape[0] == 1 else x), x(1, 6)
    yield "sum of a row", lambda x: (work(x), x.sum(0), x.mean(0), x.amax(0), x.prod(0)), x(1, 6)
    yield "slice of all", lambda x: (work(x), _aten.slice_scatter(x, x, 0), x[:]), x(4, 6)
    yield "tril of a row", lambda x: (work(x), x.tril(10), x.triu(-10)), x(4, 6)
    yield "power 1", lambda x: (work(x), x**1, x / 1, x - 0), x(4, 6)
    yield "clamp by nothing", lambda x: (work(x), x.clamp(-math.inf, math.inf)), x(4, 6)
    yield "dropout by nothing", lambda x: (work(x), F.dropout(x, 0.0, True), F.dropout(x, 0.5, False)), x(4, 6)
    yield "expand as itself", lambda x: (work(x), x.expand(4, 6), x.broadcast_to(4, 6)), x(4, 6)
    yield "pixel shuffle by 1", lambda x: (work(x), F.pixel_shuffle(x, 1)), x(1, 2, 3, 3)
    yield (
        "pool by 1",
        lambda x: (work(x), F.avg_pool2d(x, 1), F.max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 3)),
        x(1, 2, 3, 3),
    )
    yield "upsample by 1", lambda x: (work(x), F.interpolate(x, scale_factor=1.0)), x(1, 2, 3, 3)


def changes() -> Iterator[tuple]:
    """Inputs are changed in place."""

    def average(state, new):
        old = state.clone()
        state.mul_(0.9).add_(new)
        return old, state * 2

    def rows(x, y):
        x[1] = y[0] * 2
        x[:, 0] += 1
        return x.sum(), y

    def view(x, y):
        x.view(-1)[2:5].mul_(3)
        return x * y

    def both(x, y):
        x.add_(y)
        y.sub_(x)
        return x * y

    def swapped(x, y):
        old = x + 0
        x.copy_(y)
        y.copy_(old)
        return old

    def returned(x, y):
        return x.mul_(2), y

    def result(x, y):
        z = work(x)
        first = z[0]
        z.add_(y)
        first.mul_(2)
        return z, first

    def filled(x, y):
        x.fill_(y.sum() * 0 + 1)
        y.zero_()
        return x + y

    def counted(x, n):
        n += 1
        return work(x) * n

    def transposed(x, y):
        x.t().mul_(2)
        return x + y

    for name, run in (
        ("average", average),
        ("rows", rows),
        ("view", view),
        ("both", both),
        ("swapped", swapped),
        ("returned", returned),
        ("result", result),
        ("filled", filled),
        ("transposed", transposed),
    ):
        yield name, run, x(4, 6), x(4, 6)
        yield f"{name}, overlapping", _overlapped(run), x(8, 6)
    yield "counted", counted, x(4, 6), n(4, 6)


def _overlapped(run: Callable) -> Callable:
    return lambda x: run(x[:4], x[2:6])
