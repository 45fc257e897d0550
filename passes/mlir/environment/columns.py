"""Convolutions as products of matrices over gathered columns, without arithmetic on indices; runs inside a worker.

MLIR's own `convert_conv2d_to_img2col` gathers by a loop over positions and columns, which are divided back into rows
and taps for every element. Here the gathering is a copy of as many loops as the window has, the innermost of which goes
over neighbours, and the matrix is a view of what it wrote.
"""

from __future__ import annotations

import math
from typing import Any, cast

from mlir import ir
from mlir.dialects import arith, linalg, tensor

from foretune.passes.mlir.grammar.types import walk

LAST, FIRST = "linalg.conv_2d_nhwc_hwcf", "linalg.conv_2d_nchw_fchw"
"""Convolutions with their channels last and first."""


def gather_columns(module: ir.Module, kind: str, index: int) -> None:
    """Replaces one convolution, of those in the order that targets count them.

    Raises:
        ValueError: it is of another kind, or not on tensors of known extents, or its operands are of two types or
            widened without a sign.
    """
    if kind not in (LAST, FIRST):
        raise ValueError(f"columns are gathered of {LAST} and {FIRST} only, not of {kind}")
    found: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        if op.name == kind:
            found.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    conv = found[index]
    kinds = [v.type for v in conv.operands]
    if not all(isinstance(k, ir.RankedTensorType) and k.has_static_shape for k in kinds):
        raise ValueError("columns are gathered of tensors of known extents only")
    body = {one.operation.name for one in conv.regions[0].blocks[0].operations}
    if kinds[0].element_type != kinds[1].element_type or "arith.extui" in body:
        raise ValueError("columns are gathered where both operands have one element type, widened by its sign, only")
    with ir.InsertionPoint(conv), conv.location:
        conv.results[0].replace_all_uses_with(_product(conv, *conv.operands))
    conv.erase()


def _product(conv: Any, image: ir.Value, window: ir.Value, out: ir.Value) -> ir.Value:
    b, m, n, k = (ir.AffineDimExpr.get(i) for i in range(4))
    if conv.name == LAST:  # positions are rows
        gathered, groups = _rows(conv, image, window, out), [1, 2, 1]
        operands = [_view(gathered, [1, 2, len(_shape(gathered)) - 3]), _view(window, [3, 1])]
        maps = [[b, m, k], [k, n], [b, m, n]]
    else:  # filters are
        gathered, groups = _planes(conv, image, window, out), [1, 1, 2]
        operands = [_view(window, [1, 3]), _view(gathered, [1, 3, 2])]
        maps = [[m, k], [b, k, n], [b, m, n]]
    made = _generic(operands, _view(out, groups), [ir.AffineMap.get(4, 0, results) for results in maps], 3, 1)
    x, y, z = made.regions[0].blocks[0].arguments
    with ir.InsertionPoint(made.regions[0].blocks[0]):
        floats = isinstance(z.type, (ir.F16Type, ir.BF16Type, ir.F32Type, ir.F64Type))
        multiply, add = (arith.mulf, arith.addf) if floats else (arith.muli, arith.addi)
        if x.type != z.type:
            x, y = ((arith.extf if floats else arith.extsi)(z.type, v) for v in (x, y))
        cast("Any", linalg).YieldOp([add(z, multiply(x, y))])
    return cast("Any", tensor).ExpandShapeOp(out.type, made.results[0], _groups(groups), [], _shape(out)).result


def _rows(conv: Any, image: ir.Value, window: ir.Value, out: ir.Value) -> ir.Value:
    """What each position of the output sees, its taps in the window's order."""
    (down, across), (far, wide) = _numbers(conv, "strides"), _numbers(conv, "dilations")
    batch, height, width, _ = _shape(out)
    rows, taps, channels, _ = _shape(window)
    d = [ir.AffineDimExpr.get(i) for i in range(6)]
    row = d[1] * down + d[3] * far
    if wide == 1:  # taps of a row and their channels are neighbours
        read = [d[0], row, d[2] * (across * channels) + d[4]]
        return _copied(_view(image, [1, 1, 2]), [batch, height, width, rows, taps * channels], read)
    read = [d[0], row, d[2] * across + d[4] * wide, d[5]]
    return _copied(image, [batch, height, width, rows, taps, channels], read)


def _planes(conv: Any, image: ir.Value, window: ir.Value, out: ir.Value) -> ir.Value:
    """For each tap, in the window's order, what all positions of the output see there."""
    (down, across), (far, wide) = _numbers(conv, "strides"), _numbers(conv, "dilations")
    batch, _, height, width = _shape(out)
    _, channels, rows, taps = _shape(window)
    d = [ir.AffineDimExpr.get(i) for i in range(6)]
    read = [d[0], d[1], d[4] * down + d[2] * far, d[5] * across + d[3] * wide]
    return _copied(image, [batch, channels, rows, taps, height, width], read)


def _copied(image: ir.Value, extents: list[int], read: list[Any]) -> ir.Value:
    """A tensor whose elements are those of another one at these places."""
    rank = len(extents)
    maps = [ir.AffineMap.get(rank, 0, read), ir.AffineMap.get_identity(rank)]
    empty = cast("Any", tensor).EmptyOp(extents, cast("Any", image.type).element_type).result
    made = _generic([image], empty, maps, rank, 0)
    with ir.InsertionPoint(made.regions[0].blocks[0]):
        cast("Any", linalg).YieldOp([made.regions[0].blocks[0].arguments[0]])
    return made.results[0]


def _generic(inputs: list[ir.Value], out: ir.Value, maps: list[Any], parallel: int, reduced: int) -> Any:
    """A structured operation whose body is still empty."""
    kinds = ["parallel"] * parallel + ["reduction"] * reduced
    made = cast("Any", linalg).GenericOp(
        [out.type],
        inputs,
        [out],
        ir.ArrayAttr.get([ir.AffineMapAttr.get(m) for m in maps]),
        ir.ArrayAttr.get([ir.Attribute.parse(f"#linalg.iterator_type<{kind}>") for kind in kinds]),
    )
    elements = [cast("Any", v.type).element_type for v in (*inputs, out)]
    made.regions[0].blocks.append(*elements, arg_locs=[made.location] * len(elements))
    return made.operation


def _view(value: ir.Value, sizes: list[int]) -> ir.Value:
    """A tensor with neighbouring dimensions taken together: so many for each of the view."""
    shape, extents, at = _shape(value), [], 0
    for size in sizes:
        extents.append(math.prod(shape[at : at + size]))
        at += size
    kind = ir.RankedTensorType.get(extents, cast("Any", value.type).element_type)
    return cast("Any", tensor).CollapseShapeOp(kind, value, _groups(sizes)).result


def _groups(sizes: list[int]) -> ir.Attribute:
    """Which dimensions belong together, from how many of them do."""
    at, groups = 0, []
    for size in sizes:
        groups.append(list(range(at, at + size)))
        at += size
    return ir.Attribute.parse("[" + ", ".join(str([f"{i} : i64" for i in g]).replace("'", "") for g in groups) + "]")


def _numbers(conv: Any, name: str) -> list[int]:
    if name not in conv.attributes:
        return [1, 1]
    return [int(n) for n in ir.DenseIntElementsAttr(conv.attributes[name])]


def _shape(value: ir.Value) -> list[int]:
    return list(cast("Any", value.type).shape)
