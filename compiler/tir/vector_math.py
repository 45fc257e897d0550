"""Vector forms of exp, tanh and erf in float32 for TVM's LLVM code.

By default TVM calls the C library once for each element, which makes softmax and GELU ten times slower
than need be. These rules replace the calls, after vectorisation, by polynomials that LLVM keeps in vector
registers. Relative errors are below 3e-7; infinities, NaNs and overflow behave as in C, and results of exp
below 2e-38 are 0.

Sources: the argument reduction and the polynomials of exp, tanh and small erf are those of S. L. Moshier,
Methods and Programs for Mathematical Functions, 1989 (Cephes); large erf is formula 7.1.26 of Abramowitz
and Stegun, Handbook of Mathematical Functions, 1964.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from tvm import tirx

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_TANH = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)
_ERF = (
    7.853861353153693e-5,
    -8.010193625184903e-4,
    5.188327685732524e-3,
    -2.685381193529856e-2,
    1.128358514861418e-1,
    -3.761262582423300e-1,
    1.128379165726710,
)
_ERF_TAIL = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
_LOG2_E = 1.44269504088896341
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_OVERFLOW = 88.72283935546875
_UNDERFLOW = -86.6  # below, exp is 0: subnormal numbers would cost a hundred cycles each


class _Vector:
    """Arithmetic on one type, float32 or a vector of it."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.lanes = int(dtype.partition("x")[2] or 1)
        self.int_dtype = dtype.replace("float32", "int32")
        self._bound: list[tuple] = []

    def constant(self, value: float, dtype: str = "float32") -> Any:
        scalar = tirx.const(value, dtype)
        return tirx.Broadcast(scalar, cast("tirx.Expr", self.lanes)) if self.lanes > 1 else scalar

    def bind(self, expr: Any, dtype: str | None = None) -> Any:
        """Names a value, so that its uses do not compute it again."""
        var = tirx.Var("t", dtype or self.dtype)
        self._bound.append((var, expr))
        return var

    def result(self, expr: Any) -> Any:
        for var, value in reversed(self._bound):
            expr = tirx.Let(var, value, expr)
        return expr

    def polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        total = self.constant(coefficients[0])
        for c in coefficients[1:]:
            total = total * x + self.constant(c)
        return total

    def power_of_two(self, n: Any) -> Any:
        return tirx.reinterpret(self.dtype, (n + self.constant(127, "int32")) << self.constant(23, "int32"))

    def exp(self, x: Any) -> Any:
        clamped = self.bind(tirx.Min(tirx.Max(x, self.constant(_UNDERFLOW)), self.constant(_OVERFLOW)))
        n = self.bind(tirx.floor(clamped * self.constant(_LOG2_E) + self.constant(0.5)))
        r = self.bind(clamped - n * self.constant(_LN2_HIGH) - n * self.constant(_LN2_LOW))
        y = self.polynomial(r, _EXP) * r * r + r + self.constant(1.0)
        exponent = self.bind(tirx.Cast(self.int_dtype, n), self.int_dtype)
        y = self.bind(
            y * self.power_of_two(exponent - self.constant(1, "int32")) * self.constant(2.0)
        )  # 2**128 is no float
        y = tirx.Select(x > self.constant(_OVERFLOW), self.constant(float("inf")), y)
        y = tirx.Select(x < self.constant(_UNDERFLOW), self.constant(0.0), y)
        return self.bind(tirx.Select(x.equal(x), y, x))

    def magnitude(self, x: Any) -> Any:
        return self.bind(tirx.Select(x < self.constant(0.0), self.constant(0.0) - x, x))

    def signed(self, magnitude: Any, x: Any) -> Any:
        return tirx.Select(x < self.constant(0.0), self.constant(0.0) - magnitude, magnitude)

    def tanh(self, x: Any) -> Any:
        z = self.bind(x * x)
        small = (self.polynomial(z, _TANH) * z + self.constant(1.0)) * x  # in this order -0.0 keeps its sign
        e = self.exp(self.constant(-2.0) * self.magnitude(x))
        large = self.signed((self.constant(1.0) - e) / (self.constant(1.0) + e), x)
        return tirx.Select(z < self.constant(0.625**2), small, large)

    def erf(self, x: Any) -> Any:
        z = self.bind(x * x)
        small = self.polynomial(z, _ERF) * x
        t = self.bind(self.constant(1.0) / (self.constant(1.0) + self.constant(0.3275911) * self.magnitude(x)))
        tail = self.polynomial(t, _ERF_TAIL) * t * self.exp(self.constant(0.0) - z)
        large = self.signed(self.constant(1.0) - tail, x)
        return tirx.Select(z < self.constant(1.0), small, large)


def _rule(name: str, fallback: Callable) -> Callable:
    def lower(call):
        dtype = str(call.ty)
        if not dtype.startswith("float32"):
            return fallback(call, dtype)
        vector = _Vector(dtype)
        x = vector.bind(call.args[0])
        return vector.result(getattr(vector, name)(x))

    return lower


def _c_library(function: str) -> Callable:
    def call(node, dtype: str):
        if dtype == "float64":
            return tirx.call_pure_extern(dtype, function, *node.args)
        if dtype in ("float16", "bfloat16"):
            return tirx.Cast(
                dtype, tirx.call_pure_extern("float32", f"{function}f", tirx.Cast("float32", node.args[0]))
            )
        return node

    return call


def _llvm_exp(node, dtype: str):
    return tirx.call_llvm_pure_intrin(dtype, "llvm.exp", *node.args)


def install() -> None:
    """Registers the rules for TVM's LLVM targets in this process."""
    for name, fallback in (("exp", _llvm_exp), ("tanh", _c_library("tanh")), ("erf", _c_library("erf"))):
        tirx.register_intrin_lowering(f"tirx.{name}", target="llvm", f=_rule(name, fallback), level=100)
