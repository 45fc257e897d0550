"""Programs that the database of operators does not hold: memory, indices, promotion of types, whole layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.program import Program

_aten = torch.ops.aten


def hand_programs() -> list[Program]:
    """All of them, in one order."""
    torch.manual_seed(0)
    made = []
    for group in (_memory, _changes, _indices, _scattering, _integers, _promotion, _values, _order, _sums, _layers, _attention, _pools):
        made += [Program(f"by hand|{group.__name__[1:]}|{name}", run, tuple(inputs)) for name, run, *inputs in group()]
    weights = (
        ("linear", lambda x, w, b: F.gelu(F.linear(x, w, b)), x(3, 8), x(6, 8), x(6)),
        ("convolution", lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x(1, 4, 5, 5), x(4, 4, 3, 3), x(4)),
        ("embedding", lambda i, w: F.embedding(i, w) * 2, i(0, 2, 1), x(10, 4)),
        ("layer norm", lambda x, w, b: F.layer_norm(x, (8,), w, b), x(3, 8), x(8), x(8)),
        ("two linears", lambda x, v, w: F.linear(torch.tanh(F.linear(x, v)), w), x(3, 8), x(8, 8), x(4, 8)),
    )
    for name, run, *inputs in weights:
        held = tuple(k for k in range(1, len(inputs)))
        made.append(Program(f"by hand|weights|{name}", run, tuple(inputs), weights=held))
        made.append(Program(f"by hand|gradients|{name}", run, tuple(inputs), trains=True))
    return made


def x(*shape: int) -> torch.Tensor:
    """Kind values in float32."""
    return torch.randn(shape)


def n(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Kind integers: neither zero nor large."""
    return torch.randint(1, 5, shape, dtype=dtype)


def i(*indices: int) -> torch.Tensor:
    """Legal indices."""
    return torch.tensor(indices)


def b(*shape: int) -> torch.Tensor:
    """True and False."""
    return torch.rand(shape) > 0.5


def _work(y: torch.Tensor) -> torch.Tensor:
    return torch.exp(y) + 2


def _memory() -> Iterator[tuple]:
    """New memory where PyTorch gives new memory, the same where it gives the same."""
    yield "clone", lambda x: (_work(x), x.clone()), x(4, 6)
    yield "cat of one", lambda x: (_work(x), torch.cat([x])), x(4, 6)
    yield "stack of one", lambda x: (_work(x), torch.stack([x])), x(4, 6)
    yield "plus 0", lambda x: (_work(x), x + 0), x(4, 6)
    yield "times 1", lambda x: (_work(x), x * 1), x(4, 6)
    yield "integers plus 0", lambda x, y: (_work(x), y + 0, y * 1), x(4, 6), n(4, 6)
    yield "to copy", lambda x: (_work(x), x.to(torch.float32, copy=True)), x(4, 6)
    yield "to the same type", lambda x: (_work(x), x.to(torch.float32), x.contiguous()), x(4, 6)
    yield "reshape of an input", lambda x: (_work(x), x.reshape(6, 4), x.flatten()), x(4, 6)
    yield "repeat once", lambda x: (_work(x), x.repeat(1, 1), x.tile(1)), x(4, 6)
    yield "flip and roll by nothing", lambda x: (_work(x), x.flip([]), x.roll(0)), x(4, 6)
    yield "pad by nothing", lambda x: (_work(x), F.pad(x, (0, 0))), x(4, 6)
    yield "clone of a result", lambda x: (lambda y: (y, y.clone()))(_work(x)), x(4, 6)
    yield "plus 0 of a result", lambda x: (lambda y: (y, y + 0, y * 1))(_work(x)), x(4, 6)
    yield "cat and stack of a result", lambda x: (lambda y: (y, torch.cat([y]), torch.stack([y])))(_work(x)), x(4, 6)
    yield "row of a result", lambda x: (lambda y: (y, y[0]))(_work(x)), x(4, 6)
    yield "transposed result", lambda x: (lambda y: (y, y.t()))(_work(x)), x(4, 6)
    yield "view of a result", lambda x: (lambda y: (y, y.view(6, 4), y.unsqueeze(0)))(_work(x)), x(4, 6)
    yield "chunks of a result", lambda x: _work(x).chunk(2), x(4, 6)
    yield "split of a result", lambda x: _work(x).split(3, 1), x(4, 6)
    yield "unbind of a result", lambda x: _work(x).unbind(0), x(4, 6)
    yield "narrow of a result", lambda x: (lambda y: (y, y.narrow(0, 1, 2)))(_work(x)), x(4, 6)
    yield "only narrow of a result", lambda x: (lambda y: (y.narrow(0, 0, 2), y.narrow(0, 2, 2)))(_work(x)), x(4, 6)
    yield "expanded result", lambda x: (lambda y: (y, y.expand(3, 4, 6)))(_work(x)), x(4, 6)
    yield "diagonal of a result", lambda x: (lambda y: (y, y.diagonal()))(_work(x)), x(4, 6)
    yield "as strided of a result", lambda x: (lambda y: (y, y.as_strided((2, 2), (6, 1), 1)))(_work(x)), x(4, 6)
    yield "a result twice", lambda x: (lambda y: (y, y))(_work(x)), x(4, 6)
    yield "equal results", lambda x: (_work(x), _work(x)), x(4, 6)
    yield "an input itself", lambda x: (_work(x), x), x(4, 6)
    yield "a view of an input", lambda x: (_work(x), x[1:], x.t()), x(4, 6)
    yield "detached result", lambda x: (lambda y: (y, y.detach()))(_work(x)), x(4, 6)
    yield "constant", lambda x: (_work(x), torch.zeros(3), torch.full((2,), 1.5), torch.arange(4)), x(4, 6)
    yield "constant alone", lambda x: (_work(x), torch.ones(2, 2), torch.ones(2, 2)), x(4, 6)
    yield "where of one", lambda x: torch.where(torch.ones(4, 6, dtype=torch.bool), x, x), x(4, 6)
    yield "masked fill of nothing", lambda x: (_work(x), x.masked_fill(torch.zeros(4, 6, dtype=torch.bool), 1.0)), x(4, 6)
    yield "sum over nothing", lambda x: (_work(x), x.sum((0,), keepdim=True) if x.shape[0] == 1 else x), x(1, 6)
    yield "sum of a row", lambda x: (_work(x), x.sum(0), x.mean(0), x.amax(0), x.prod(0)), x(1, 6)
    yield "slice of all", lambda x: (_work(x), _aten.slice_scatter(x, x, 0), x[:]), x(4, 6)
    yield "tril of a row", lambda x: (_work(x), x.tril(10), x.triu(-10)), x(4, 6)
    yield "power 1", lambda x: (_work(x), x**1, x / 1, x - 0), x(4, 6)
    yield "clamp by nothing", lambda x: (_work(x), x.clamp(-math.inf, math.inf)), x(4, 6)
    yield "dropout by nothing", lambda x: (_work(x), F.dropout(x, 0.0, True), F.dropout(x, 0.5, False)), x(4, 6)
    yield "expand as itself", lambda x: (_work(x), x.expand(4, 6), x.broadcast_to(4, 6)), x(4, 6)
    yield "pixel shuffle by 1", lambda x: (_work(x), F.pixel_shuffle(x, 1)), x(1, 2, 3, 3)
    yield "pool by 1", lambda x: (_work(x), F.avg_pool2d(x, 1), F.max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 3)), x(1, 2, 3, 3)
    yield "upsample by 1", lambda x: (_work(x), F.interpolate(x, scale_factor=1.0)), x(1, 2, 3, 3)


def _changes() -> Iterator[tuple]:
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
        z = _work(x)
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
        return _work(x) * n

    def transposed(x, y):
        x.t().mul_(2)
        return x + y

    for name, run in (
        ("average", average), ("rows", rows), ("view", view), ("both", both), ("swapped", swapped), ("returned", returned),
        ("result", result), ("filled", filled), ("transposed", transposed),
    ):  # fmt: skip
        yield name, run, x(4, 6), x(4, 6)
        yield f"{name}, overlapping", _overlapped(run), x(8, 6)
    yield "counted", counted, x(4, 6), n(4, 6)


def _overlapped(run: Callable) -> Callable:
    return lambda x: run(x[:4], x[2:6])


def _indices() -> Iterator[tuple]:
    """Indices that the first call has in range and not negative."""
    w = x(10, 4)
    yield "x[i]", lambda x, i: x[i] * 2, w, i(1, 2)
    yield "x[i, j]", lambda x, i, j: x[i, j] + 1, w, i(1, 2), i(1, 2)
    yield "x[:, i]", lambda x, i: x[:, i] * 2, w, i(1, 2)
    yield "x[i, :2]", lambda x, i: x[i, :2] * 2, w, i(1, 2)
    yield "x[i][j]", lambda x, i, j: x[i][j] * 2, w, i(1, 2), i(1, 0)
    yield "x[i] of one", lambda x, i: x[i] * 2, w, torch.tensor(3)
    yield "x[i32]", lambda x, i: x[i] * 2, w, i(1, 2).int()
    yield "x[mask]", lambda x, m: torch.where(m, x, 0.0), w, b(10, 4)
    yield "x[None, i]", lambda x, i: x[None, i] * 2, w, i(1, 2)
    yield "x[i] of integers", lambda x, i: x[i] * 2, n(10, 4), i(1, 2)
    yield "computed index", lambda x, i: x[i * 2 + 1] * 2, w, i(1, 2)
    yield "take", lambda x, i: torch.take(x, i) * 2, w, i(1, 22)
    yield "embedding", lambda x, i: F.embedding(i, x) * 2, w, i(1, 2)
    yield "embedding of rows", lambda x, i: F.embedding(i, x).sum(1), w, n(3, 2)
    yield "embedding of int32", lambda x, i: F.embedding(i, x) * 2, w, i(1, 2).int()
    yield "embedding with padding", lambda x, i: F.embedding(i, x, padding_idx=0) * 2, w, i(1, 0)
    yield "embedding plus positions", lambda x, p, i: F.embedding(i, x) + F.embedding(torch.arange(2), p), w, x(5, 4), i(1, 0)
    yield "index_select", lambda x, i: x.index_select(0, i) * 2, w, i(1, 2)
    yield "index_select of columns", lambda x, i: x.index_select(1, i) * 2, w, i(1, 2)
    yield "gather", lambda x, i: x.gather(1, i) * 2, w, torch.zeros(10, 2).long()
    yield "gather of rows", lambda x, i: x.gather(0, i) * 2, w, torch.ones(2, 4).long()
    yield "take_along_dim", lambda x, i: torch.take_along_dim(x, i, 1) * 2, w, torch.zeros(10, 2).long()
    yield "cross entropy", lambda x, t: F.cross_entropy(x, t) * 1.0, w, torch.zeros(10).long()
    yield "cross entropy, each", lambda x, t: F.cross_entropy(x, t, reduction="none"), w, torch.ones(10).long()
    yield "cross entropy of images", lambda x, t: F.cross_entropy(x, t), x(2, 3, 4), torch.ones(2, 4).long()
    yield "nll", lambda x, t: F.nll_loss(x, t), w, torch.ones(10).long()
    yield "nll, ignoring 1", lambda x, t: F.nll_loss(x, t, ignore_index=1), w, torch.arange(10) % 3
    yield "one hot", lambda i: F.one_hot(i, 5) * 2, i(1, 2, 4)
    yield "bucketize", lambda x, e: torch.bucketize(x, e) + 1, x(3, 4), torch.arange(5.0)
    yield "searchsorted", lambda x, e: torch.searchsorted(e, x) + 1, x(3, 4), torch.arange(5.0)
    yield "isin", lambda i, e: torch.isin(i, e), n(3, 4), n(3)
    yield "embedding bag", lambda x, i: F.embedding_bag(i, x, mode="sum") * 2, w, n(3, 2)
    yield "index of a product", lambda x, i: (x @ x.t())[i] * 2, w, i(1, 2)


def _scattering() -> Iterator[tuple]:
    """Writing to places that a tensor holds."""
    w, p = x(10, 4), torch.zeros(10, 2).long()
    yield "scatter of a value", lambda x, i: x.scatter(1, i, 5.0) * 2, w, p
    yield "scatter", lambda x, i, s: x.scatter(1, i, s) * 2, w, p[:, :1], x(10, 1)
    yield "scatter_add", lambda x, i, s: x.scatter_add(1, i, s) * 2, w, p, x(10, 2)
    yield "scatter_reduce", lambda x, i, s: x.scatter_reduce(1, i, s, "amax") * 2, w, p, x(10, 2)
    yield "index_copy of a row", lambda x, i, s: x.index_copy(0, i, s) * 2, w, i(1), x(1, 4)
    yield "index_copy", lambda x, i, s: x.index_copy(0, i, s) * 2, w, i(1, 2), x(2, 4)
    yield "index_add", lambda x, i, s: x.index_add(0, i, s) * 2, w, i(1, 2), x(2, 4)
    yield "index_fill", lambda x, i: x.index_fill(0, i, 3.0) * 2, w, i(1, 2)
    yield "index_put", lambda x, i, s: x.index_put((i,), s) * 2, w, i(1, 2), x(2, 4)
    yield "index_put of two", lambda x, i, j, s: x.index_put((i, j), s) * 2, w, i(1, 2), i(1, 2), x(2)
    yield "index_put, adding", lambda x, i, s: x.index_put((i,), s, accumulate=True) * 2, w, i(1, 2), x(2, 4)
    yield "index_put of columns", lambda x, i, s: x.index_put((None, i), s) * 2, w, i(1, 2), x(10, 2)
    yield "masked_fill", lambda x, m: x.masked_fill(m, -math.inf).softmax(-1), w, b(10, 4)
    yield "masked_scatter", lambda x, m, s: x.masked_scatter(m, s) * 2, w, b(10, 4), x(10, 4)
    yield "slice_scatter", lambda x, s: x.slice_scatter(s, 0, 2, 5) * 2, w, x(3, 4)
    yield "select_scatter", lambda x, s: x.select_scatter(s, 0, -1) * 2, w, x(4)

    def cache(k, new, i):
        k.index_copy_(0, i, new)
        return k * 2

    def assign(x, i, s):
        x[i] = s
        return x * 2

    yield "cache", cache, w, x(1, 4), i(3)
    yield "assignment", assign, w, i(1, 2), x(2, 4)


def _integers() -> Iterator[tuple]:
    """Division by zero, signs, wrap-around."""
    binary = {
        "floor divide": torch.floor_divide, "remainder": torch.remainder, "fmod": torch.fmod, "divide": torch.div,
        "truncating divide": lambda x, y: torch.div(x, y, rounding_mode="trunc"),
        "floor division": lambda x, y: torch.div(x, y, rounding_mode="floor"),
        "times": torch.mul, "maximum": torch.maximum, "minus": torch.sub, "bitwise and": torch.bitwise_and,
        "less": torch.lt, "equal": torch.eq,
    }  # fmt: skip
    for name, run in binary.items():
        for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8):
            yield f"{name}, {dtype}", _after(run, lambda y: y + y), n(3, 4, dtype=dtype), n(3, 4, dtype=dtype)
    for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8):
        scalars = lambda x: (x // 3, x % 3, x // -3, x % -3, torch.fmod(x, 3), torch.fmod(x, -3), -x, x.abs(), x * 77)  # noqa: E731
        yield f"by scalars, {dtype}", scalars, n(3, 4, dtype=dtype)
        yield f"sums, {dtype}", lambda x: (x.sum(), x.sum(0), x.cumsum(0), x.prod(0), x.amax(0), x.cumprod(0)), n(3, 4, dtype=dtype)
        yield f"bits, {dtype}", lambda x: (~x, x & 5, x | 9, x ^ 3, x << 1, x >> 1), n(3, 4, dtype=dtype)
        yield f"sign and clamp, {dtype}", lambda x: (x.sign(), x.clamp(2, 3), x.relu(), x.square(), x**2), n(3, 4, dtype=dtype)
        yield f"to other types, {dtype}", lambda x: (x.float() * 2, x.long() + 1, x.int() + 1, x.to(torch.int8) + 1, x.bool()), n(3, 4, dtype=dtype)
        yield f"shifts, {dtype}", lambda x, y: (x << (y & 3), x >> (y & 3)), n(3, 4, dtype=dtype), n(3, 4, dtype=dtype)
        yield f"powers, {dtype}", lambda x, y: torch.pow(x, y.abs() & 3), n(3, 4, dtype=dtype), n(3, 4, dtype=dtype)
    yield "a power of negative exponents", lambda x, y: torch.pow(x, y), n(3, 4), n(3, 4)
    yield "scalar by tensor", lambda y: (7 // y, 7 % y), n(3, 4)
    yield "product of int32", lambda x, y: x @ y, n(3, 4, dtype=torch.int32), n(4, 3, dtype=torch.int32)
    yield "product of int64", lambda x, y: x @ y, n(3, 4), n(4, 3)
    yield "product of int8", lambda x, y: x @ y, n(3, 4, dtype=torch.int8), n(4, 3, dtype=torch.int8)
    yield "mean of integers", lambda x: x.float().mean(0), n(3, 4)
    yield "floats floor divided", lambda x, y: (x // y, x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")), x(3, 4), x(3, 4)
    yield "floats by scalars", lambda x: (x // 0.3, x % 0.3, x // -0.3, x % -0.3, torch.fmod(x, 0.3)), x(3, 4)
    yield "average of a count", lambda x, n: x.sum(0) // n, n(3, 4), n(4)


def _after(run: Callable, then: Callable) -> Callable:
    def both(x, y):
        z = run(x, y)
        return z, then(z)

    return both


def _promotion() -> Iterator[tuple]:
    """Types that meet."""
    yield "integer and float scalar", lambda x: (x * 0.5, x + 1.5, x / 2, x > 0.5, x**0.5), n(3, 4)
    yield "integer and float", lambda x, y: (x * y, x + y, x / y, x > y), n(3, 4), x(3, 4)
    yield "int32 and int64", lambda x, y: (x * y, x + y, x - y, torch.maximum(x, y)), n(3, 4, dtype=torch.int32), n(3, 4)
    yield "uint8 and int8", lambda x, y: (x * y, x + y, x - y), n(3, 4, dtype=torch.uint8), n(3, 4, dtype=torch.int8)
    yield "bool and bool", lambda x, y: (x + y, x * y, x & y, x | y, x ^ y, x == y, x != y, x < y), b(3, 4), b(3, 4)
    yield "bool and float", lambda x, y: (x * y, x + y, torch.where(x, y, -y)), b(3, 4), x(3, 4)
    yield "bool and integer", lambda x, y: (x * y, x + y, x + 1, ~x), b(3, 4), n(3, 4)
    yield "sums of bools", lambda x: (x.sum(), x.sum(0), x.any(), x.all(), x.any(0), x.all(1), x.float().mean()), b(3, 4)
    yield "float32 and float64", lambda x, y: (x * y, x + y, x.double() * 0.1), x(3, 4), x(3, 4).double()
    yield "float64 scalars", lambda x: (x * 0.1, x + 1e-12, x / 3, x**3), x(3, 4).double()
    yield "no dimensions", lambda x, y: (x * y, x + y, x.exp()), torch.tensor(1.5), torch.tensor(2.5)
    yield "no dimensions and some", lambda x, y: (x * y, y - x), torch.tensor(1.5).double(), x(3, 4)
    yield "float to integer", lambda x: (x.long() + 1, x.int() + 1), x(3, 4) * 10
    yield "float to bool", lambda x: (x.bool(), x.to(torch.bool).float() * 2, ~x.bool()), x(3, 4)
    yield "integer true division", lambda x, y: x / y, n(3, 4), n(3, 4)
    yield "exp of integers", lambda x: (x.exp(), x.sqrt(), x.sin(), x.sigmoid(), x.rsqrt(), x.log()), n(3, 4)
    yield "compared integers and floats", lambda x, y: (x == y, x < y, x >= y), n(3, 4), x(3, 4)
    yield "arange", lambda x: x * torch.arange(4) + torch.arange(0.0, 1.0, 0.25), x(3, 4)
    yield "scalar tensors of types", lambda x: x * torch.tensor(2) + torch.tensor(0.1, dtype=torch.float64), x(3, 4)


def _values() -> Iterator[tuple]:
    """NaN, infinities, zeros."""
    yield "x != x", lambda x: (x != x, x == x, torch.where(x != x, 0.0, x)), x(3, 8)
    yield "x - x", lambda x: (x - x, x / x, x * 0, 0 / x, x + (-x)), x(3, 8)
    yield "isnan and kin", lambda x: (x.isnan(), x.isinf(), x.isfinite(), x.isposinf(), x.isneginf()), x(3, 8)
    yield "nan_to_num", lambda x: x.nan_to_num(1.0, 2.0, -3.0), x(3, 8)
    yield "clamp", lambda x: (x.clamp(-0.5, 0.5), x.clamp(min=0.0), x.clamp(max=0.0)), x(3, 8)
    yield "clamp by nan", lambda x: (x.clamp(min=math.nan), x.clamp(max=math.nan)), x(3, 8)
    yield "clamp by tensors", lambda x, a, b: x.clamp(a, b), x(3, 8), x(3, 8) - 1, x(3, 8) + 1
    yield "clamp turned", lambda x: x.clamp(1.0, -1.0), x(3, 8)
    yield "scalar nan and inf", lambda x: (x + math.nan, x * math.inf, x > math.nan, torch.where(x > 0, math.inf, x)), x(3, 8)
    yield "maximum and kin", lambda x, y: (torch.maximum(x, y), torch.minimum(x, y), torch.fmax(x, y), torch.fmin(x, y)), x(3, 8), x(3, 8)
    yield "maximum by a scalar", lambda x: (torch.maximum(x, torch.tensor(0.0)), torch.minimum(torch.tensor(0.0), x)), x(3, 8)
    for name in ("relu", "relu6", "hardtanh", "hardsigmoid", "hardswish", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus",
                 "softshrink", "hardshrink", "tanhshrink", "softsign", "leaky_relu", "logsigmoid", "tanh", "sigmoid"):  # fmt: skip
        yield name, _named(F, name), x(3, 8)
    yield "gelu by tanh", lambda x: F.gelu(x, approximate="tanh"), x(3, 8)
    yield "threshold", lambda x: F.threshold(x, 0.1, 20.0), x(3, 8)
    yield "prelu", lambda x, w: F.prelu(x, w), x(3, 8), x(8)
    for name in ("exp", "log", "log2", "log10", "log1p", "expm1", "sqrt", "rsqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
                 "cosh", "asinh", "acosh", "atanh", "erf", "erfc", "erfinv", "reciprocal", "floor", "ceil", "round", "trunc", "frac",
                 "sign", "sgn", "signbit", "abs", "neg", "square", "sigmoid", "logical_not", "lgamma", "digamma", "deg2rad"):  # fmt: skip
        yield f"{name} after work", _twice(_named(torch, name)), x(3, 8)
    yield "round to decimals", lambda x: x.round(decimals=2), x(3, 8)
    yield "powers", lambda x: (x**2, x**3, x**0.5, x**-1, x**0, x**-0.5, 2**x, 0**x), x(3, 8)
    yield "power", lambda x, y: x**y, x(3, 8), x(3, 8)
    yield "atan2 and kin", lambda x, y: (torch.atan2(x, y), torch.hypot(x, y), torch.copysign(x, y), torch.logaddexp(x, y)), x(3, 8), x(3, 8)
    yield "comparisons", lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y), x(3, 8), x(3, 8)
    yield "negated comparisons", lambda x, y: (~(x < y), ~(x >= y), torch.where(x < y, x, y)), x(3, 8), x(3, 8)
    yield "logical", lambda x, y: (torch.logical_and(x, y), torch.logical_or(x, y), torch.logical_xor(x, y), x.logical_not()), x(3, 8), x(3, 8)
    yield "lerp and kin", lambda x, y: (torch.lerp(x, y, 0.3), torch.addcmul(x, x, y), torch.addcdiv(x, x, y)), x(3, 8), x(3, 8)
    yield "xlogy", lambda x, y: (torch.xlogy(x, y), torch.heaviside(x, y)), x(3, 8), x(3, 8)
    yield "zeros times", lambda x: (x * torch.zeros(8), x * 0.0 + 1, x.sum() * 0), x(3, 8)
    yield "masked by product", lambda x, m: (x * m, x * m.float(), x + (1 - m.float()) * -1e9), x(3, 8), b(3, 8)


def _named(module: Any, name: str) -> Callable:
    function = getattr(module, name)
    return lambda x: function(x)


def _twice(run: Callable) -> Callable:
    def both(x):
        y = run(-x)
        return y, y.float() * 2

    return both


def _order() -> Iterator[tuple]:
    """Order, extremes and positions, with ties and NaN."""
    yield "argmax", lambda x: (x.argmax(), x.argmax(1), x.argmax(0, keepdim=True)), x(4, 6)
    yield "argmin", lambda x: (x.argmin(), x.argmin(1), x.argmin(0, keepdim=True)), x(4, 6)
    yield "max", lambda x: (x.max(), *x.max(1), *x.max(0)), x(4, 6)
    yield "min", lambda x: (x.min(), *x.min(1), *x.min(0)), x(4, 6)
    yield "max values only", lambda x: x.max(1).values * 2, x(4, 6)
    yield "amax and amin", lambda x: (x.amax(), x.amax(1), x.amin((0, 1)), x.amin(0), *x.aminmax()), x(4, 6)
    yield "sort", lambda x: (*x.sort(1), *x.sort(0, descending=True)), x(4, 6)
    yield "stable sort", lambda x: (*x.sort(1, stable=True), x.argsort(1, stable=True)), x(4, 6)
    yield "topk", lambda x: (*x.topk(3), *x.topk(2, largest=False)), x(4, 6)
    yield "topk values", lambda x: x.topk(3).values * 2, x(4, 6)
    yield "median", lambda x: (x.median(), *x.median(1)), x(4, 6)
    yield "nanmedian", lambda x: x.nanmedian(), x(4, 6)
    yield "kthvalue", lambda x: x.kthvalue(2), x(4, 6)
    yield "mode", lambda x: x.mode(1), n(4, 6)
    yield "cummax", lambda x: (*x.cummax(1), *x.cummin(0)), x(4, 6)
    yield "integers' order", lambda x: (x.argmax(1), *x.max(1), *x.sort(1, stable=True), *x.topk(2)), n(4, 6)
    yield "count_nonzero", lambda x: (x.count_nonzero(), x.count_nonzero(1)), x(4, 6)
    yield "any and all", lambda x: (x.any(), x.all(), x.any(1), x.all(0)), x(4, 6)
    yield "unique_consecutive flags", lambda x: x[:, 1:] != x[:, :-1], x(4, 6)
    yield "max of computed", lambda x, y: (x * y).max(1), x(4, 6), x(4, 6)


def _sums() -> Iterator[tuple]:
    """Reductions and statistics."""
    yield "sum", lambda x: (x.sum(), x.sum(1), x.sum((0, 1)), x.sum(0, keepdim=True)), x(4, 6)
    yield "mean", lambda x: (x.mean(), x.mean(1), x.mean((0, 1), keepdim=True)), x(4, 6)
    yield "nansum", lambda x: (x.nansum(), x.nanmean(1)), x(4, 6)
    yield "std", lambda x: (x.std(), x.std(1), x.std(0, correction=0)), x(4, 6)
    yield "var", lambda x: (x.var(), x.var(1), x.var(0, correction=0), *torch.var_mean(x, 1)), x(4, 6)
    yield "std of a row", lambda x: (x.std(0), x.var(0)), x(1, 6)
    yield "prod", lambda x: (x.prod(), x.prod(1)), x(4, 6)
    yield "norm", lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, math.inf), torch.linalg.vector_norm(x, 1, 0)), x(4, 6)
    yield "norm by zeros", lambda x: (torch.linalg.vector_norm(x, 0), torch.linalg.vector_norm(x, -math.inf, 1)), x(4, 6)
    yield "logsumexp", lambda x: (x.logsumexp(1), x.logsumexp((0, 1))), x(4, 6)
    yield "softmax", lambda x: (x.softmax(-1), x.log_softmax(-1), x.softmax(0)), x(4, 6)
    yield "softmin", lambda x: F.softmin(x, -1), x(4, 6)
    yield "normalize", lambda x: F.normalize(x, dim=1), x(4, 6)
    yield "cosine", lambda x, y: F.cosine_similarity(x, y, 1), x(4, 6), x(4, 6)
    yield "losses", lambda x, y: (F.mse_loss(x, y), F.l1_loss(x, y), F.smooth_l1_loss(x, y), F.huber_loss(x, y)), x(4, 6), x(4, 6)
    yield "more losses", lambda x, y: (F.binary_cross_entropy_with_logits(x, y), F.kl_div(x, y), F.soft_margin_loss(x, y)), x(4, 6), x(4, 6)
    yield "cumsum", lambda x: (x.cumsum(0), x.cumsum(1), x.cumprod(0), x.logcumsumexp(1)), x(4, 6)
    yield "trace", lambda x: (x.trace(), x.diagonal().sum(), x.tril().sum(), x.triu(1).sum()), x(4, 4)
    yield "products", lambda x, y: (x @ y, x.t() @ x, torch.outer(x[0], y[0]), torch.dot(x[0], x[1])), x(4, 4), x(4, 4)
    yield "baddbmm", lambda x, y, z: (torch.baddbmm(z, x, y), torch.baddbmm(z, x, y, beta=0), torch.baddbmm(z, x, y, alpha=0.5)), x(2, 3, 4), x(2, 4, 3), x(2, 3, 3)
    yield "addmm", lambda x, y, z: (torch.addmm(z, x, y), torch.addmm(z, x, y, beta=0), torch.addmm(z, x, y, alpha=0)), x(3, 4), x(4, 3), x(3, 3)
    yield "einsum", lambda x, y: (torch.einsum("ij,kj->ik", x, y), torch.einsum("ij,ij->i", x, y), torch.einsum("ii->i", x)), x(4, 4), x(4, 4)
    yield "product with itself", lambda x: (x @ x.t(), x.t() @ x), x(4, 6)
    yield "masked mean", lambda x, m: (x * m).sum(1) / m.sum(1), x(4, 6), b(4, 6)


def _layers() -> Iterator[tuple]:
    """Whole layers."""
    yield "linear", lambda x, w, b: F.linear(x, w, b), x(3, 8), x(6, 8), x(6)
    yield "linear, relu", lambda x, w, b: F.relu(F.linear(x, w, b)), x(3, 8), x(6, 8), x(6)
    yield "linear, gelu, linear", lambda x, v, w: F.linear(F.gelu(F.linear(x, v)), w), x(3, 8), x(6, 8), x(8, 6)
    yield "conv1d", lambda x, w: F.conv1d(x, w, padding=1), x(1, 3, 8), x(4, 3, 3)
    yield "conv2d", lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x(1, 3, 6, 6), x(4, 3, 3, 3), x(4)
    yield "conv2d of groups", lambda x, w: F.conv2d(x, w, groups=2, stride=2), x(1, 4, 6, 6), x(4, 2, 3, 3)
    yield "conv2d, dilated", lambda x, w: F.conv2d(x, w, dilation=2), x(1, 3, 6, 6), x(4, 3, 2, 2)
    yield "conv3d", lambda x, w: F.conv3d(x, w), x(1, 2, 4, 4, 4), x(3, 2, 2, 2, 2)
    yield "conv_transpose2d", lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1), x(1, 3, 4, 4), x(3, 4, 3, 3)
    yield "layer norm", lambda x, w, b: F.layer_norm(x, (8,), w, b), x(3, 8), x(8), x(8)
    yield "group norm", lambda x, w, b: F.group_norm(x, 2, w, b), x(2, 4, 3, 3), x(4), x(4)
    yield "instance norm", lambda x: F.instance_norm(x), x(2, 4, 3, 3)
    yield "rms norm", lambda x, w: F.rms_norm(x, (8,), w), x(3, 8), x(8)
    yield "batch norm", lambda x, m, v: F.batch_norm(x, m, v.abs()), x(2, 4, 3, 3), x(4), x(4)

    def training(x, mean, variance):
        return F.batch_norm(x, mean, variance, training=True, momentum=0.1)

    yield "batch norm in training", training, x(4, 3, 3, 3), x(3), x(3).abs()
    yield "conv, batch norm, relu", lambda x, w, m, v: F.relu(F.batch_norm(F.conv2d(x, w), m, v.abs())), x(1, 3, 6, 6), x(4, 3, 3, 3), x(4), x(4)
    yield "local response norm", lambda x: F.local_response_norm(x, 2), x(2, 4, 3, 3)
    yield "glu", lambda x: (F.glu(x), F.silu(x[:, :4]) * x[:, 4:]), x(3, 8)
    yield "rotary", lambda x, c, s: x * c + torch.cat([-x[..., 4:], x[..., :4]], -1) * s, x(2, 3, 8), x(3, 8), x(3, 8)
    yield "pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (-1, 1), value=2.0), F.pad(x, (1, 1, 1, 0), value=-math.inf)), x(3, 8)
    yield "pad by reflection", lambda x: (F.pad(x, (1, 1), "reflect"), F.pad(x, (1, 1), "replicate"), F.pad(x, (1, 1), "circular")), x(2, 3, 8)
    yield "interpolate", lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, size=(5, 7), mode="bilinear")), x(1, 2, 4, 4)
    yield "interpolate, cubic", lambda x: (F.interpolate(x, size=(7, 5), mode="bicubic"), F.interpolate(x, scale_factor=0.5)), x(1, 2, 4, 4)
    yield "interpolate, corners", lambda x: F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=True), x(1, 2, 4, 4)
    yield "pixel shuffle", lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2)), x(1, 4, 4, 4)
    yield "unfold", lambda x: F.unfold(x, 2), x(1, 2, 4, 4)
    yield "affine grid", lambda t: F.affine_grid(t, (1, 1, 3, 4), align_corners=False), x(1, 2, 3)
    yield "grid sample", lambda x, g: F.grid_sample(x, g, align_corners=False), x(1, 2, 4, 4), x(1, 3, 3, 2)
    yield "lstm cell", _lstm_cell, x(2, 4), x(2, 4), x(2, 4), x(16, 4), x(16, 4)
    yield "meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), x(3), x(4)
    yield "shapes", lambda x: (x.repeat(2, 3), x.repeat_interleave(2, 0), x.roll(1, 0), x.flip(0), x.unfold(0, 2, 1)), x(3, 4)
    yield "cat and stack", lambda x, y: (torch.cat([x, y]), torch.stack([x, y], 1), torch.cat([x, y, x], -1)), x(3, 4), x(3, 4)
    yield "cat of types", lambda x, y: torch.cat([x, y]) * 2, x(3, 4), n(3, 4)


def _lstm_cell(x, h, c, w, v):
    a, f, g, o = (F.linear(x, w) + F.linear(h, v)).chunk(4, 1)
    c = f.sigmoid() * c + a.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _attention() -> Iterator[tuple]:
    """Rows without any key give zeros."""
    q, k, v = x(1, 2, 4, 8), x(1, 2, 5, 8), x(1, 2, 5, 8)
    attend = F.scaled_dot_product_attention
    yield "plain", lambda q, k, v: attend(q, k, v), q, k, v
    yield "causal", lambda q, k, v: attend(q, k, v, is_causal=True), q, q, q
    yield "mask of bools", lambda q, k, v, m: attend(q, k, v, m), q, k, v, b(4, 5)
    yield "mask of floats", lambda q, k, v, m: attend(q, k, v, m), q, k, v, x(4, 5)
    yield "keys of bools", lambda q, k, v, m: attend(q, k, v, m[:, None, None]), q, k, v, b(1, 5)
    yield "scaled", lambda q, k, v: attend(q, k, v, scale=0.5), q, k, v
    yield "grouped", lambda q, k, v: attend(q, k, v, enable_gqa=True), x(1, 4, 4, 8), k, v
    yield "by hand", lambda q, k, v, m: (q @ k.mT / 8**0.5).masked_fill(m, -math.inf).softmax(-1) @ v, q, k, v, b(4, 5)
    yield "by hand, safe", lambda q, k, m: (q @ k.mT).masked_fill(m, -math.inf).softmax(-1).nan_to_num(0.0), q, k, b(4, 5)


def _pools() -> Iterator[tuple]:
    """Pooling of NaN and -inf, in corners and padding."""
    p = x(1, 2, 6, 6)
    yield "max_pool2d", lambda x: F.max_pool2d(x, 2), p
    yield "max_pool2d, padded", lambda x: F.max_pool2d(x, 3, 2, 1), p
    yield "max_pool2d, ceil", lambda x: F.max_pool2d(x, 4, 3, ceil_mode=True), p
    yield "max_pool2d with indices", lambda x: F.max_pool2d(x, 2, return_indices=True), p
    yield "max_pool1d", lambda x: F.max_pool1d(x, 2), x(1, 2, 6)
    yield "max_pool3d", lambda x: F.max_pool3d(x, 2), x(1, 2, 4, 4, 4)
    yield "max_pool2d, dilated", lambda x: F.max_pool2d(x, 2, dilation=2), p
    yield "avg_pool2d", lambda x: F.avg_pool2d(x, 2), p
    yield "avg_pool2d, padded", lambda x: F.avg_pool2d(x, 3, 2, 1), p
    yield "avg_pool2d, ceil", lambda x: F.avg_pool2d(x, 4, 3, 1, ceil_mode=True, count_include_pad=False), p
    yield "avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1), x(1, 2, 6)
    yield "avg_pool3d", lambda x: F.avg_pool3d(x, 2), x(1, 2, 4, 4, 4)
    yield "adaptive_avg_pool2d", lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (4, 5))), p
    yield "adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, 2), p
    yield "adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 4), x(1, 2, 6)
    yield "lp_pool2d", lambda x: F.lp_pool2d(x, 2, 2), p
