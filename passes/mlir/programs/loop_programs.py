"""Generated loop nests: `affine` and `scf` loops over memrefs."""

from __future__ import annotations

from collections.abc import Sequence

from foretune.passes.mlir.programs.bodies import Body, is_float
from foretune.passes.mlir.programs.shapes import Draw


class Nest:
    """The text of a function of memrefs.

    Args:
        draw: random choices.
        element: type of most elements.
    """

    def __init__(self, draw: Draw, element: str) -> None:
        self.draw, self.element = draw, element
        self._arguments: list[str] = []
        self._lines: list[str] = []
        self._constants: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._depth = 0
        self._count = 0

    def argument(self, shape: Sequence[int], element: str = "") -> str:
        """A new argument."""
        name = f"%a{len(self._arguments)}"
        self._types[name] = f"memref<{''.join(f'{n}x' for n in shape)}{element or self.element}>"
        self._arguments.append(f"{name}: {self._types[name]}")
        return name

    def index(self, value: int) -> str:
        """A constant of type index."""
        name = f"%c{value}"
        self._constants[name] = f"{name} = arith.constant {value} : index"
        return name

    def line(self, text: str) -> None:
        """Appends a statement."""
        self._lines.append("  " * self._depth + text)

    def value(self, text: str) -> str:
        """Appends `NAME = text`; the name."""
        name = f"%s{self._count}"
        self._count += 1
        self.line(f"{name} = {text}")
        return name

    def affine_for(self, low: object, high: object, step: int = 1) -> str:
        """Opens a loop; its variable. Bounds are numbers or texts such as `#map(%i)`."""
        name = f"%i{self._count}"
        self._count += 1
        self.line(f"affine.for {name} = {low} to {high}" + (f" step {step}" if step > 1 else "") + " {")
        self._depth += 1
        return name

    def scf_for(self, low: int | str, high: int | str, step: int = 1) -> str:
        """Opens a loop of `scf`; its variable."""
        name = f"%i{self._count}"
        self._count += 1
        bounds = [b if isinstance(b, str) else self.index(b) for b in (low, high, step)]
        self.line(f"scf.for {name} = {bounds[0]} to {bounds[1]} step {bounds[2]} {{")
        self._depth += 1
        return name

    def loop(self, extent: int, kind: str, low: int = 0) -> str:
        """Opens a loop of either kind."""
        return self.affine_for(low, extent) if kind == "affine" else self.scf_for(low, extent)

    def close(self, count: int = 1) -> None:
        """Closes blocks."""
        for _ in range(count):
            self._depth -= 1
            self.line("}")

    def load(self, kind: str, memref: str, indices: Sequence[str]) -> str:
        """Reads an element."""
        return self.value(
            f"{'affine' if kind == 'affine' else 'memref'}.load {memref}[{', '.join(indices)}] : {self._types[memref]}"
        )

    def store(self, kind: str, value: str, memref: str, indices: Sequence[str]) -> None:
        """Writes an element."""
        self.line(
            f"{'affine' if kind == 'affine' else 'memref'}.store {value}, {memref}[{', '.join(indices)}] :"
            f" {self._types[memref]}"
        )

    def compute(self, write) -> str:
        """Appends the arithmetic that `write`, a function of a Body, makes; its result."""
        body = Body(self.draw.rng, self.element, prefix=f"e{self._count}_")
        self._count += 1
        result = write(body)
        for text in body.lines:
            self.line(text)
        return result

    def module(self) -> str:
        """The whole text."""
        body = "\n    ".join([*self._constants.values(), *self._lines, "return"])
        return f"module {{\n  func.func @main({', '.join(self._arguments)}) {{\n    {body}\n  }}\n}}\n"


def _pointwise(draw: Draw) -> str:
    n, kind = Nest(draw, draw.element()), draw.of(("affine", "scf"))
    shape = draw.extents(rank := draw.number(1, 3), max_work=1e5, high=16384)
    inputs = [n.argument(shape) for _ in range(draw.number(1, 3))]
    out = n.argument(shape)
    order = list(range(rank)) if draw.chance(0.7) else draw.rng.permutation(rank).tolist()
    variables = {d: n.loop(shape[d], kind) for d in order}
    indices = [variables[d] for d in range(rank)]
    values = [n.load(kind, t, indices) for t in inputs]
    n.store(kind, n.compute(lambda b: b.random(values, draw.number(1, 8))), out, indices)
    n.close(rank)
    return n.module()


def _stencil(draw: Draw) -> str:
    n, rank = Nest(draw, draw.element(floats=True)), draw.number(1, 3)
    shape = draw.extents(rank, max_work=1e5, low=6, high=(16384, 512, 64)[rank - 1])
    reach = draw.number(1, 2)
    source, out = n.argument(shape), n.argument(shape)
    variables = [n.affine_for(reach, extent - reach) for extent in shape]
    offsets = [[0] * rank]
    for d in range(rank):
        for k in range(1, reach + 1):
            for sign in (-k, k):
                offsets.append([sign if e == d else 0 for e in range(rank)])
    if rank == 2 and draw.chance(0.4):
        offsets = [[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]
    values = [
        n.load("affine", source, [f"{v} + {o}" if o else v for v, o in zip(variables, offset)]) for offset in offsets
    ]
    weighted = draw.chance(0.3)
    n.store(
        "affine",
        n.compute(
            lambda b: b.product(
                b.sum([b.product(v, b.constant(0.3)) for v in values] if weighted else values),
                b.constant(1 / len(values)),
            )
        ),
        out,
        variables,
    )
    n.close(rank)
    return n.module()


def _stencil_steps(draw: Draw) -> str:
    """Time steps of a stencil between two buffers, or in place."""
    n, rank, in_place = Nest(draw, draw.element(floats=True)), draw.number(1, 2), draw.chance(0.4)
    shape = draw.extents(rank, max_work=2e4, low=6, high=(8192, 128)[rank - 1])
    a, b = n.argument(shape), None if in_place else n.argument(shape)
    n.affine_for(0, draw.number(2, 8))
    for source, out in [(a, a)] if in_place else [(a, b), (b, a)]:
        variables = [n.affine_for(1, extent - 1) for extent in shape]
        around = [
            [f"{v} {sign} 1" if e == d else v for e, v in enumerate(variables)] for d in range(rank) for sign in "+-"
        ]
        values = [n.load("affine", source, variables)] + [n.load("affine", source, indices) for indices in around]
        n.store(
            "affine",
            n.compute(lambda body, values=values: body.product(body.sum(values), body.constant(1 / len(values)))),
            out,
            variables,
        )
        n.close(rank)
    n.close()
    return n.module()


def _product(draw: Draw) -> str:
    """A matrix product with any order of loops, accumulating in memory."""
    n, kind = Nest(draw, draw.element()), draw.of(("affine", "affine", "scf"))
    m, k, p = draw.extents(3)
    a, b, c = (
        n.argument((k, m) if (ta := draw.chance(0.2)) else (m, k)),
        n.argument((p, k) if (tb := draw.chance(0.2)) else (k, p)),
        n.argument((m, p)),
    )
    variables = {d: n.loop((m, k, p)[d], kind) for d in draw.rng.permutation(3).tolist()}
    i, l, j = (variables[d] for d in range(3))  # noqa: E741 - the usual letters of a product
    x, y = n.load(kind, a, (l, i) if ta else (i, l)), n.load(kind, b, (j, l) if tb else (l, j))
    old = n.load(kind, c, (i, j))
    n.store(kind, n.compute(lambda body: body.sum([old, body.product(x, y)])), c, (i, j))
    n.close(3)
    return n.module()


def _product_in_register(draw: Draw) -> str:
    """A product that accumulates in a value carried by the innermost loop."""
    n = Nest(draw, draw.element())
    m, p, k = draw.extents(3)
    a, b, c = n.argument((m, k)), n.argument((k, p) if (straight := draw.chance(0.5)) else (p, k)), n.argument((m, p))
    zero = n.compute(lambda body: body.constant(0))
    i, j = n.affine_for(0, m), n.affine_for(0, p)
    carried = f"%r{n._count}"
    n.line(f"{carried} = affine.for %l = 0 to {k} iter_args(%acc = {zero}) -> ({n.element}) {{")
    n._depth += 1
    x, y = n.load("affine", a, (i, "%l")), n.load("affine", b, ("%l", j) if straight else (j, "%l"))
    total = n.compute(lambda body: body.sum(["%acc", body.product(x, y)]))
    n.line(f"affine.yield {total} : {n.element}")
    n.close()
    n.store("affine", carried, c, (i, j))
    n.close(2)
    return n.module()


def _triangular(draw: Draw) -> str:
    n = Nest(draw, draw.element())
    m, k = draw.extents(2, max_work=2e4, high=192)
    kind = draw.of(("syrk", "trmm", "trmv"))
    if kind == "trmv":
        a, x, y = n.argument((m, m)), n.argument((m,)), n.argument((m,))
        i = n.affine_for(0, m)
        j = n.affine_for(0, f"affine_map<(d0) -> (d0 + 1)>({i})")
        u, v, old = n.load("affine", a, (i, j)), n.load("affine", x, (j,)), n.load("affine", y, (i,))
        n.store("affine", n.compute(lambda b: b.sum([old, b.product(u, v)])), y, (i,))
        n.close(2)
        return n.module()
    a, b, c = n.argument((m, max(m, k))), n.argument((max(m, k), m)), n.argument((m, m))
    i = n.affine_for(0, m)
    j = n.affine_for(0, f"affine_map<(d0) -> (d0 + 1)>({i})")
    l = n.affine_for(0, k) if kind == "syrk" else n.affine_for(f"affine_map<(d0) -> (d0)>({j})", m)  # noqa: E741
    u, v = (
        n.load("affine", a, (i, l)),
        n.load("affine", a if kind == "syrk" else b, (j, l) if kind == "syrk" else (l, j)),
    )
    old = n.load("affine", c, (i, j))
    n.store("affine", n.compute(lambda body: body.sum([old, body.product(u, v)])), c, (i, j))
    n.close(3)
    return n.module()


def _gather(draw: Draw) -> str:
    """Reads through an array of indices; indices are small, so that they fit any table."""
    n = Nest(draw, draw.element())
    count = draw.extent(64, 32768)
    table, positions = n.argument((draw.extent(16, 4096),)), n.argument((count,), draw.of(("i32", "i64", "index")))
    out = n.argument((count,))
    i = n.scf_for(0, count)
    at = n.load("scf", positions, (i,))
    if "index" not in n._types[positions]:
        at = n.value(f"arith.index_cast {at} : {n._types[positions].rsplit('x', 1)[1][:-1]} to index")
    value = n.load("scf", table, (at,))
    n.store("scf", n.compute(lambda b: b.random([value], draw.number(0, 4))) if draw.chance(0.6) else value, out, (i,))
    n.close()
    return n.module()


def _scatter(draw: Draw) -> str:
    """Adds to places that an array of indices names."""
    n = Nest(draw, draw.element())
    count = draw.extent(64, 16384)
    out, positions, values = n.argument((draw.extent(16, 1024),)), n.argument((count,), "index"), n.argument((count,))
    i = n.scf_for(0, count)
    at, value = n.load("scf", positions, (i,)), n.load("scf", values, (i,))
    old = n.load("scf", out, (at,))
    half = 0.5 if is_float(n.element) else 1
    n.store("scf", n.compute(lambda b: b.sum([b.product(old, b.constant(half)), value])), out, (at,))
    n.close()
    return n.module()


def _recurrence(draw: Draw) -> str:
    """Each element depends on the one before it."""
    n = Nest(draw, draw.element(floats=True))
    rows, length = draw.extents(2, max_work=1e5, low=8, high=2048)
    source, out = n.argument((rows, length)), n.argument((rows, length))
    by_column = draw.chance(0.4)
    first, second = (length, rows) if by_column else (rows, length)
    i = n.affine_for(1 if by_column else 0, first)
    j = n.affine_for(0 if by_column else 1, second)
    row, column = (j, i) if by_column else (i, j)
    before, x = n.load("affine", out, (row, f"{column} - 1")), n.load("affine", source, (row, column))
    n.store("affine", n.compute(lambda b: b.sum([b.product(before, b.constant(0.5)), x])), out, (row, column))
    n.close(2)
    return n.module()


def _condition(draw: Draw) -> str:
    """A branch in a loop."""
    n = Nest(draw, draw.element())
    shape = draw.extents(rank := draw.number(1, 2), max_work=6e4, high=8192)
    a, b, out = n.argument(shape), n.argument(shape), n.argument(shape)
    indices = [n.scf_for(0, extent) for extent in shape]
    x, y = n.load("scf", a, indices), n.load("scf", b, indices)
    test = n.value(
        f"arith.cmpf ogt, {x}, {y} : {n.element}" if is_float(n.element) else f"arith.cmpi sgt, {x}, {y} : {n.element}"
    )
    n.line(f"scf.if {test} {{")
    n._depth += 1
    n.store("scf", n.compute(lambda body: body.random([x, y], draw.number(1, 5))), out, indices)
    if draw.chance(0.6):
        n._depth -= 1
        n.line("} else {")
        n._depth += 1
        n.store("scf", n.compute(lambda body: body.random([y], draw.number(1, 3))), out, indices)
    n.close()
    n.close(rank)
    return n.module()


def _reduction(draw: Draw) -> str:
    """Sums of rows or columns in memory, or of everything in a carried value."""
    n = Nest(draw, draw.element())
    rows, columns = draw.extents(2, max_work=2e5, high=4096)
    a, out = n.argument((rows, columns)), n.argument((rows,) if (by_row := draw.chance(0.5)) else (columns,))
    order = draw.rng.permutation(2).tolist()
    variables = {d: n.affine_for(0, (rows, columns)[d]) for d in order}
    i, j = variables[0], variables[1]
    x, old = n.load("affine", a, (i, j)), n.load("affine", out, (i,) if by_row else (j,))
    count = draw.number(0, 3)
    n.store(
        "affine", n.compute(lambda b: b.sum([old, b.random([x], count) if count else x])), out, (i,) if by_row else (j,)
    )
    n.close(2)
    return n.module()


def _vector_loop(draw: Draw) -> str:
    """Explicit vectors of a width that fits registers or not."""
    n, width = Nest(draw, draw.element(floats=True)), draw.of((4, 8, 8, 16, 16, 32))
    rows, blocks = draw.extents(2, max_work=2e5 / width, min_work=200, high=512)
    shape = (rows, blocks * width)
    a, b, out = n.argument(shape), n.argument((blocks * width,)), n.argument(shape)
    vector, columns = f"vector<{width}x{n.element}>", blocks * width
    i, j = n.affine_for(0, rows), n.affine_for(0, columns, width)
    x = n.value(f"vector.load {a}[{i}, {j}] : {n._types[a]}, {vector}")
    y = n.value(f"vector.load {b}[{j}] : {n._types[b]}, {vector}")
    value = x
    for _ in range(draw.number(1, 5)):
        kind = draw.number(0, 3)
        if kind == 0:
            value = n.value(f"vector.fma {value}, {y}, {x} : {vector}")
        else:
            value = n.value(f"arith.{('addf', 'mulf', 'maximumf')[kind - 1]} {value}, {draw.of((x, y))} : {vector}")
    n.line(f"vector.store {value}, {out}[{i}, {j}] : {n._types[out]}, {vector}")
    n.close(2)
    return n.module()


def _several(draw: Draw) -> str:
    """Several nests after another that share buffers."""
    n = Nest(draw, draw.element())
    shape = draw.extents(rank := draw.number(1, 3), max_work=3e4, high=4096)
    buffers = [n.argument(shape) for _ in range(draw.number(2, 4))]
    for k in range(draw.number(2, 4)):
        kind = draw.of(("affine", "scf"))
        inputs = [b for b in buffers[:-1] if draw.chance(0.6)] or buffers[:1]
        out = buffers[-1] if k % 2 == 0 else n.argument(shape)
        indices = [n.loop(extent, kind) for extent in shape]
        values = [n.load(kind, t, indices) for t in inputs]
        n.store(kind, n.compute(lambda b, values=values: b.random(values, draw.number(1, 5))), out, indices)
        n.close(rank)
    return n.module()


FAMILIES = {
    "loop_pointwise": _pointwise,
    "loop_stencil": _stencil,
    "loop_stencil_steps": _stencil_steps,
    "loop_product": _product,
    "loop_product_in_register": _product_in_register,
    "loop_triangular": _triangular,
    "loop_gather": _gather,
    "loop_scatter": _scatter,
    "loop_recurrence": _recurrence,
    "loop_condition": _condition,
    "loop_reduction": _reduction,
    "loop_vector": _vector_loop,
    "loop_several": _several,
}
