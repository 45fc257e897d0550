"""Functions of float32 as arithmetic that vectorises: erf, tanh and log. Run inside a worker.

erf and tanh are the odd rational functions of Eigen's `generic_fast_erf_float` and `generic_fast_tanh_float`, right to
4 units in the last place; log is that of the Cephes library (Moshier, 1992), right to 2. Of infinities, not-a-numbers,
zeros, negative and subnormal numbers they give what the library's functions give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlir import ir
from mlir.dialects import arith, math

from foretune.passes.mlir.grammar.types import walk

_ERF_BOUND, _TANH_BOUND = 4.0, 7.90531110763549805
_ERF = (
    (
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    ),
    (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02),
)
_TANH = (
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LN2_HIGH, _LN2_LOW, _SQRT_HALF = 0.693359375, -2.12194440e-4, 0.707106781186547524
_SMALLEST_NORMAL, _TO_NORMAL, _MANTISSA, _HALF_BITS = (
    1.17549435e-38,
    8388608.0,
    0x007FFFFF,
    0x3F000000,
)  # 2^23 makes subnormal numbers normal


def expand_functions(module: ir.Module) -> int:
    """Replaces `math.erf`, `math.tanh` and `math.log` of float32, scalar or vector, by arithmetic; how many were
    replaced.
    """
    found: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        if op.name in _EXPANSIONS and is_float32(op.operands[0].type):
            found.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            op.results[0].replace_all_uses_with(_EXPANSIONS[op.name](op.operands[0]))
        op.erase()
    return len(found)


def is_float32(kind: ir.Type) -> bool:
    """Whether a type is float32 or a vector of it."""
    return isinstance(kind, ir.F32Type) or (
        isinstance(kind, ir.VectorType) and isinstance(kind.element_type, ir.F32Type)
    )


def constant(kind: ir.Type, value: ir.Attribute) -> ir.Value:
    """A constant of a scalar or vector type."""
    return arith.constant(
        kind, ir.DenseElementsAttr.get_splat(kind, value) if isinstance(kind, ir.VectorType) else value
    )


def integers_like(kind: ir.Type) -> ir.Type:
    """The type of as many integers of 32 bits."""
    whole = ir.IntegerType.get_signless(32)
    return ir.VectorType.get(kind.shape, whole) if isinstance(kind, ir.VectorType) else whole


def _float(kind: ir.Type, value: float) -> ir.Value:
    return constant(kind, ir.FloatAttr.get(ir.F32Type.get(), value))


def _integer(kind: ir.Type, value: int) -> ir.Value:
    return constant(kind, ir.IntegerAttr.get(ir.IntegerType.get_signless(32), value))


def _horner(x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    p = _float(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        p = math.fma(p, x, _float(x.type, coefficient))
    return p


def _clamped(x: ir.Value, bound: float) -> ir.Value:
    """Between two bounds; compare and select, in this order, keep a not-a-number."""
    for limit, predicate in (
        (_float(x.type, -bound), arith.CmpFPredicate.OGT),
        (_float(x.type, bound), arith.CmpFPredicate.OLT),
    ):
        x = arith.select(arith.cmpf(predicate, limit, x), limit, x)
    return x


def _rational(bound: float, polynomials: tuple[tuple[float, ...], tuple[float, ...]]) -> Callable[[ir.Value], ir.Value]:
    """An odd function as x P(x^2) / Q(x^2)."""

    def expand(x: ir.Value) -> ir.Value:
        near = _clamped(x, bound)
        square = arith.mulf(near, near)
        above, below = (_horner(square, coefficients) for coefficients in polynomials)
        return arith.divf(arith.mulf(near, above), below)

    return expand


def _log(x: ir.Value) -> ir.Value:
    kind, whole = x.type, integers_like(x.type)
    tiny = arith.cmpf(arith.CmpFPredicate.OLT, x, _float(kind, _SMALLEST_NORMAL))
    normal = arith.select(tiny, arith.mulf(x, _float(kind, _TO_NORMAL)), x)
    bits = arith.bitcast(whole, normal)
    exponent = arith.subi(arith.shrui(bits, _integer(whole, 23)), _integer(whole, 126))
    m = arith.bitcast(
        kind, arith.ori(arith.andi(bits, _integer(whole, _MANTISSA)), _integer(whole, _HALF_BITS))
    )  # of 0.5 to 1
    e = arith.sitofp(kind, exponent)
    e = arith.select(tiny, arith.subf(e, _float(kind, 23.0)), e)
    low = arith.cmpf(arith.CmpFPredicate.OLT, m, _float(kind, _SQRT_HALF))
    e = arith.select(low, arith.subf(e, _float(kind, 1.0)), e)
    r = arith.subf(arith.select(low, arith.addf(m, m), m), _float(kind, 1.0))
    square = arith.mulf(r, r)
    y = arith.mulf(arith.mulf(_horner(r, _LOG), r), square)
    y = math.fma(e, _float(kind, _LN2_LOW), y)
    y = math.fma(square, _float(kind, -0.5), y)
    y = math.fma(e, _float(kind, _LN2_HIGH), arith.addf(r, y))
    for predicate, at, value in (
        (arith.CmpFPredicate.OEQ, 0.0, float("-inf")),
        (arith.CmpFPredicate.OEQ, float("inf"), float("inf")),
        (arith.CmpFPredicate.ULT, 0.0, float("nan")),
    ):
        y = arith.select(arith.cmpf(predicate, x, _float(kind, at)), _float(kind, value), y)
    return y


_EXPANSIONS: dict[str, Callable[[ir.Value], ir.Value]] = {
    "math.erf": _rational(_ERF_BOUND, _ERF),
    "math.tanh": _rational(_TANH_BOUND, _TANH),
    "math.log": _log,
}
