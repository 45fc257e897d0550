"""Generated single operations of `linalg` as other people's modules have them: every named product, convolution,
pooling and elementwise operation, on tensors or memrefs, with narrow types and results that are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from foretune.passes.mlir.programs.bodies import is_float, literal
from foretune.passes.mlir.programs.shapes import Draw

_PAIRS = (
    *(("f32", "f32"),) * 5,
    ("f64", "f64"),
    ("i32", "i32"),
    ("i64", "i64"),
    ("bf16", "f32"),
    ("bf16", "bf16"),
    ("f16", "f16"),
    ("i8", "i32"),
    ("i8", "i8"),
)
"""(type of what is read, type of what is written)."""
_PRODUCTS = ("matmul", "batch_matmul", "batch_reduce_matmul", "matvec", "vecmat", "dot", "mmt4d", "blocked")
_CONVOLUTIONS = (
    "conv_1d",
    "conv_2d",
    "conv_3d",
    "conv_1d_nwc_wcf",
    "conv_1d_ncw_fcw",
    "conv_2d_nhwc_hwcf",
    "conv_2d_nhwc_fhwc",
    "conv_2d_nchw_fchw",
    "conv_3d_ndhwc_dhwcf",
    "depthwise_conv_1d_nwc_wc",
    "depthwise_conv_1d_ncw_cw",
    "depthwise_conv_2d_nhwc_hwc",
    "depthwise_conv_2d_nchw_chw",
    *(f"pooling_{layout}_{kind}" for layout in ("nwc", "ncw", "nhwc", "nchw", "ndhwc") for kind in ("sum", "max")),
)
_UNARY = ("exp", "log", "abs", "ceil", "floor", "negf", "sqrt", "rsqrt", "square", "tanh", "erf", "round", "reciprocal")
_BINARY = ("add", "sub", "mul", "div", "max", "min")
_SMALL = 0.3  # of the programs are as small as tests are


class _Operation:
    """The text of a function with one structured operation.

    Args:
        draw: random choices.
    """

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.kind = draw.of(("tensor", "tensor", "memref"))
        self.element, self.result = draw.of(_PAIRS)
        self._arguments: list[str] = []
        self._lines: list[str] = []

    def type(self, shape: Sequence[int], element: str) -> str:
        """A tensor or memref type."""
        return f"{self.kind}<{''.join(f'{n}x' for n in shape)}{element}>"

    def value(self, shape: Sequence[int], element: str = "") -> tuple[str, str]:
        """(name, type) of a new argument."""
        name, kind = f"%a{len(self._arguments)}", self.type(shape, element or self.element)
        self._arguments.append(f"{name}: {kind}")
        return name, kind

    def out(self, shape: Sequence[int], init: float | None = 0.0) -> tuple[str, str]:
        """(name, type) of what is written: an argument, or filled first."""
        kind = self.type(shape, self.result)
        if self.kind == "memref" or self.draw.chance(0.4) or init is None:
            name, _ = self.value(shape, self.result)
            if init is None or self.draw.chance(0.5):
                return name, kind
        else:
            name = "%e"
            self._lines.append(f"%e = tensor.empty() : {kind}")
        self._lines.append(f"%zero = arith.constant {literal(self.result, init)} : {self.result}")
        fill = f"linalg.fill ins(%zero : {self.result}) outs({name} : {kind})"
        self._lines.append(fill if self.kind == "memref" else f"%filled = {fill} -> {kind}")
        return name if self.kind == "memref" else "%filled", kind

    def module(self, head: str, inputs: Sequence[tuple[str, str]], out: tuple[str, str], tail: str = "") -> str:
        """A module whose function does one operation.

        Args:
            head: its name with attributes in front of the operands.
            inputs, out: (name, type) of operands.
            tail: what stands behind them.
        """
        read = f"ins({', '.join(n for n, _ in inputs)} : {', '.join(t for _, t in inputs)}) " if inputs else ""
        text = f"{head} {read}outs({out[0]} : {out[1]}){tail}"
        named = not tail or tail.lstrip().startswith("{\n")  # others state no result
        end, results = "return", ""
        if self.kind == "tensor":
            text = f"%r = {text}{f' -> {out[1]}' if named else ''}"
            end, results = f"return %r : {out[1]}", f" -> {out[1]}"
        lines = "\n  ".join([*self._lines, text, end])
        return f"func.func @main({', '.join(self._arguments)}){results} {{\n  {lines}\n}}"


def _sizes(draw: Draw, count: int, most: float = 1.5e6) -> list[int]:
    if draw.chance(_SMALL):
        return [draw.number(1, 9) if draw.chance(0.7) else 4 * draw.number(1, 4) for _ in range(count)]
    return draw.extents(count, max_work=most, min_work=200.0)


def _product(draw: Draw) -> str:
    o, name = _Operation(draw), draw.of(_PRODUCTS)
    m, n, k = _sizes(draw, 3)
    b = draw.of((1, 2, 3, 4, 8))
    if name == "blocked":
        return _blocked(o, m, n, k)
    if name == "mmt4d":
        small = [draw.of((1, 2, 4, 8, 16)) for _ in range(3)]
        m, n, k = (max(1, size // inner) for size, inner in zip((m, n, k), small))
        shapes = ([m, k, small[0], small[2]], [n, k, small[1], small[2]], [m, n, small[0], small[1]])
    else:
        shapes = {
            "matmul": ([m, k], [k, n], [m, n]),
            "batch_matmul": ([b, m, k], [b, k, n], [b, m, n]),
            "batch_reduce_matmul": ([b, m, k], [b, k, n], [m, n]),
            "matvec": ([m, k], [k], [m]),
            "vecmat": ([k], [k, n], [n]),
            "dot": ([m * k], [m * k], []),
        }[name]
    inputs = [o.value(shape) for shape in shapes[:2]]
    return o.module(f"linalg.{name}", inputs, o.out(shapes[2]))


def _blocked(o: _Operation, m: int, n: int, k: int) -> str:
    """A product of matrices whose blocks lie together, as a `linalg.generic`."""
    bm, bn, bk = (o.draw.of((2, 4, 8, 16, 32)) for _ in range(3))
    outer = [max(1, size // block) for size, block in zip((m, n, k), (bm, bn, bk))]
    a = o.value([outer[0], outer[2], bm, bk])
    b = o.value([outer[1], outer[2], bk, bn])
    out = o.out([outer[0], outer[1], bm, bn])
    loops = "d0, d1, d2, d3, d4, d5"
    maps = ", ".join(
        f"affine_map<({loops}) -> ({dims})>" for dims in ("d0, d2, d3, d5", "d1, d2, d5, d4", "d0, d1, d3, d4")
    )
    kinds = '"parallel", "parallel", "reduction", "parallel", "parallel", "reduction"'
    body = [*_widened(o, "%x", "%wx"), *_widened(o, "%y", "%wy")]
    x, y = ("%wx", "%wy") if body else ("%x", "%y")
    multiply, add = ("mulf", "addf") if is_float(o.result) else ("muli", "addi")
    body += [f"%p = arith.{multiply} {x}, {y} : {o.result}", f"%s = arith.{add} %z, %p : {o.result}"]
    block = f"^bb0(%x: {o.element}, %y: {o.element}, %z: {o.result}):"
    tail = " {\n  " + "\n    ".join([block, *body, f"linalg.yield %s : {o.result}"]) + "\n  }"
    return o.module(f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}}", [a, b], out, tail)


def _widened(o: _Operation, name: str, to: str) -> list[str]:
    if o.element == o.result:
        return []
    return [f"{to} = arith.{'extf' if is_float(o.element) else 'extsi'} {name} : {o.element} to {o.result}"]


def _convolution(draw: Draw) -> str:
    o, name = _Operation(draw), draw.of(_CONVOLUTIONS)
    pools = name.startswith("pooling")
    if pools:
        o.element = o.result  # poolings do not widen
    layout = next((part for part in name.split("_") if set(part) <= set("ndhwc") and "w" in part), "")
    rank = layout.count("d") + layout.count("h") + layout.count("w") if layout else int(name[5])
    stride, dilation = draw.of((1, 1, 1, 2)), draw.of((1, 1, 1, 2))
    kernel = [draw.of((1, 2, 3, 3, 5))] * rank if draw.chance(0.8) else [draw.number(1, 4) for _ in range(rank)]
    room = 1.2e6 / math.prod(kernel)
    if not layout:
        space, channels, filters, batch, stride, dilation = _sizes(draw, rank, room), 1, 1, 1, 1, 1
    else:
        *space, channels, filters = _sizes(draw, rank + 2, room)
        channels, filters, batch = min(channels, 256), min(filters, 128), draw.of((1, 1, 2))
    read = [(size - 1) * stride + (k - 1) * dilation + 1 for size, k in zip(space, kernel)]
    plain, first = not layout, layout.startswith("nc")  # channels before positions
    depthwise = name.startswith("depthwise")
    if plain:
        shapes = (read, kernel, space)
    elif pools:
        shapes = (_in(batch, channels, read, first), kernel, _in(batch, channels, space, first))
    elif depthwise:
        weights = [channels, *kernel] if first else [*kernel, channels]
        shapes = (_in(batch, channels, read, first), weights, _in(batch, channels, space, first))
    else:
        weights = {
            "f": [filters, channels, *kernel] if first else [filters, *kernel, channels],
            "k": [*kernel, channels, filters],
        }["f" if name.split("_")[-1].startswith("f") else "k"]
        shapes = (_in(batch, channels, read, first), weights, _in(batch, filters, space, first))
    inputs = [o.value(shape) for shape in shapes[:2]]
    numbers = (("dilations", dilation), ("strides", stride))
    attributes = ", ".join(f"{word} = dense<{value}> : tensor<{rank}xi64>" for word, value in numbers)
    head = f"linalg.{name}" if plain else f"linalg.{name} {{{attributes}}}"
    return o.module(head, inputs, o.out(shapes[2], -100.0 if "max" in name else 0.0))


def _in(batch: int, channels: int, space: Sequence[int], first: bool) -> list[int]:
    return [batch, channels, *space] if first else [batch, *space, channels]


def _pointwise(draw: Draw) -> str:
    o = _Operation(draw)
    o.element = o.result
    shape = _sizes(draw, draw.number(1, 4), 1e5)
    kinds = ("unary", "binary", "binary", "copy", "broadcast", "transpose", "reduce", "map")
    kind = draw.of(kinds if is_float(o.result) else kinds[1:])
    if kind in ("unary", "binary"):
        name = draw.of(_UNARY if kind == "unary" else _BINARY)
        inputs = [o.value(shape) for _ in range(1 if kind == "unary" else 2)]
        return o.module(f"linalg.{name}", inputs, o.out(shape, None))
    if kind == "copy":
        return o.module("linalg.copy", [o.value(shape)], o.out(shape, None))
    if kind == "map":
        inputs, out = [o.value(shape) for _ in range(2)], o.out(shape, None)
        operation = draw.of(("addf", "mulf", "maximumf") if is_float(o.result) else ("addi", "muli", "maxsi"))
        return o.module(f"linalg.map {{ arith.{operation} }}", inputs, out, " ")
    if kind == "transpose":
        order = draw.rng.permutation(len(shape)).tolist()
        value = o.value(shape)
        return o.module("linalg.transpose", [value], o.out([shape[d] for d in order], None), f" permutation = {order}")
    axis = draw.number(0, len(shape) - 1)
    rest = [n for d, n in enumerate(shape) if d != axis]
    if kind == "broadcast":
        value = o.value(rest)
        return o.module("linalg.broadcast", [value], o.out(shape, None), f" dimensions = [{axis}]")
    operation = draw.of(("addf", "maximumf") if is_float(o.result) else ("addi", "maxsi"))
    value = o.value(shape)
    return o.module(f"linalg.reduce {{ arith.{operation} }}", [value], o.out(rest), f" dimensions = [{axis}]")


FAMILIES = {"named_product": _product, "named_convolution": _convolution, "named_pointwise": _pointwise}
