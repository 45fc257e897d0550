"""Operators of AutoTVM's templates -> ProgramGraph: their loops, buffers and accesses follow from name and arguments.

An AutoTVM log holds no program, but its templates are few and well known: dense layers, batched matrix products and
convolutions. A loop is named `BLOCK/AXIS` by the axis that knobs tile (`tile_y` tiles `y`), so that the knobs' numbers
become factors of extents (`costmodel/schedules/knobs.py`). Node and edge features are those of `tir_graph.py`.

Axes: `n` images or matrices, `f` output channels, `y` and `x` rows and columns, `k` or `rc`, `ry`, `rx` reduced.
Source: the operators of tvm/topi, and their schedules in tvm/topi/x86, cuda, arm_cpu and mali of TVM 0.6 to 0.19.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from foretune.datasets.programs.tir_graph import BLOCK_FEATURES
from foretune.program import Edge, Node, ProgramGraph

Index = tuple[tuple[tuple[str, int], ...], ...]  # for each dimension, (loop, coefficient) pairs
_REDUCED = ("k", "rc", "ry", "rx")
_LARGEST = 1 << 40  # of an extent; a log may say anything


@dataclass(frozen=True)
class _Buffer:
    name: str
    shape: tuple[int, ...]
    index: Index
    element_bytes: float
    is_float: bool


@dataclass(frozen=True)
class _Operator:
    """One multiply-accumulate nest; the output is the first buffer."""

    name: str
    extents: dict[str, int]  # from the outermost loop in
    buffers: tuple[_Buffer, ...]


def template_graph(template: str, arguments: Sequence[Any], around: ProgramGraph) -> ProgramGraph:
    """A graph with the operator's block, loops and buffers added.

    Args:
        template: name of the template, such as `dense_pack.x86`.
        arguments: of the template, as the log has them.
        around: what is known anyway; returned as it is where the template is not known, or the arguments are not its.
    """
    make = next((make for pattern, make in _KNOWN if re.match(pattern, template)), None)
    if make is None:
        return around
    try:
        operator = make(template, arguments)
    except (
        IndexError,
        TypeError,
        ValueError,
        KeyError,
        ArithmeticError,
    ):  # of another version
        return around
    extents = operator.extents.values()
    return _added(operator, around) if all(0 < e <= _LARGEST for e in extents) else around


def _tensor(argument: Any, name: str, index: Index) -> _Buffer:
    kind, shape, dtype = argument[:3]
    if kind != "TENSOR" or len(shape) != len(index) or not all(type(d) is int and d > 0 for d in shape):
        raise ValueError(f"not a tensor of {len(index)} dimensions: {str(argument)[:60]}")
    return _Buffer(name, tuple(shape), index, _bytes_of(dtype), "float" in dtype)


def _bytes_of(dtype: str) -> float:
    bits = re.search(r"\d+", dtype)
    return max(1.0, int(bits.group()[:4]) / 8) if bits else 1.0


def _output(shape: Sequence[int], axes: str, like: _Buffer) -> _Buffer:
    return _Buffer("out", tuple(shape), tuple(((axis, 1),) for axis in axes), like.element_bytes, like.is_float)


def _dense(template: str, arguments: Sequence[Any]) -> _Operator:
    # on GPUs `tile_x` tiles the rows, elsewhere the columns
    rows, columns = ("x", "y") if template.startswith("dense_large_batch") else ("y", "x")
    left = _tensor(arguments[0], "left", (((rows, 1),), (("k", 1),)))
    right = _tensor(arguments[1], "right", (((columns, 1),), (("k", 1),)))
    if left.shape[1] != right.shape[1]:
        raise ValueError("the reduced extents differ")
    extents = {rows: left.shape[0], columns: right.shape[0], "k": left.shape[1]}
    if "pack" in template and "nopack" not in template:  # the weight was packed: columns are neighbours in memory
        right = _Buffer("right", right.shape[::-1], right.index[::-1], right.element_bytes, right.is_float)
    out = _output((extents[rows], extents[columns]), rows + columns, left)
    name = next((name for name in ("dense_nopack", "dense_small_batch") if template.startswith(name)), "dense")
    return _Operator(name, extents, (out, left, right))


def _batch_matmul(template: str, arguments: Sequence[Any]) -> _Operator:
    left = _tensor(arguments[0], "left", ((("n", 1),), (("y", 1),), (("k", 1),)))
    right = _tensor(arguments[1], "right", ((("n", 1),), (("x", 1),), (("k", 1),)))
    if left.shape[2] != right.shape[2]:
        raise ValueError("the reduced extents differ")
    extents = {"n": max(left.shape[0], right.shape[0]), "y": left.shape[1], "x": right.shape[1], "k": left.shape[2]}
    return _Operator("batch_matmul", extents, (_output([extents[a] for a in "nyx"], "nyx", left), left, right))


def _conv2d(template: str, arguments: Sequence[Any]) -> _Operator:
    is_depthwise = "depthwise" in template
    numbers = [a for a in arguments[2:] if isinstance(a, list) and a and all(type(n) is int for n in a)]
    kernel = arguments[1][1]
    if numbers and numbers[0] == list(kernel[2:]) and type(arguments[2]) is int:  # an older form repeats the kernel
        numbers = numbers[1:]
    (down, right), padding = numbers[0], numbers[1]
    top, left, bottom, rest = (padding * 4)[:4] if len(padding) == 1 else (*padding, *padding)[:4]
    dilation = numbers[2] if len(numbers) > 2 and len(numbers[2]) == 2 else [1, 1]
    images, _, height, width = arguments[0][1]
    filters, per_filter, kernel_height, kernel_width = kernel
    rows = (height + top + bottom - dilation[0] * (kernel_height - 1) - 1) // down + 1
    columns = (width + left + rest - dilation[1] * (kernel_width - 1) - 1) // right + 1
    window: Index = ((("y", down), ("ry", dilation[0])), (("x", right), ("rx", dilation[1])))
    if is_depthwise:
        extents = {"n": images, "f": filters * per_filter, "y": rows, "x": columns}
        data_channel, weight_index = (("f", 1),), ((("f", 1),), (), (("ry", 1),), (("rx", 1),))
    else:
        extents = {"n": images, "f": filters, "y": rows, "x": columns, "rc": per_filter}
        data_channel, weight_index = (("rc", 1),), ((("f", 1),), (("rc", 1),), (("ry", 1),), (("rx", 1),))
    extents |= {"ry": kernel_height, "rx": kernel_width}
    data = _tensor(arguments[0], "data", ((("n", 1),), data_channel, *window))
    weight = _tensor(arguments[1], "weight", weight_index)
    out = _output([extents[a] for a in "nfyx"], "nfyx", data)
    buffers = (out, data, weight)
    if "NCHWc" in template or "nchwc" in template:  # blocks of channels come last in memory
        buffers = tuple(_Buffer(b.name, *_channels_last(b), b.element_bytes, b.is_float) for b in buffers)
    return _Operator("depthwise_conv2d" if is_depthwise else "conv2d", extents, buffers)


def _channels_last(buffer: _Buffer) -> tuple[tuple[int, ...], Index]:
    order = (1, 2, 3, 0) if buffer.name == "weight" else (0, 2, 3, 1)
    return tuple(buffer.shape[i] for i in order), tuple(buffer.index[i] for i in order)


_KNOWN: tuple[tuple[str, Callable[[str, Sequence[Any]], _Operator]], ...] = (
    (r"dense(_\w+)?\.(?!vta)", _dense),
    (r"batch_matmul\.", _batch_matmul),
    (r"(topi_\w+_)?(depthwise_)?conv2d(_nchw|_NCHWc|_nchwc)?(_spatial_pack)?(\.(?!vta)\w+)?$", _conv2d),
)


def _added(operator: _Operator, around: ProgramGraph) -> ProgramGraph:
    nodes, edges = list(around.nodes), list(around.edges)
    extents = operator.extents
    reduced = [axis for axis in extents if axis in _REDUCED]
    block = len(nodes)
    facts = {
        "is_reduction": 1.0,
        "num_spatial": len(extents) - len(reduced),
        "num_reduce": len(reduced),
        "log2_iterations": sum(math.log2(e) for e in extents.values()),
        "adds": 1.0,
        "muls": 1.0,
        "loads": 2.0,
        "output_bytes": operator.buffers[0].element_bytes,
        "is_float": float(operator.buffers[0].is_float),
    }
    nodes.append(Node("block", operator.name, tuple(float(facts.get(name, 0.0)) for name in BLOCK_FEATURES)))
    loop_of = {}
    for depth, (axis, extent) in enumerate(extents.items()):
        loop_of[axis] = len(nodes)
        two = (extent & -extent).bit_length() - 1
        features = (
            math.log2(extent), axis in _REDUCED, depth, len(extents) - depth - 1, two, math.log2(extent >> two),
        )  # fmt: skip
        nodes.append(Node("loop", f"{operator.name}/{axis}", tuple(float(f) for f in features)))
        edges.append(Edge(loop_of[axis], block, "in"))
        if depth:
            edges.append(Edge(loop_of[axis] - 1, loop_of[axis], "nest"))
    for i, buffer in enumerate(operator.buffers):
        _add_buffer(nodes, edges, block, loop_of, buffer, is_write=i == 0)
    return ProgramGraph(tuple(nodes), tuple(edges))


def _add_buffer(
    nodes: list[Node], edges: list[Edge], block: int, loop_of: dict[str, int], buffer: _Buffer, is_write: bool
) -> None:
    node, elements = len(nodes), math.prod(buffer.shape)
    features = (
        math.log2(elements * buffer.element_bytes), math.log2(elements), len(buffer.shape), buffer.element_bytes,
        not is_write, is_write, buffer.is_float,
    )  # fmt: skip
    nodes.append(Node("buffer", buffer.name, tuple(float(f) for f in features)))
    edges.append(Edge(block, node, "write") if is_write else Edge(node, block, "read"))
    for dim, index in enumerate(buffer.index):
        stride = math.prod(buffer.shape[dim + 1 :])
        for axis, coefficient in index:
            access = (block, is_write, dim, coefficient, coefficient * stride, True)
            edges.append(Edge(loop_of[axis], node, "access", tuple(float(f) for f in access)))
