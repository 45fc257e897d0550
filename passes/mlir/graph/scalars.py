"""Values of integer arguments that say how far a function's loops go, derived from what those loops access."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlir import ir

from foretune.passes.mlir.grammar.types import shape_of

_CASTS = (
    "arith.index_cast",
    "arith.index_castui",
    "arith.extsi",
    "arith.extui",
    "arith.trunci",
    "llvm.sext",
    "llvm.zext",
    "llvm.trunc",
)
_LOADS = {
    "memref.load": 1,
    "affine.load": 1,
    "vector.load": 1,
    "vector.transfer_read": 1,
    "affine.vector_load": 1,
    "tensor.extract": 1,
    "memref.store": 2,
    "affine.store": 2,
    "vector.store": 2,
    "vector.transfer_write": 2,
    "affine.vector_store": 2,
}
_SIZED = (
    "tensor.empty",
    "memref.alloc",
    "memref.alloca",
    "memref.subview",
    "tensor.extract_slice",
    "memref.reinterpret_cast",
    "tensor.generate",
    "tensor.pad",
    "tensor.splat",
)
_STEP, _LOW, _HIGH = "step", "low", "high"


@dataclass(frozen=True)
class Scalar:
    """An integer argument that loops or extents depend on.

    Attributes:
        position: among the function's arguments.
        value: what it may be, so that all accesses stay inside; None where nothing tells.
        why: in words.
    """

    position: int
    value: int | None
    why: str


def loop_scalars(function: Any) -> list[Scalar]:
    """The integer arguments of a function that bound its loops or extents."""
    if not len(function.regions) or not len(function.regions[0].blocks):
        return []
    found = []
    for position, argument in enumerate(function.regions[0].blocks[0].arguments):
        if (
            isinstance(argument.type, (ir.IndexType, ir.IntegerType))
            and (scalar := _look_at(position, argument)) is not None
        ):
            found.append(scalar)
    return found


def _look_at(position: int, argument: Any) -> Scalar | None:
    roles, extents, sized = set(), [], False
    for op, operand in _uses(argument):
        for role, variable in _roles(op, operand, argument):
            roles.add(role)
            extents += _extents_of(variable) if role == _HIGH and variable is not None else []
        sized = sized or op.name in _SIZED
    if _HIGH in roles:
        if extents:
            return Scalar(position, min(extents), f"the smallest extent, {min(extents)}, of what its loop accesses")
        return Scalar(position, None, "it bounds a loop, but no extent of what that loop accesses is known")
    if _STEP in roles:
        return Scalar(position, 1, "it is the step of a loop")
    if sized:
        return Scalar(position, None, "it is the extent of a tensor or memref")
    return None


def _uses(value: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """(operation, position of the operand) of all uses, through casts."""
    for use in value.uses:
        op = use.owner.operation
        if op.name in _CASTS and depth < 4:
            yield from _uses(op.results[0], depth + 1)
        else:
            yield op, use.operand_number


def _roles(op: Any, operand: int, argument: Any) -> list[tuple[str, Any]]:
    """What an operand is for a loop, and the variable of that loop."""
    if op.name == "scf.for":
        return [((_LOW, _HIGH, _STEP)[operand], op.regions[0].blocks[0].arguments[0])] if operand < 3 else []
    if op.name == "affine.for":
        low, high, _ = list(op.attributes["operandSegmentSizes"])
        return (
            [(_HIGH if operand >= low else _LOW, op.regions[0].blocks[0].arguments[0])] if operand < low + high else []
        )
    if op.name == "scf.parallel":
        rank = next(iter(op.attributes["operandSegmentSizes"]))
        return (
            [((_LOW, _HIGH, _STEP)[operand // rank], op.regions[0].blocks[0].arguments[operand % rank])]
            if rank and operand < 3 * rank
            else []
        )
    if op.name == "scf.forall":
        sizes = list(op.attributes["operandSegmentSizes"])
        role = _LOW if operand < sizes[0] else _HIGH if operand < sum(sizes[:2]) else _STEP
        return [(role, None)] if operand < sum(sizes[:3]) else []
    if op.name in ("arith.cmpi", "llvm.icmp"):
        other = op.operands[1 - operand]
        return [(_HIGH, other)] if isinstance(other.owner, ir.Block) and other != argument else []
    return []


def _extents_of(variable: Any) -> list[int]:
    """Known extents of the dimensions that a loop's variable indexes by itself."""
    found = []
    for op, operand in _uses(variable):
        first = _LOADS.get(op.name)
        if first is None or operand < first:
            continue
        shape, dimension = shape_of(op.operands[first - 1].type), operand - first
        if shape is not None and "map" not in op.attributes and dimension < len(shape) and shape[dimension] > 0:
            found.append(shape[dimension])
        elif shape is not None and "map" in op.attributes:
            for extent, expr in zip(shape, op.attributes["map"].value.results):
                if extent > 0 and isinstance(expr, ir.AffineDimExpr) and expr.position == dimension:
                    found.append(extent)
    return found
