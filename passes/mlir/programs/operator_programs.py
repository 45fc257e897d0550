"""Generated operator graphs: named and generic `linalg` operations on tensors."""

from __future__ import annotations

from collections.abc import Sequence

from foretune.passes.mlir.programs.bodies import Body, is_float, literal
from foretune.passes.mlir.programs.shapes import Draw


class Graph:
    """The text of a function of tensors.

    Args:
        draw: random choices.
        element: type of all tensors.
    """

    def __init__(self, draw: Draw, element: str) -> None:
        self.draw, self.element = draw, element
        self._arguments: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self.shape: dict[str, tuple[int, ...]] = {}

    def type(self, shape: Sequence[int]) -> str:
        """A tensor type."""
        return f"tensor<{''.join(f'{n}x' for n in shape)}{self.element}>"

    def argument(self, *shape: int) -> str:
        """A new argument of the function."""
        name = f"%a{len(self._arguments)}"
        self._arguments.append(f"{name}: {self.type(shape)}")
        self.shape[name] = tuple(shape)
        return name

    def add(self, text: str, shape: Sequence[int] | None = None) -> str:
        """Appends `NAME = text`; the name."""
        name = f"%t{self._count}"
        self._count += 1
        self._lines.append(f"{name} = {text}")
        if shape is not None:
            self.shape[name] = tuple(shape)
        return name

    def empty(self, shape: Sequence[int]) -> str:
        """An uninitialised tensor."""
        return self.add(f"tensor.empty() : {self.type(shape)}", shape)

    def filled(self, shape: Sequence[int], value: float = 0.0) -> str:
        """A tensor of equal elements."""
        constant = self.add(f"arith.constant {literal(self.element, value)} : {self.element}")
        empty = self.empty(shape)
        return self.add(
            f"linalg.fill ins({constant} : {self.element}) outs({empty} : {self.type(shape)}) -> {self.type(shape)}",
            shape,
        )

    def named(
        self, op: str, inputs: Sequence[str], shape: Sequence[int], attributes: str = "", init: float = 0.0
    ) -> str:
        """A named operation that accumulates into a filled tensor."""
        out = self.filled(shape, init)
        types = ", ".join(self.type(self.shape[i]) for i in inputs)
        return self.add(
            f"linalg.{op} {attributes} ins({', '.join(inputs)} : {types}) outs({out} : {self.type(shape)}) ->"
            f" {self.type(shape)}",
            shape,
        )

    def generic(
        self,
        inputs: Sequence[tuple[str, Sequence[int]]],
        out: str,
        out_dims: Sequence[int],
        num_dims: int,
        body,
        reduced: Sequence[int] = (),
    ) -> str:
        """A `linalg.generic`.

        Args:
            inputs: (tensor, loop of each of its dimensions).
            out: the tensor that is written.
            out_dims: loop of each of its dimensions.
            num_dims: loops.
            body: function of (Body, names of the elements read, name of the old output) that gives the new element's
                name.
            reduced: loops that are reductions.
        """
        loops = ", ".join(f"d{i}" for i in range(num_dims))
        maps = ", ".join(
            f"affine_map<({loops}) -> ({', '.join(f'd{d}' for d in dims)})>"
            for dims in [d for _, d in inputs] + [out_dims]
        )
        kinds = ", ".join('"reduction"' if i in reduced else '"parallel"' for i in range(num_dims))
        body_text = Body(self.draw.rng, self.element, prefix="b")
        result = body(body_text, [f"%i{k}" for k in range(len(inputs))], "%o")
        shape = self.shape[out]
        types = ", ".join(self.type(self.shape[t]) for t, _ in inputs)
        read = f"ins({', '.join(t for t, _ in inputs)} : {types}) " if inputs else ""
        block = ", ".join([f"%i{k}: {self.element}" for k in range(len(inputs))] + [f"%o: {self.element}"])
        lines = "\n      ".join([*body_text.lines, f"linalg.yield {result} : {self.element}"])
        return self.add(
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} {read}outs({out} :"
            f" {self.type(shape)}) {{\n    ^bb0({block}):\n      {lines}\n    }} -> {self.type(shape)}",
            shape,
        )

    def pointwise(self, inputs: Sequence[str], num_ops: int, body=None) -> str:
        """Random arithmetic on tensors of one shape."""
        shape = self.shape[inputs[0]]
        dims = range(len(shape))
        compute = body or (lambda b, values, _: b.random(values, num_ops))
        return self.generic([(t, dims) for t in inputs], self.empty(shape), dims, len(shape), compute)

    def reduce(self, value: str, axes: Sequence[int], kind: str = "sum", prepare=None) -> str:
        """A reduction over some dimensions."""
        shape = self.shape[value]
        kept = [d for d in range(len(shape)) if d not in axes]
        floats = is_float(self.element)
        op = {"sum": "addf" if floats else "addi", "max": "maximumf" if floats else "maxsi"}[kind]
        out = self.filled([shape[d] for d in kept], 0.0 if kind == "sum" else -1e6)

        def body(b: Body, values: Sequence[str], old: str) -> str:
            return b.binary(op, old, prepare(b, values[0]) if prepare else values[0])

        return self.generic([(value, range(len(shape)))], out, kept, len(shape), body, axes)

    def along(self, value: str, other: str, dims: Sequence[int], body) -> str:
        """Arithmetic of a tensor with a smaller one that is broadcast; `dims` are the loops of the smaller one's
        dimensions.
        """
        shape = self.shape[value]
        whole = range(len(shape))
        return self.generic(
            [(value, whole), (other, dims)], self.empty(shape), whole, len(shape), lambda b, v, _: body(b, v[0], v[1])
        )

    def softmax(self, value: str) -> str:
        """Softmax over the last dimension."""
        rank = len(self.shape[value])
        kept = range(rank - 1)
        top = self.reduce(value, [rank - 1], "max")
        shifted = self.along(
            value, top, kept, lambda b, x, m: b.add(f"math.exp {b.binary('subf', x, m)} : {self.element}")
        )
        total = self.reduce(shifted, [rank - 1])
        return self.along(shifted, total, kept, lambda b, x, s: b.binary("divf", x, s))

    def matmul(self, a: str, b: str) -> str:
        """A matrix product, batched for three dimensions."""
        batched = len(self.shape[a]) == 3
        return self.named("batch_matmul" if batched else "matmul", [a, b], (*self.shape[a][:-1], self.shape[b][-1]))

    def module(self, result: str) -> str:
        """The whole text."""
        body = "\n    ".join([*self._lines, f"return {result} : {self.type(self.shape[result])}"])
        return (
            f"module {{\n  func.func @main({', '.join(self._arguments)}) -> {self.type(self.shape[result])} {{\n   "
            f" {body}\n  }}\n}}\n"
        )


def _epilogue(g: Graph, value: str) -> str:
    """Sometimes a bias, an activation or both."""
    kind = g.draw.number(0, 3)
    if kind in (1, 3):
        bias = g.argument(g.shape[value][-1])
        value = g.along(value, bias, [len(g.shape[value]) - 1], lambda b, x, y: b.sum([x, y]))
    if kind in (2, 3):
        value = g.pointwise(
            [value], 0, lambda b, v, _: b.binary("maximumf" if is_float(g.element) else "maxsi", v[0], b.constant(0))
        )
    return value


def _matmul(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    m, n, k = draw.extents(3)
    return g.module(_epilogue(g, g.matmul(g.argument(m, k), g.argument(k, n))))


def _batch_matmul(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    b, m, n, k = draw.extents(4, high=96, low=2)
    return g.module(_epilogue(g, g.matmul(g.argument(b, m, k), g.argument(b, k, n))))


def _contraction(draw: Draw) -> str:
    """A product of two tensors with any order of dimensions."""
    g = Graph(draw, draw.element())
    sizes = draw.extents(count := draw.number(2, 4), high=256)
    loops = list(draw.rng.permutation(count))
    reduced = loops[: draw.number(1, 2 if count > 2 else 1)]
    kept = [d for d in loops if d not in reduced]
    left = [d for d in loops if d in reduced or draw.chance(0.6)]
    right = [d for d in loops if d in reduced or d not in left or draw.chance(0.2)]
    draw.rng.shuffle(left)
    draw.rng.shuffle(right)
    tensors = [(g.argument(*(sizes[d] for d in dims)), dims) for dims in (left, right)]
    out = g.filled([sizes[d] for d in kept])
    return g.module(g.generic(tensors, out, kept, count, lambda b, v, o: b.sum([o, b.product(v[0], v[1])]), reduced))


def _matvec(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    m, k = draw.extents(2, high=2048, max_work=1e6)
    kind = draw.of(("matvec", "vecmat", "dot"))
    if kind == "dot":
        n = draw.extent(64, 32768)
        return g.module(g.named("dot", [g.argument(n), g.argument(n)], ()))
    if kind == "matvec":
        return g.module(g.named("matvec", [g.argument(m, k), g.argument(k)], (m,)))
    return g.module(g.named("vecmat", [g.argument(k), g.argument(k, m)], (m,)))


def _conv2d(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    kernel, stride, dilation = draw.of((1, 2, 3, 3, 5)), draw.of((1, 1, 2)), draw.of((1, 1, 1, 2))
    size, channels, filters = draw.extents(3, max_work=4e4, min_work=400, high=56)
    size = min(size, 28)
    out = size if kernel < 5 else max(3, size // 2)
    extent = (out - 1) * stride + (kernel - 1) * dilation + 1
    batch = draw.of((1, 1, 2))
    attributes = f"{{dilations = dense<{dilation}> : tensor<2xi64>, strides = dense<{stride}> : tensor<2xi64>}}"
    if draw.chance(0.5):
        value = g.named(
            "conv_2d_nhwc_hwcf",
            [g.argument(batch, extent, extent, channels), g.argument(kernel, kernel, channels, filters)],
            (batch, out, out, filters),
            attributes,
        )
    else:
        value = g.named(
            "conv_2d_nchw_fchw",
            [g.argument(batch, channels, extent, extent), g.argument(filters, channels, kernel, kernel)],
            (batch, filters, out, out),
            attributes,
        )
    return g.module(_epilogue(g, value))


def _conv1d(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    kernel, stride = draw.of((2, 3, 5, 7)), draw.of((1, 1, 2))
    length, channels, filters = draw.extents(3, max_work=2e5, high=256)
    extent = (length - 1) * stride + kernel
    attributes = f"{{dilations = dense<1> : tensor<1xi64>, strides = dense<{stride}> : tensor<1xi64>}}"
    return g.module(
        _epilogue(
            g,
            g.named(
                "conv_1d_nwc_wcf",
                [g.argument(1, extent, channels), g.argument(kernel, channels, filters)],
                (1, length, filters),
                attributes,
            ),
        )
    )


def _depthwise(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    kernel, stride = draw.of((2, 3, 3, 5)), draw.of((1, 1, 2))
    size, channels = draw.extents(2, max_work=6e3, min_work=300, high=128)
    size = min(size, 32)
    extent = (size - 1) * stride + kernel
    attributes = f"{{dilations = dense<1> : tensor<2xi64>, strides = dense<{stride}> : tensor<2xi64>}}"
    return g.module(
        _epilogue(
            g,
            g.named(
                "depthwise_conv_2d_nhwc_hwc",
                [g.argument(1, extent, extent, channels), g.argument(kernel, kernel, channels)],
                (1, size, size, channels),
                attributes,
            ),
        )
    )


def _pooling(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    kernel, stride = draw.of((2, 2, 3)), draw.of((1, 2, 2))
    size, channels = draw.extents(2, max_work=1e4, min_work=500, high=128)
    size = min(size, 32)
    extent = (size - 1) * stride + kernel
    attributes = f"{{dilations = dense<1> : tensor<2xi64>, strides = dense<{stride}> : tensor<2xi64>}}"
    op, init = draw.of((("pooling_nhwc_sum", 0.0), ("pooling_nhwc_max", -1e6)))
    return g.module(
        g.named(
            op,
            [g.argument(1, extent, extent, channels), g.empty((kernel, kernel))],
            (1, size, size, channels),
            attributes,
            init,
        )
    )


def _elementwise(draw: Draw) -> str:
    """A chain of random pointwise operations, with broadcasts."""
    g = Graph(draw, draw.element())
    shape = draw.extents(draw.number(1, 3), max_work=1e5, high=16384)
    value = g.argument(*shape)
    for _ in range(draw.number(1, 4)):
        if len(shape) > 1 and draw.chance(0.4):
            dims = sorted(draw.rng.permutation(len(shape))[: draw.number(1, len(shape) - 1)].tolist())
            other, count = g.argument(*(shape[d] for d in dims)), draw.number(1, 4)
            value = g.along(value, other, dims, lambda b, x, y, count=count: b.random([x, y], count))
        else:
            inputs = [value, *(g.argument(*shape) for _ in range(draw.number(0, 2)))]
            value = g.pointwise(inputs, draw.number(1, 6))
    return g.module(value)


def _reduction(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    shape = draw.extents(rank := draw.number(1, 4), max_work=4e5, high=4096 if rank < 3 else 128)
    axes = sorted(draw.rng.permutation(rank)[: draw.number(1, rank)].tolist())
    count = draw.number(0, 3)
    return g.module(
        g.reduce(
            g.argument(*shape), axes, draw.of(("sum", "max")), (lambda b, x: b.random([x], count)) if count else None
        )
    )


def _softmax(draw: Draw) -> str:
    g = Graph(draw, draw.element(floats=True))
    return g.module(g.softmax(g.argument(*draw.extents(draw.number(2, 3), max_work=6e4, high=1024))))


def _transpose(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    shape = draw.extents(rank := draw.number(2, 4), max_work=4e5, high=512)
    order = draw.rng.permutation(rank).tolist()
    value, out = g.argument(*shape), [shape[d] for d in order]
    empty = g.empty(out)
    value = g.add(
        f"linalg.transpose ins({value} : {g.type(shape)}) outs({empty} : {g.type(out)}) permutation = {order}", out
    )
    return g.module(g.pointwise([value, g.argument(*out)], draw.number(1, 3)) if draw.chance(0.6) else value)


def _broadcast(draw: Draw) -> str:
    g = Graph(draw, draw.element())
    shape = draw.extents(rank := draw.number(2, 3), max_work=2e5, high=512)
    added = sorted(draw.rng.permutation(rank)[: draw.number(1, rank - 1)].tolist())
    source = g.argument(*(n for d, n in enumerate(shape) if d not in added))
    empty = g.empty(shape)
    value = g.add(
        f"linalg.broadcast ins({source} : {g.type(g.shape[source])}) outs({empty} : {g.type(shape)}) dimensions ="
        f" {added}",
        shape,
    )
    return g.module(g.pointwise([value, g.argument(*shape)], draw.number(1, 3)) if draw.chance(0.6) else value)


def _mlp(draw: Draw) -> str:
    g = Graph(draw, draw.element(floats=True))
    batch, width = draw.extent(2, 32), draw.extent(8, 128)
    value = g.argument(batch, width)
    for _ in range(draw.number(2, 3)):
        value = _epilogue(g, g.matmul(value, g.argument(g.shape[value][-1], draw.extent(8, 128))))
    return g.module(value)


def _attention(draw: Draw) -> str:
    g = Graph(draw, draw.element(floats=True))
    heads, length, width = draw.of((1, 1, 2, 4)), draw.extent(8, 64), draw.of((8, 16, 32, 64))
    q, v = g.argument(heads, length, width), g.argument(heads, length, width)
    scores = g.matmul(q, g.argument(heads, width, length))
    scaled = g.pointwise([scores], 0, lambda b, x, _: b.product(x[0], b.constant(width**-0.5)))
    return g.module(g.matmul(g.softmax(scaled), v))


def _layer_norm(draw: Draw) -> str:
    g = Graph(draw, draw.element(floats=True))
    rows, width = draw.extents(2, max_work=1e5, high=1024)
    value = g.argument(rows, width)

    def mean(value: str, prepare=None) -> str:
        total = g.reduce(value, [1], "sum", prepare)
        return g.pointwise([total], 0, lambda b, x, _: b.product(x[0], b.constant(1 / width)))

    centred = g.along(value, mean(value), [0], lambda b, x, m: b.binary("subf", x, m))
    variance = mean(centred, lambda b, x: b.product(x, x))
    scale = g.pointwise(
        [variance], 0, lambda b, x, _: b.add(f"math.rsqrt {b.sum([x[0], b.constant(1e-3)])} : {g.element}")
    )
    value = g.along(centred, scale, [0], lambda b, x, s: b.product(x, s))
    return g.module(
        g.along(value, g.argument(width), [1], lambda b, x, w: b.product(x, w)) if draw.chance(0.5) else value
    )


def _mixed(draw: Draw) -> str:
    """A graph of operators on matrices, several of which read the same value."""
    g = Graph(draw, draw.element(floats=True))
    rows, columns = draw.extents(2, max_work=1e4, high=128)
    pool = [g.argument(rows, columns)]
    for _ in range(draw.number(2, 5)):
        value = pool[-1] if draw.chance(0.7) else draw.of(pool)
        shape, kind = g.shape[value], draw.number(0, 5)
        if kind == 0:
            pool.append(g.matmul(value, g.argument(shape[1], draw.extent(4, 64))))
        elif kind == 1:
            fitting = [v for v in pool if g.shape[v] == shape and v != value]
            pool.append(g.pointwise([value, draw.of(fitting) if fitting else g.argument(*shape)], draw.number(1, 4)))
        elif kind == 2:
            other = g.reduce(value, [1], draw.of(("sum", "max")))
            pool.append(g.along(value, other, [0], lambda b, x, y: b.random([x, y], 1)))
        elif kind == 3:
            pool.append(g.along(value, g.argument(shape[1]), [1], lambda b, x, y: b.random([x, y], 1)))
        elif kind == 4:
            order = [1, 0]
            empty, out = g.empty(shape[::-1]), shape[::-1]
            pool.append(
                g.add(
                    f"linalg.transpose ins({value} : {g.type(shape)}) outs({empty} : {g.type(out)}) permutation ="
                    f" {order}",
                    out,
                )
            )
        else:
            pool.append(g.softmax(value))
    return g.module(pool[-1])


FAMILIES = {
    "matmul": _matmul,
    "batch_matmul": _batch_matmul,
    "contraction": _contraction,
    "matvec": _matvec,
    "conv2d": _conv2d,
    "conv1d": _conv1d,
    "depthwise": _depthwise,
    "pooling": _pooling,
    "elementwise": _elementwise,
    "reduction": _reduction,
    "softmax": _softmax,
    "transpose": _transpose,
    "broadcast": _broadcast,
    "mlp": _mlp,
    "attention": _attention,
    "layer_norm": _layer_norm,
    "mixed": _mixed,
}
