"""Generated straight-line code on vectors, and programs of several functions, as tests of compilers have them."""

from __future__ import annotations

from foretune.passes.mlir.programs.bodies import Body, is_float
from foretune.passes.mlir.programs.shapes import Draw

_ELEMENTS = ("f32", "f32", "f32", "f64", "i32", "i64", "bf16", "i8")


class _Straight:
    """Operations on vectors of one element type, and what is known of them: name -> shape.

    Args:
        draw: random choices.
        element: type of all elements.
    """

    def __init__(self, draw: Draw, element: str) -> None:
        self.draw, self.element = draw, element
        self.lines: list[str] = []
        self.shape: dict[str, tuple[int, ...]] = {}

    def type(self, shape: tuple[int, ...]) -> str:
        """A vector type."""
        return f"vector<{'x'.join(map(str, shape))}x{self.element}>"

    def add(self, text: str, shape: tuple[int, ...]) -> str:
        """Appends `NAME = text`; the name."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.shape[name] = shape
        return name

    def load(self, buffer: str, extents: tuple[int, ...], shape: tuple[int, ...], index: str) -> str:
        """Reads a vector from the beginning of a buffer, or at a loop's variable in its first dimension."""
        at = ", ".join([index, *["%c0"] * (len(extents) - 1)])
        kind = f"memref<{'x'.join(map(str, extents))}x{self.element}>"
        if len(shape) == 1 and self.draw.chance(0.6):
            return self.add(f"vector.load {buffer}[{at}] : {kind}, {self.type(shape)}", shape)
        bounds = ", ".join(["true"] * len(shape))
        return self.add(
            f"vector.transfer_read {buffer}[{at}], %pad {{in_bounds = [{bounds}]}} : {kind}, {self.type(shape)}", shape
        )

    def step(self) -> None:
        """One random operation on what is there."""
        draw = self.draw
        a = draw.of(list(self.shape))
        shape = self.shape[a]
        same = [b for b, other in self.shape.items() if other == shape]
        kind = draw.of(("binary", "binary", "binary", "shape", "shape", "shape", "fma"))
        floats = is_float(self.element)
        if kind == "binary":
            operation = draw.of(("addf", "mulf", "subf", "maximumf") if floats else ("addi", "muli", "subi", "maxsi"))
            self.add(f"arith.{operation} {a}, {draw.of(same)} : {self.type(shape)}", shape)
        elif kind == "fma" and floats:
            self.add(f"vector.fma {a}, {draw.of(same)}, {draw.of(same)} : {self.type(shape)}", shape)
        elif len(shape) == 2:
            self._of_matrix(a, shape)
        else:
            self._of_row(a, shape)

    def _of_matrix(self, a: str, shape: tuple[int, ...]) -> None:
        draw, rows, columns = self.draw, *shape
        kind = draw.of(("transpose", "extract", "insert", "slice", "reduce", "cast"))
        if kind == "transpose":
            flipped = (columns, rows)
            self.add(f"vector.transpose {a}, [1, 0] : {self.type(shape)} to {self.type(flipped)}", flipped)
        elif kind == "extract":
            at = draw.number(0, rows - 1)
            self.add(f"vector.extract {a}[{at}] : {self.type((columns,))} from {self.type(shape)}", (columns,))
        elif kind == "insert":
            fitting = [b for b, other in self.shape.items() if other == (columns,)]
            if fitting:
                b, at = draw.of(fitting), draw.number(0, rows - 1)
                self.add(f"vector.insert {b}, {a} [{at}] : {self.type((columns,))} into {self.type(shape)}", shape)
        elif kind == "slice" and rows > 1 and columns > 1:
            part = (max(1, rows // 2), max(1, columns // 2))
            offsets = [draw.number(0, n - m) for n, m in zip(shape, part)]
            self.add(
                f"vector.extract_strided_slice {a} {{offsets = {offsets}, sizes = {list(part)}, strides = [1, 1]}} :"
                f" {self.type(shape)} to {self.type(part)}",
                part,
            )
        elif kind == "reduce":
            init = self.add(
                f"arith.constant dense<0{'.0' if is_float(self.element) else ''}> : {self.type((columns,))}", (columns,)
            )
            self.add(
                f"vector.multi_reduction <add>, {a}, {init} [0] : {self.type(shape)} to {self.type((columns,))}",
                (columns,),
            )
        elif kind == "cast":
            flat = (rows * columns,)
            self.add(f"vector.shape_cast {a} : {self.type(shape)} to {self.type(flat)}", flat)

    def _of_row(self, a: str, shape: tuple[int, ...]) -> None:
        draw, [n] = self.draw, shape
        same = [b for b, other in self.shape.items() if other == shape]
        kind = draw.of(("broadcast", "shuffle", "outer", "slice"))
        if kind == "broadcast" and n <= 64:
            to = (draw.of((2, 4, 8)), n)
            self.add(f"vector.broadcast {a} : {self.type(shape)} to {self.type(to)}", to)
        elif kind == "shuffle" and n <= 64:
            order = draw.rng.integers(0, 2 * n, n).tolist()
            self.add(f"vector.shuffle {a}, {draw.of(same)} {order} : {self.type(shape)}, {self.type(shape)}", shape)
        elif kind == "outer" and n <= 16:
            to = (n, n)
            self.add(f"vector.outerproduct {a}, {draw.of(same)} : {self.type(shape)}, {self.type(shape)}", to)
        elif n > 1:
            part, at = (n // 2,), draw.number(0, n - n // 2)
            self.add(
                f"vector.extract_strided_slice {a} {{offsets = [{at}], sizes = [{n // 2}], strides = [1]}} :"
                f" {self.type(shape)} to {self.type(part)}",
                part,
            )


def _vectors(draw: Draw) -> str:
    element = draw.of(_ELEMENTS)
    code = _Straight(draw, element)
    rows, columns = draw.of((2, 4, 4, 8, 16)), draw.of((3, 4, 4, 8, 8, 16, 16, 32, 64))
    loops = draw.chance(0.5)
    extents = (rows + (draw.of((16, 64, 200)) if loops else 0), columns)
    kind = f"memref<{extents[0]}x{extents[1]}x{element}>"
    index = "%i" if loops else "%c0"
    for name in ("%a", "%b"):
        code.load(name, extents, draw.of(((columns,), (rows, columns))), index)
    for _ in range(draw.number(2, 12)):
        code.step()
    stored = [v for v, shape in code.shape.items() if shape in ((columns,), (rows, columns))][-2:]
    for v in stored:
        code.lines.append(
            f"vector.transfer_write {v}, %out[{index}, %c0]"
            f" {{in_bounds = [{', '.join(['true'] * len(code.shape[v]))}]}} : {code.type(code.shape[v])}, {kind}"
        )
    zero = "0.0" if is_float(element) else "0"
    lines = ["%c0 = arith.constant 0 : index", f"%pad = arith.constant {zero} : {element}"]
    if loops:
        lines += [
            "%c1 = arith.constant 1 : index",
            f"%n = arith.constant {extents[0] - rows} : index",
            "scf.for %i = %c0 to %n step %c1 {",
            *(f"  {line}" for line in code.lines),
            "}",
        ]
    else:
        lines += code.lines
    text = "\n  ".join([*lines, "return"])
    return f"func.func @main(%a: {kind}, %b: {kind}, %out: {kind}) {{\n  {text}\n}}"


def _functions(draw: Draw) -> str:
    """Small functions that are called one after another on the same buffers."""
    element = draw.of(("f32", "f32", "f64", "i32"))
    n, m = draw.number(1, 40), draw.of((4, 8, 10, 16, 25, 64))
    kind = f"memref<{n}x{m}x{element}>"
    texts, calls = [], []
    for number in range(draw.number(1, 4)):
        body = Body(draw.rng, element, prefix=f"f{number}_")
        result = body.random(["%x", "%y"][: draw.number(1, 2)], draw.number(1, 5))
        inner = "\n      ".join(
            [
                f"%x = memref.load %a[%i, %j] : {kind}",
                f"%y = memref.load %b[%i, %j] : {kind}",
                *body.lines,
                f"memref.store {result}, %b[%i, %j] : {kind}",
            ]
        )
        texts.append(
            f"func.func private @step{number}(%a: {kind}, %b: {kind}) {{\n"
            "  %c0 = arith.constant 0 : index\n  %c1 = arith.constant 1 : index\n"
            f"  %n = arith.constant {n} : index\n  %m = arith.constant {m} : index\n"
            "  scf.for %i = %c0 to %n step %c1 {\n    scf.for %j = %c0 to %m step %c1 {\n"
            f"      {inner}\n    }}\n  }}\n  return\n}}"
        )
        calls += [f"func.call @step{number}(%a, %b) : ({kind}, {kind}) -> ()"] * draw.of((1, 1, 2))
    text = "\n  ".join(calls)
    return "\n".join([*texts, f"func.func @main(%a: {kind}, %b: {kind}) {{\n  {text}\n  return\n}}"])


FAMILIES = {"straight_vectors": _vectors, "several_functions": _functions}
