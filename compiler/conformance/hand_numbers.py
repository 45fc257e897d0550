"""Programs by hand: integers, types that meet, NaN, infinities and zeros."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.kind import b, n, x


def integers() -> Iterator[tuple]:
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
        scalars = lambda x: (  # noqa: E731
            x // 3,
            x % 3,
            x // -3,
            x % -3,
            torch.fmod(x, 3),
            torch.fmod(x, -3),
            -x,
            x.abs(),
            x * 77,
        )
        yield f"by scalars, {dtype}", scalars, n(3, 4, dtype=dtype)
        yield (
            f"sums, {dtype}",
            lambda x: (x.sum(), x.sum(0), x.cumsum(0), x.prod(0), x.amax(0), x.cumprod(0)),
            n(3, 4, dtype=dtype),
        )
        yield f"bits, {dtype}", lambda x: (~x, x & 5, x | 9, x ^ 3, x << 1, x >> 1), n(3, 4, dtype=dtype)
        yield (
            f"sign and clamp, {dtype}",
            lambda x: (x.sign(), x.clamp(2, 3), x.relu(), x.square(), x**2),
            n(3, 4, dtype=dtype),
        )
        yield (
            f"to other types, {dtype}",
            lambda x: (x.float() * 2, x.long() + 1, x.int() + 1, x.to(torch.int8) + 1, x.bool()),
            n(3, 4, dtype=dtype),
        )
        yield f"shifts, {dtype}", lambda x, y: (x << (y & 3), x >> (y & 3)), n(3, 4, dtype=dtype), n(3, 4, dtype=dtype)
        yield f"powers, {dtype}", lambda x, y: torch.pow(x, y.abs() & 3), n(3, 4, dtype=dtype), n(3, 4, dtype=dtype)
    yield "a power of negative exponents", lambda x, y: torch.pow(x, y), n(3, 4), n(3, 4)
    yield "scalar by tensor", lambda y: (7 // y, 7 % y), n(3, 4)
    yield "product of int32", lambda x, y: x @ y, n(3, 4, dtype=torch.int32), n(4, 3, dtype=torch.int32)
    yield "product of int64", lambda x, y: x @ y, n(3, 4), n(4, 3)
    yield "product of int8", lambda x, y: x @ y, n(3, 4, dtype=torch.int8), n(4, 3, dtype=torch.int8)
    yield "mean of integers", lambda x: x.float().mean(0), n(3, 4)
    yield (
        "floats floor divided",
        lambda x, y: (x // y, x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")),
        x(3, 4),
        x(3, 4),
    )
    yield "floats by scalars", lambda x: (x // 0.3, x % 0.3, x // -0.3, x % -0.3, torch.fmod(x, 0.3)), x(3, 4)
    yield "average of a count", lambda x, n: x.sum(0) // n, n(3, 4), n(4)


def _after(run: Callable, then: Callable) -> Callable:
    def both(x, y):
        z = run(x, y)
        return z, then(z)

    return both


def promotion() -> Iterator[tuple]:
    """Types that meet."""
    yield "integer and float scalar", lambda x: (x * 0.5, x + 1.5, x / 2, x > 0.5, x**0.5), n(3, 4)
    yield "integer and float", lambda x, y: (x * y, x + y, x / y, x > y), n(3, 4), x(3, 4)
    yield (
        "int32 and int64",
        lambda x, y: (x * y, x + y, x - y, torch.maximum(x, y)),
        n(3, 4, dtype=torch.int32),
        n(3, 4),
    )
    yield "uint8 and int8", lambda x, y: (x * y, x + y, x - y), n(3, 4, dtype=torch.uint8), n(3, 4, dtype=torch.int8)
    yield "bool and bool", lambda x, y: (x + y, x * y, x & y, x | y, x ^ y, x == y, x != y, x < y), b(3, 4), b(3, 4)
    yield "bool and float", lambda x, y: (x * y, x + y, torch.where(x, y, -y)), b(3, 4), x(3, 4)
    yield "bool and integer", lambda x, y: (x * y, x + y, x + 1, ~x), b(3, 4), n(3, 4)
    yield (
        "sums of bools",
        lambda x: (x.sum(), x.sum(0), x.any(), x.all(), x.any(0), x.all(1), x.float().mean()),
        b(3, 4),
    )
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


def values() -> Iterator[tuple]:
    """NaN, infinities, zeros."""
    yield "x != x", lambda x: (x != x, x == x, torch.where(x != x, 0.0, x)), x(3, 8)
    yield "x - x", lambda x: (x - x, x / x, x * 0, 0 / x, x + (-x)), x(3, 8)
    yield "isnan and kin", lambda x: (x.isnan(), x.isinf(), x.isfinite(), x.isposinf(), x.isneginf()), x(3, 8)
    yield "nan_to_num", lambda x: x.nan_to_num(1.0, 2.0, -3.0), x(3, 8)
    yield "clamp", lambda x: (x.clamp(-0.5, 0.5), x.clamp(min=0.0), x.clamp(max=0.0)), x(3, 8)
    yield "clamp by nan", lambda x: (x.clamp(min=math.nan), x.clamp(max=math.nan)), x(3, 8)
    yield "clamp by tensors", lambda x, a, b: x.clamp(a, b), x(3, 8), x(3, 8) - 1, x(3, 8) + 1
    yield "clamp turned", lambda x: x.clamp(1.0, -1.0), x(3, 8)
    yield (
        "scalar nan and inf",
        lambda x: (x + math.nan, x * math.inf, x > math.nan, torch.where(x > 0, math.inf, x)),
        x(3, 8),
    )
    yield (
        "maximum and kin",
        lambda x, y: (torch.maximum(x, y), torch.minimum(x, y), torch.fmax(x, y), torch.fmin(x, y)),
        x(3, 8),
        x(3, 8),
    )
    yield (
        "maximum by a scalar",
        lambda x: (torch.maximum(x, torch.tensor(0.0)), torch.minimum(torch.tensor(0.0), x)),
        x(3, 8),
    )
    for name in (
        "relu",
        "relu6",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "elu",
        "selu",
        "celu",
        "silu",
        "gelu",
        "mish",
        "softplus",
        "softshrink",
        "hardshrink",
        "tanhshrink",
        "softsign",
        "leaky_relu",
        "logsigmoid",
        "tanh",
        "sigmoid",
    ):
        yield name, _named(F, name), x(3, 8)
    yield "gelu by tanh", lambda x: F.gelu(x, approximate="tanh"), x(3, 8)
    yield "threshold", lambda x: F.threshold(x, 0.1, 20.0), x(3, 8)
    yield "prelu", lambda x, w: F.prelu(x, w), x(3, 8), x(8)
    for name in (
        "exp",
        "log",
        "log2",
        "log10",
        "log1p",
        "expm1",
        "sqrt",
        "rsqrt",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
        "erf",
        "erfc",
        "erfinv",
        "reciprocal",
        "floor",
        "ceil",
        "round",
        "trunc",
        "frac",
        "sign",
        "sgn",
        "signbit",
        "abs",
        "neg",
        "square",
        "sigmoid",
        "logical_not",
        "lgamma",
        "digamma",
        "deg2rad",
    ):
        yield f"{name} after work", _twice(_named(torch, name)), x(3, 8)
    yield "round to decimals", lambda x: x.round(decimals=2), x(3, 8)
    yield "powers", lambda x: (x**2, x**3, x**0.5, x**-1, x**0, x**-0.5, 2**x, 0**x), x(3, 8)
    yield "power", lambda x, y: x**y, x(3, 8), x(3, 8)
    yield (
        "atan2 and kin",
        lambda x, y: (torch.atan2(x, y), torch.hypot(x, y), torch.copysign(x, y), torch.logaddexp(x, y)),
        x(3, 8),
        x(3, 8),
    )
    yield "comparisons", lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y), x(3, 8), x(3, 8)
    yield "negated comparisons", lambda x, y: (~(x < y), ~(x >= y), torch.where(x < y, x, y)), x(3, 8), x(3, 8)
    yield (
        "logical",
        lambda x, y: (torch.logical_and(x, y), torch.logical_or(x, y), torch.logical_xor(x, y), x.logical_not()),
        x(3, 8),
        x(3, 8),
    )
    yield (
        "lerp and kin",
        lambda x, y: (torch.lerp(x, y, 0.3), torch.addcmul(x, x, y), torch.addcdiv(x, x, y)),
        x(3, 8),
        x(3, 8),
    )
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
