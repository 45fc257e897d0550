"""Packing: a contraction's weights copied into panels of one vector's width, as the beginning of a trace.

MetaSchedule tiles the loops of a program as they are, and its vectors run along the innermost dimension of the output.
In a convolution that is the width of a picture, which is short and odd. What libraries do is to let vectors run along
the output channels, with the weights in panels, and to keep a tile of the output in registers (Georganas et al.,
Anatomy of high-performance deep learning convolutions on SIMD architectures, 2018). After a few scheduling steps, the
panel is a block and the vector a loop of the program, and MetaSchedule's own rules tile it well. The copy is made in
each run, and pays where each weight is used often.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import tvm
from foretune.support.text import telling_line
from foretune.trace import Trace

_log = logging.getLogger(__name__)
_LANES = 16  # elements of a panel's row: of float32, two vectors or four are as good as one
# how often each weight is used at least; where it is 36, tuned convolutions of the training split lose by the copy
_MIN_REUSE = 48
_MIN_REDUCTION = 48  # products that are summed up for each element of the output, at least


@dataclass(frozen=True)
class Panels:
    """What to pack.

    Attributes:
        operand: index of the read buffer.
        dim: of the operand, split into panels.
        out_dim: of the written buffer; the vectors run along it.
        iteration: index of the block's iteration variable that moves along both.
    """

    operand: int
    dim: int
    out_dim: int
    iteration: int


def packing(mod: tvm.IRModule) -> tuple[Trace, tvm.IRModule] | None:
    """The steps that pack the weights of a program's largest contraction, and the program that they make.

    Args:
        mod: one unscheduled function.

    Returns:
        None where there is nothing that pays: no contraction, vectors that run along the last dimension anyway, few
        uses of each weight, or a number of channels that no vector divides.
    """
    try:
        found = max(_contractions(traces.unscheduled(mod)), key=lambda item: item[0], default=None)
        if found is None:
            return None
        schedule = traces.unscheduled(mod)
        _apply(schedule, *found[1:])
    except Exception as error:
        # a program of a kind that TVM's primitives refuse, with plain RuntimeError and others of its own
        _log.debug("a contraction is not packed: %s: %s", type(error).__name__, telling_line(error))
        return None
    return traces.from_tvm(traces.tvm_trace(schedule)), schedule.mod


def _contractions(schedule: tvm.s_tir.Schedule) -> Iterator[tuple[int, str, Panels]]:
    """(iterations, block name, panels) of each block that sums up products."""
    name, function = traces.function_of(schedule.mod)
    root = schedule.get_sblock(traces.root_block(function).name_hint, func_name=name.name_hint)
    for rv in schedule.get_child_blocks(root):
        block = _block_of(schedule, rv)
        panels = _panels(block)
        if panels is not None:
            yield math.prod(int(v.dom.extent) for v in block.iter_vars), block.name_hint, panels


def _block_of(schedule: tvm.s_tir.Schedule, rv: tvm.s_tir.schedule.SBlockRV) -> Any:
    return schedule.get(rv)


def _panels(block: Any) -> Panels | None:
    """What to pack of a block; None if it is no contraction, or gains nothing."""
    variables = [v.var for v in block.iter_vars]
    extents = [int(v.dom.extent) for v in block.iter_vars]
    is_sum = [v.iter_type == v.CommReduce for v in block.iter_vars]
    total: Any = getattr(block.body, "value", None)
    product: Any = total.b if _kind(total) == "Add" else None
    if (
        block.init is None
        or not any(is_sum)
        or _kind(product) != "Mul"
        or _kind(product.a) != "TensorLoad"
        or _kind(product.b) != "TensorLoad"
    ):
        return None
    loads = [product.a, product.b]
    if math.prod(extent for extent, summed in zip(extents, is_sum) if summed) < _MIN_REDUCTION:
        return None
    out = list(block.body.indices)
    if int(block.body.buffer.shape[-1]) % _LANES == 0:
        return None  # vectors along the last dimension are as good
    for weights, data in (loads, loads[::-1]):
        size = math.prod(int(extent) for extent in weights.source.shape)
        if math.prod(extents) < _MIN_REUSE * size or weights.source.same_as(data.source):
            continue
        for i, variable in enumerate(variables):
            if is_sum[i] or _mentions(data.indices, variable):
                continue
            dims, out_dims = _places(weights.indices, variable), _places(out, variable)
            if len(dims) == 1 == len(out_dims) and -1 not in (*dims, *out_dims) and extents[i] % _LANES == 0:
                operand = next(k for k, region in enumerate(block.reads) if region.source.same_as(weights.source))
                return Panels(operand, dims[0], out_dims[0], i)
    return None


def _apply(schedule: tvm.s_tir.Schedule, name: str, panels: Panels) -> None:
    rv = schedule.get_sblock(name)
    block = _block_of(schedule, rv)
    is_sum = [v.iter_type == v.CommReduce for v in block.iter_vars]
    last = is_sum.index(True)  # the vector becomes the last of the spatial ones
    index_type = str(block.iter_vars[0].var.ty)
    at = panels.iteration

    def iterations(*v):
        return [*v[:at], v[at] // _LANES, *v[at + 1 : last], v[at] % _LANES, *v[last:]]

    def to_panels(dim: int, rank: int) -> tvm.tirx.IndexMap:
        return tvm.tirx.IndexMap.from_func(
            lambda *v: [*v[:dim], v[dim] // _LANES, *v[dim + 1 :], v[dim] % _LANES], ndim=rank, index_dtype=index_type
        )

    schedule.transform_block_layout(
        rv, tvm.tirx.IndexMap.from_func(iterations, ndim=len(is_sum), index_dtype=index_type)
    )
    block = _block_of(schedule, rv)
    schedule.cache_read(rv, panels.operand, "global")
    schedule.transform_layout(
        rv, ("read", panels.operand), to_panels(panels.dim, len(block.reads[panels.operand].source.shape))
    )
    out = block.writes[0].source
    _, function = traces.function_of(schedule.mod)
    if not any(
        out.same_as(buffer) for buffer in traces.root_block(function).alloc_buffers
    ):  # an argument keeps its layout
        schedule.cache_write(rv, 0, "global")
    schedule.transform_layout(rv, ("write", 0), to_panels(panels.out_dim, len(out.shape)))


def _kind(node: Any) -> str:
    return type(node).__name__


def _mentions(indices, variable: tvm.tirx.Var) -> bool:
    return any(found.same_as(variable) for index in indices for found in tvm.tirx.analysis.undefined_vars(index))


def _places(indices, variable: tvm.tirx.Var) -> list[int]:
    """Dimensions whose index is just the variable; an impossible one for each that mentions it otherwise."""
    return [d if index.same_as(variable) else -1 for d, index in enumerate(indices) if _mentions([index], variable)]
