"""Structured operations that add products of widened numbers, and operands that are widened once, not at each use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlir import ir

from foretune.passes.mlir.grammar.structured import read_structured
from foretune.passes.mlir.rewriting.splice import Writer, insert_before

_CASTS = ("arith.extsi", "arith.extui", "arith.extf")
_SUMS = {"arith.addi": "arith.muli", "arith.addf": "arith.mulf"}


@dataclass(frozen=True)
class Widening:
    """The body of such an operation.

    Attributes:
        casts: operations that widen the elements of the first and of the second operand.
        multiply, add: operations on what they give.
    """

    casts: tuple[str, str]
    multiply: str
    add: str


def read_widening(op: Any) -> Widening:
    """What a structured operation on tensors does.

    Raises:
        ValueError: it is something else.
    """
    operands = list(op.operands)
    if len(operands) != 3 or len(op.results) != 1:
        raise ValueError(f"{op.name} is no product of two tensors")
    if not all(isinstance(v.type, ir.RankedTensorType) and v.type.has_static_shape for v in operands):
        raise ValueError("only products of tensors of known extents are rewritten")
    block = op.regions[0].blocks[0]
    body = [one.operation for one in block.operations]
    total = _owner(body[-1].operands[0]) if len(body) == 5 and len(block.arguments) == 3 else None
    if total is not None and total.name in _SUMS:
        x, y, z = block.arguments
        terms = list(total.operands)
        product = _owner(terms[1]) if terms[0] == z else _owner(terms[0]) if terms[1] == z else None
        if product is not None and product.name == _SUMS[total.name]:
            factors = [_owner(v) for v in product.operands]
            if all(f is not None and f.name in _CASTS for f in factors):
                made = {f.operands[0]: f.name for f in factors}
                if set(made) == {x, y}:
                    return Widening((made[x], made[y]), product.name, total.name)
    raise ValueError("the body is no product of two widened numbers that is added to the output")


def widen_operands(op: Any) -> None:
    """Replaces a product of narrow numbers by one of copies of its operands in the type of its sums.

    Raises:
        ValueError: it is no such product.
    """
    widening, structured = read_widening(op), read_structured(op)
    kinds = [v.type for v in op.operands]
    result = str(kinds[2].element_type)
    writer, names = Writer(), ("%left", "%right", "%out")
    wide = [_widened(writer, name, kind, cast, result) for name, kind, cast in zip(names, kinds, widening.casts)]
    maps = ", ".join(f"affine_map<{amap}>" for amap in structured.maps)
    loops = ", ".join(
        f'"{"reduction" if d in structured.reduced else "parallel"}"' for d in range(len(structured.extents))
    )
    given = f"ins({wide[0][0]}, {wide[1][0]} : {wide[0][1]}, {wide[1][1]}) outs(%out : {kinds[2]})"
    made = writer.value(
        f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{loops}]}} {given} {{\n"
        f"^bb0(%x: {result}, %y: {result}, %z: {result}):\n"
        f"%p = {widening.multiply} %x, %y : {result}\n%s = {widening.add} %z, %p : {result}\n"
        f"linalg.yield %s : {result}\n}} -> {kinds[2]}"
    )
    text = writer.function([(name, str(kind)) for name, kind in zip(names, kinds)], made, str(kinds[2]))
    [value] = insert_before(op, text, list(op.operands))
    op.results[0].replace_all_uses_with(value)
    op.erase()


def _widened(writer: Writer, name: str, kind: Any, cast: str, result: str) -> tuple[str, str]:
    """(a tensor of the same numbers in a wider type, its type)."""
    rank, narrow = len(kind.shape), str(kind.element_type)
    wide = f"tensor<{''.join(f'{n}x' for n in kind.shape)}{result}>"
    dims = ", ".join(f"d{i}" for i in range(rank))
    loops = ", ".join(['"parallel"'] * rank)
    same = f"affine_map<({dims}) -> ({dims})>"
    empty = writer.value(f"tensor.empty() : {wide}")
    made = writer.value(
        f"linalg.generic {{indexing_maps = [{same}, {same}], iterator_types = [{loops}]}} ins({name} : {kind})"
        f" outs({empty} : {wide}) {{\n^bb0(%x: {narrow}, %z: {result}):\n%w = {cast} %x : {narrow} to {result}\n"
        f"linalg.yield %w : {result}\n}} -> {wide}"
    )
    return made, wide


def _owner(value: Any) -> Any:
    """The operation that makes a value; None of a block's argument."""
    owner = getattr(value.owner, "operation", value.owner)
    return owner if isinstance(owner, ir.Operation) else None
