"""Generated modules in the manner of other compilers' tests and examples: layers that write to arguments, tiled
products, programs with buffers and constants of their own, and changes of layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from foretune.passes.mlir.programs.bodies import is_float, literal
from foretune.passes.mlir.programs.shapes import Draw

_ELEMENTS = ("f32", "f32", "f32", "f32", "f64", "bf16", "i32")
_SMALL, _MOST_WORK = 0.4, 6e6


def _shaped(kind: str, shape: Sequence[object], element: str) -> str:
    return f"{kind}<{''.join(f'{n}x' for n in shape)}{element}>"


def _sizes(draw: Draw, count: int, most: float = _MOST_WORK) -> list[int]:
    if draw.chance(_SMALL):
        return [draw.of((1, 2, 3, 4, 4, 5, 8, 8, 10, 16)) for _ in range(count)]
    return draw.extents(count, max_work=most, min_work=500.0, low=4, high=1024)


def _layers(draw: Draw) -> str:
    """Products one after another, with what comes before and behind them, on tensors or memrefs."""
    element, kind = draw.of(_ELEMENTS), draw.of(("tensor", "tensor", "memref"))
    tensors, floats = kind == "tensor", is_float(element)
    m, *widths = _sizes(draw, draw.number(3, 5))
    arguments, lines, count = [], [f"%zero = arith.constant {literal(element, 0.0)} : {element}"], 0

    def argument(shape: Sequence[int]) -> str:
        arguments.append(f"%a{len(arguments)}: {_shaped(kind, shape, element)}")
        return f"%a{len(arguments) - 1}"

    def step(text: str, out: str, of: str) -> str:
        nonlocal count
        count += 1
        lines.append(f"%t{count} = {text} outs({out} : {of}) -> {of}" if tensors else f"{text} outs({out} : {of})")
        return f"%t{count}" if tensors else out

    def pointwise(body: str, inputs: Sequence[tuple[str, str, str]], out: str, of: str) -> str:
        nonlocal count
        count += 1
        maps = ", ".join([f"affine_map<(d0, d1) -> ({dims})>" for _, _, dims in inputs] + [_PLAIN])
        read = f"ins({', '.join(n for n, _, _ in inputs)} : {', '.join(t for _, t, _ in inputs)}) " if inputs else ""
        block = ", ".join([f"%x{i}: {element}" for i in range(len(inputs))] + [f"%o: {element}"])
        head = f"linalg.generic {{indexing_maps = [{maps}], iterator_types = {_TWICE}}} {read}outs({out} : {of}) {{"
        text = f"{head}\n    ^bb0({block}):\n      {body}\n      linalg.yield %v : {element}\n    }}"
        lines.append(f"%t{count} = {text} -> {of}" if tensors else text)
        return f"%t{count}" if tensors else out

    largest, add = ("maximumf", "addf") if floats else ("maxsi", "addi")
    value, before = argument((m, widths[0])), _shaped(kind, (m, widths[0]), element)
    for k, n in pairwise(widths):
        of, weights = _shaped(kind, (m, n), element), _shaped(kind, (k, n), element)
        if tensors and draw.chance(0.2):
            count += 1
            lines.append(f"%t{count} = arith.constant dense<{literal(element, 1.0)}> : {weights}")
            right = f"%t{count}"
        else:
            right = argument((k, n))
        begin = draw.of(("fill", "fill", "bias", "nothing"))
        if tensors and begin != "nothing" and draw.chance(0.5):
            count += 1
            lines.append(f"%t{count} = tensor.empty() : {of}")
            out = f"%t{count}"
        else:
            out = argument((m, n))
        if begin == "fill":
            out = step(f"linalg.fill ins(%zero : {element})", out, of)
        elif begin == "bias":
            bias = (argument((n,)), _shaped(kind, (n,), element), "d1")
            out = pointwise(f"%v = arith.{add} %x0, %zero : {element}", [bias], out, of)
        value = step(f"linalg.matmul ins({value}, {right} : {before}, {weights})", out, of)
        for _ in range(draw.number(0, 2)):
            if draw.chance(0.6):
                value = pointwise(f"%v = arith.{largest} %o, %zero : {element}", [], value, of)
            else:
                other = (argument((m, n)), of, "d0, d1")
                value = pointwise(f"%v = arith.{add} %o, %x0 : {element}", [other], value, of)
        before = of
    end, results = (f"return {value} : {before}", f" -> {before}") if tensors else ("return", "")
    return f"func.func @main({', '.join(arguments)}){results} {{\n  " + "\n  ".join([*lines, end]) + "\n}"


_PLAIN = "affine_map<(d0, d1) -> (d0, d1)>"
_TWICE = '["parallel", "parallel"]'


def _tiled(draw: Draw) -> str:
    """A product in tiles, of tensors by `scf.forall` or of memrefs by `scf.for`."""
    element = draw.of(_ELEMENTS)
    t, u = draw.of((2, 4, 8, 16, 32)), draw.of((2, 4, 8, 16, 32))
    m, n, k = _sizes(draw, 3, 2e6)
    m, n = max(1, m // t) * t, max(1, n // u) * u
    whole, part = ((m, k), (k, n), (m, n)), ((t, k), (k, u), (t, u))
    kind = draw.of(("tensor", "memref"))
    a, b, c = (_shaped(kind, shape, element) for shape in whole)
    places = ("%i, 0", "0, %j", "%i, %j")
    lines = []
    if kind == "tensor":
        x, y, z = (_shaped(kind, shape, element) for shape in part)
        for name, source, place, of, to in zip("xyz", ("%a", "%b", "%o"), places, (a, b, c), (x, y, z)):
            sizes = ", ".join(to[7:].split("x")[:2])
            lines.append(f"%{name} = tensor.extract_slice {source}[{place}] [{sizes}] [1, 1] : {of} to {to}")
        lines.append(f"%p = linalg.matmul ins(%x, %y : {x}, {y}) outs(%z : {z}) -> {z}")
        inner = "\n    ".join(lines)
        return (
            f"func.func @main(%a: {a}, %b: {b}, %c: {c}) -> {c} {{\n"
            f"  %r = scf.forall (%i, %j) = (0, 0) to ({m}, {n}) step ({t}, {u}) shared_outs(%o = %c) -> ({c}) {{\n"
            f"    {inner}\n    scf.forall.in_parallel {{\n"
            f"      tensor.parallel_insert_slice %p into %o[%i, %j] [{t}, {u}] [1, 1] : {z} into {c}\n"
            f"    }}\n  }}\n  return %r : {c}\n}}"
        )
    views = []
    for name, source, place, of, shape, extents in zip("xyz", ("%a", "%b", "%c"), places, (a, b, c), part, whole):
        view = f"memref<{shape[0]}x{shape[1]}x{element}, strided<[{extents[1]}, 1], offset: ?>>"
        views.append(view)
        lines.append(f"%{name} = memref.subview {source}[{place}] [{shape[0]}, {shape[1]}] [1, 1] : {of} to {view}")
    lines.append(f"linalg.matmul ins(%x, %y : {views[0]}, {views[1]}) outs(%z : {views[2]})")
    inner = "\n      ".join(lines)
    numbers = {"c0": 0, "m": m, "n": n, "t": t, "u": u}
    constants = "\n  ".join(f"%{name} = arith.constant {value} : index" for name, value in numbers.items())
    return (
        f"func.func @main(%a: {a}, %b: {b}, %c: {c}) {{\n  {constants}\n"
        f"  scf.for %i = %c0 to %m step %t {{\n    scf.for %j = %c0 to %n step %u {{\n      {inner}\n    }}\n  }}\n"
        "  return\n}"
    )


def _program(draw: Draw) -> str:
    """Buffers that a program makes, fills and frees itself, with a kernel whose extents its caller knows."""
    element = draw.of(("f32", "f32", "f32", "f64", "i32"))
    m, n, k = _sizes(draw, 3, 1e6)
    known = draw.chance(0.4)
    multiply, add = ("mulf", "addf") if is_float(element) else ("muli", "addi")
    kinds = [_shaped("memref", shape if known else "??", element) for shape in ((m, k), (k, n), (m, n))]
    a, b, c = kinds
    loops = [("%i", "%m"), ("%j", "%n"), ("%l", "%k")]
    order = [loops[d] for d in draw.rng.permutation(3).tolist()]
    body = [
        f"%x = memref.load %a[%i, %l] : {a}",
        f"%y = memref.load %b[%l, %j] : {b}",
        f"%z = memref.load %c[%i, %j] : {c}",
        f"%p = arith.{multiply} %x, %y : {element}",
        f"%s = arith.{add} %z, %p : {element}",
        f"memref.store %s, %c[%i, %j] : {c}",
    ]
    if draw.chance(0.4):
        kernel = [f"linalg.matmul ins(%a, %b : {a}, {b}) outs(%c : {c})"]
    else:
        kernel = ["%c0 = arith.constant 0 : index", "%c1 = arith.constant 1 : index"]
        kernel += [f"%m = memref.dim %a, %c0 : {a}", f"%k = memref.dim %a, %c1 : {a}", f"%n = memref.dim %b, %c1 : {b}"]
        kernel += [f"scf.for {variable} = %c0 to {bound} step %c1 {{" for variable, bound in order]
        kernel += [*body, *["}"] * 3]
    main, names = [], []
    for name, shape, of in zip("abc", ((m, k), (k, n), (m, n)), kinds):
        sizes = ""
        if not known:
            main += [f"%{name}{d} = arith.constant {size} : index" for d, size in enumerate(shape)]
            sizes = f"%{name}0, %{name}1"
        main += [
            f"%{name} = memref.alloc({sizes}) : {of}",
            f"%{name}v = arith.constant {literal(element, draw.of((0.0, 1.0, 2.0)))} : {element}",
            f"linalg.fill ins(%{name}v : {element}) outs(%{name} : {of})",
        ]
        names.append(f"%{name}")
    main.append(f"call @kernel({', '.join(names)}) : ({', '.join(kinds)}) -> ()")
    out = _shaped("memref", (m, n), element)
    main.append("memref.copy %c, %out : " + f"{c} to {out}")
    main += [f"memref.dealloc {name} : {of}" for name, of in zip(names, kinds)]
    written, called = "\n  ".join(kernel), "\n  ".join(main)
    return (
        f"func.func private @kernel(%a: {a}, %b: {b}, %c: {c}) {{\n  {written}\n  return\n}}\n"
        f"func.func @main(%out: {out}) {{\n  {called}\n  return\n}}"
    )


def _constants(draw: Draw) -> str:
    """A few operations on vectors of a constant."""
    element = draw.of(("f32", "f32", "i32", "i64", "f64"))
    rows, columns = draw.of((2, 4, 4, 8)), draw.of((2, 4, 4, 8, 16))
    buffer, vector = _shaped("memref", (rows, columns), element), f"vector<{columns}x{element}>"
    row = lambda: "[" + ", ".join(literal(element, float(draw.number(0, 9))) for _ in range(columns)) + "]"  # noqa: E731
    numbers = "[" + ", ".join(row() for _ in range(rows)) + "]"
    lines = [f"%g = memref.get_global @numbers : {buffer}"]
    lines += [f"%c{i} = arith.constant {i} : index" for i in range(rows)]
    values = []
    for i in range(draw.number(1, rows)):
        lines.append(f"%v{len(values)} = vector.load %g[%c{i}, %c0] : {buffer}, {vector}")
        values.append(f"%v{len(values)}")
    names = ("addf", "mulf", "subf", "maximumf") if is_float(element) else ("addi", "muli", "subi", "maxsi")
    for _ in range(draw.number(1, 4)):
        lines.append(f"%v{len(values)} = arith.{draw.of(names)} {draw.of(values)}, {draw.of(values)} : {vector}")
        values.append(f"%v{len(values)}")
    lines += [
        f"vector.store {value}, %out[%c{i}, %c0] : {buffer}, {vector}"
        for i, value in enumerate(values[-draw.number(1, rows) :])
    ]
    text = "\n  ".join([*lines, "return"])
    head = f'memref.global "private" {draw.of(("constant ", ""))}@numbers : {buffer} = dense<{numbers}>\n'
    return f"{head}func.func @main(%out: {buffer}) {{\n  {text}\n}}"


def _layout(draw: Draw) -> str:
    """Data moved into blocks, padded, or transposed by vectors."""
    element = draw.of(_ELEMENTS)
    t, u = draw.of((2, 4, 8, 16, 32)), draw.of((2, 4, 8, 16, 32))
    m, n = (max(1, size) for size in _sizes(draw, 2, 2e5))
    what = draw.of(("pack", "unpack", "pad", "vectors"))
    zero = literal(element, 0.0)
    if what in ("pack", "unpack"):
        rows, columns = max(1, m // t), max(1, n // u)
        plain = _shaped("tensor", (rows * t, columns * u), element)
        blocks = _shaped("tensor", (rows, columns, t, u), element)
        one, other = (plain, blocks) if what == "pack" else (blocks, plain)
        return (
            f"func.func @main(%x: {one}, %o: {other}) -> {other} {{\n"
            f"  %r = linalg.{what} %x inner_dims_pos = [0, 1] inner_tiles = [{t}, {u}] into %o : {one} -> {other}\n"
            f"  return %r : {other}\n}}"
        )
    if what == "pad":
        low, high = [draw.number(0, 2) for _ in range(2)], [draw.number(0, 3) for _ in range(2)]
        plain = _shaped("tensor", (m, n), element)
        padded = _shaped("tensor", (m + low[0] + high[0], n + low[1] + high[1]), element)
        return (
            f"func.func @main(%x: {plain}) -> {padded} {{\n  %z = arith.constant {zero} : {element}\n"
            f"  %r = tensor.pad %x low{low} high{high} {{\n  ^bb0(%i: index, %j: index):\n"
            f"    tensor.yield %z : {element}\n  }} : {plain} to {padded}\n  return %r : {padded}\n}}"
        )
    m, n = max(1, m // t) * t, max(1, n // u) * u
    source, turned = _shaped("memref", (m, n), element), _shaped("memref", (n, m), element)
    one, other = (f"vector<{a}x{b}x{element}>" for a, b in ((t, u), (u, t)))
    return (
        f"func.func @main(%x: {source}, %y: {turned}) {{\n  %z = arith.constant {zero} : {element}\n"
        f"  affine.for %i = 0 to {m} step {t} {{\n    affine.for %j = 0 to {n} step {u} {{\n"
        f"      %v = vector.transfer_read %x[%i, %j], %z {{in_bounds = [true, true]}} : {source}, {one}\n"
        f"      %w = vector.transpose %v, [1, 0] : {one} to {other}\n"
        f"      vector.transfer_write %w, %y[%j, %i] {{in_bounds = [true, true]}} : {other}, {turned}\n"
        "    }\n  }\n  return\n}"
    )


FAMILIES = {
    "module_layers": _layers,
    "module_tiled": _tiled,
    "module_program": _program,
    "module_constants": _constants,
    "module_layout": _layout,
}
