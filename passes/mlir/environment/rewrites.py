"""Rewrites that upstream MLIR has no pass for; run inside a worker."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from mlir import ir
from mlir.dialects import arith, math

from foretune.passes.mlir.grammar.types import walk

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = (
    0.693359375,
    -2.12194440e-4,
)  # ln 2 in two parts, so that products with small integers are exact in the first
_POLYNOMIAL = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_LOWEST, _HIGHEST = -87.68, 88.8


def expand_exp(module: ir.Module) -> int:
    """Replaces `math.exp` of float32, scalar or vector, by arithmetic that vectorises; how many were replaced.

    The method is that of the Cephes library (Moshier, 1992): exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, and a polynomial
    for exp(r); right to 2 units in the last place. Results below 2^-125 become 0; of infinities and not-a-number it
    gives what `math.exp` gives.
    """
    found: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        if op.name == "math.exp" and _is_float32(op.operands[0].type):
            found.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    for op in found:
        with ir.InsertionPoint(op), op.location:
            op.results[0].replace_all_uses_with(_exp(op.operands[0]))
        op.erase()
    return len(found)


def _is_float32(kind: ir.Type) -> bool:
    return isinstance(kind, ir.F32Type) or (
        isinstance(kind, ir.VectorType) and isinstance(kind.element_type, ir.F32Type)
    )


def _exp(x: ir.Value) -> ir.Value:
    kind = x.type
    whole = ir.IntegerType.get_signless(32)
    integers = ir.VectorType.get(kind.shape, whole) if isinstance(kind, ir.VectorType) else whole

    def constant(value: float) -> ir.Value:
        return _constant(kind, ir.FloatAttr.get(ir.F32Type.get(), value))

    def integer(value: int) -> ir.Value:
        return _constant(integers, ir.IntegerAttr.get(whole, value))

    # compare and select, in this order, keep a not-a-number, and are one instruction on x86
    for bound, predicate in (
        (constant(_LOWEST), arith.CmpFPredicate.OGT),
        (constant(_HIGHEST), arith.CmpFPredicate.OLT),
    ):
        x = arith.select(arith.cmpf(predicate, bound, x), bound, x)
    n = math.roundeven(arith.mulf(x, constant(_LOG2_E)))
    r = math.fma(n, constant(-_LN2_HIGH), x)
    r = math.fma(n, constant(-_LN2_LOW), r)
    p = constant(_POLYNOMIAL[0])
    for coefficient in _POLYNOMIAL[1:]:
        p = math.fma(p, r, constant(coefficient))
    p = arith.addf(math.fma(p, arith.mulf(r, r), r), constant(1.0))
    exponent = arith.addi(arith.fptosi(integers, n), integer(126))  # of half of 2^n, because 2^128 is no float32
    half = arith.bitcast(kind, arith.shli(exponent, integer(23)))
    return arith.mulf(arith.mulf(p, half), constant(2.0))


def _constant(kind: ir.Type, value: ir.Attribute) -> ir.Value:
    return arith.constant(
        kind, ir.DenseElementsAttr.get_splat(kind, value) if isinstance(kind, ir.VectorType) else value
    )


_LOADS = ("memref.load", "vector.load", "vector.transfer_read", "vector.maskedload")
_STORES = ("memref.store", "vector.store", "vector.transfer_write", "vector.maskedstore")


def widen_booleans(module: ir.Module) -> None:
    """Stores `i1` in memory as `i8`: MLIR 22's lowering of memrefs cannot store less than a byte. Structured operations
    must be loops already.
    """
    narrow = ir.IntegerType.get_signless(1, module.context)
    byte = ir.IntegerType.get_signless(8, module.context)
    ops: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        ops.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    values = [v for op in ops for v in (*op.results, *(a for r in op.regions for b in r.blocks for a in b.arguments))]
    wide = [v for v in values if isinstance(v.type, ir.MemRefType) and v.type.element_type == narrow]
    if not wide and not any(op.name == "memref.global" for op in ops):
        return
    touched = {v for v in wide}
    moved = [(op, op.operands[0 if op.name in _LOADS else 1]) for op in ops if op.name in (*_LOADS, *_STORES)]
    moved = [op for op, memory in moved if memory in touched]
    for value in wide:
        value.set_type(_bytes(value.type, byte))
    for op in moved:
        with op.location:
            _convert(op, narrow, byte)
    with module.context, ir.Location.unknown():
        for op in ops:
            if op.name == "func.func":
                kind = _type_of(op.attributes["function_type"])
                inputs, results = (
                    [_bytes(t, byte) if isinstance(t, ir.MemRefType) and t.element_type == narrow else t for t in side]
                    for side in (kind.inputs, kind.results)
                )
                op.attributes["function_type"] = ir.TypeAttr.get(ir.FunctionType.get(inputs, results))
            elif op.name == "memref.global":
                kind = _type_of(op.attributes["type"])
                if kind.element_type == narrow:
                    op.attributes["type"] = ir.TypeAttr.get(_bytes(kind, byte))
                    if "initial_value" in op.attributes and isinstance(
                        op.attributes["initial_value"], ir.DenseElementsAttr
                    ):
                        numbers = np.array([bool(v) for v in op.attributes["initial_value"]], np.int8).reshape(
                            kind.shape
                        )
                        op.attributes["initial_value"] = ir.DenseElementsAttr.get(cast("Any", numbers), type=byte)


def _type_of(attribute: Any) -> Any:
    return ir.TypeAttr(attribute).value


def _bytes(kind: Any, byte: ir.Type) -> Any:
    return ir.MemRefType.get(kind.shape, byte, kind.layout, kind.memory_space, loc=ir.Location.unknown(kind.context))


def _convert(op: Any, narrow: ir.Type, byte: ir.Type) -> None:
    """Bytes to booleans behind a load, booleans to bytes before a store."""

    def byte_type(kind: ir.Type) -> ir.Type:
        return ir.VectorType.get(kind.shape, byte) if isinstance(kind, ir.VectorType) else byte

    if op.name in _LOADS:
        result = op.results[0]
        kind = result.type
        result.set_type(byte_type(kind))
        with ir.InsertionPoint.after(op):
            small = arith.TruncIOp(kind, result)
        result.replace_all_uses_except(small.result, small.operation)
    else:
        with ir.InsertionPoint(op):
            op.operands[0] = arith.extui(byte_type(op.operands[0].type), op.operands[0])
    padding = {"vector.transfer_read": -1, "vector.maskedload": -1}.get(op.name)
    if padding is not None and op.operands[len(op.operands) - 1].type == narrow:
        with ir.InsertionPoint(op):
            op.operands[len(op.operands) - 1] = arith.extui(byte, op.operands[len(op.operands) - 1])
