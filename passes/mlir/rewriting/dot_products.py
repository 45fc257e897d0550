"""Widening matrix products on tensors, put into the form of dot-product instructions; see `dot_kernel`."""

from __future__ import annotations

from typing import Any

from mlir import ir

from foretune.passes.mlir.grammar.structured import read_structured
from foretune.passes.mlir.rewriting.dot_kernel import DotTiling, WideningProduct, dot_product_text
from foretune.passes.mlir.rewriting.splice import insert_before
from foretune.passes.mlir.rewriting.widening import read_widening


def use_dot_instruction(op: Any, by: str, tiling: DotTiling) -> None:
    """Replaces a structured operation.

    Args:
        op: it.
        by: the instruction.
        tiling: how it is cut.

    Raises:
        ValueError: it is no widening product of matrices on tensors of known extents, or the instruction or the sizes
            do not fit.
    """
    product, left, right, out = read_product(op)
    [made] = insert_before(op, dot_product_text(product, by, tiling), (left, right, out))
    op.results[0].replace_all_uses_with(made)
    op.erase()


def read_product(op: Any) -> tuple[WideningProduct, Any, Any, Any]:
    """(what a structured operation multiplies, left operand, right operand, output).

    Raises:
        ValueError: it does something else.
    """
    structured, operands = read_structured(op), list(op.operands)
    signs = [cast != "arith.extui" for cast in read_widening(op).casts]
    maps = [_plain(m) for m in structured.maps]
    elements = [str(v.type.element_type) for v in operands]
    if elements[0] != elements[1] or len(structured.reduced) != 1:
        raise ValueError("a product has two operands of one type and one loop that is a reduction")
    [reduced] = structured.reduced
    columns = maps[2][-1] if maps[2] else -1
    holders = [i for i in range(2) if columns in maps[i]]
    if len(holders) != 1:
        raise ValueError("the columns must belong to one operand alone")
    right, left = holders[0], 1 - holders[0]
    rows = [d for d in maps[2][:-1] if d in maps[left] and d not in maps[right]]
    if not rows or maps[left][-1] != reduced or set(maps[right][-2:]) != {columns, reduced}:
        raise ValueError(
            "the left operand must end with the reduction, the right one with the reduction and the columns, and the"
            " left one have rows of its own"
        )
    product = WideningProduct(
        structured.extents,
        maps[left],
        maps[right],
        maps[2],
        rows[-1],
        columns,
        reduced,
        elements[left],
        (signs[left], signs[right]),
    )
    return product, operands[left], operands[right], operands[2]


def _plain(amap: Any) -> tuple[int, ...]:
    """The loops of an affine map that does nothing but name each of some once."""
    dims = [ir.AffineDimExpr(e).position if isinstance(e, ir.AffineDimExpr) else -1 for e in amap.results]
    if -1 in dims or len(set(dims)) < len(dims):
        raise ValueError("each dimension of a product's operands must be indexed by a loop of its own")
    return tuple(dims)
