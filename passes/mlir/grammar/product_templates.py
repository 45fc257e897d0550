"""Schedules of matrix products: padded, packed, and cut into tiles of registers, or into those of dot-product
instructions.
"""

from __future__ import annotations

import math

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.dot_instructions import DOT_INSTRUCTIONS, instruction_for
from foretune.passes.mlir.grammar.template_parts import Built, Choose, Op, divisors

_LEAST_ROWS = 3  # of a tile; where only fewer divide the rows, padding may pay
_PANEL_BYTES, _ELEMENT_BYTES = 32 << 10, 4  # what the first cache holds of the right operand
_BLOCKS = (16, 32, 8)  # tiles of rows that are done for all columns before the next ones


def schedule_product(
    built: Built, choose: Choose, op: Op, before: list[Op], roles: tuple[int | None, int, int, tuple[int, ...]]
) -> list[Op]:
    """A product of matrices, by register tiles; the operations before it, as they are afterwards."""
    m, n, k, right = roles
    name = f"op{op.index}"
    by = _dot_instruction(built, op, roles)
    if by and m is not None and choose(f"{name} dot product", (True, False)):
        return _dot_product(built, choose, op, before, (m, n, k), by)
    if op.input != op.element and op.tensors and not op.depth:
        answers = (True, False) if op.element == "f32" and m is not None else (False, True)
        if choose(f"{name} widen", answers):  # for what is read often, once is cheaper
            op, before = _widened(built, op)
    op, before = _pad(built, choose, op, before, m, n)
    registers, lanes = built.registers, built.registers.lanes
    columns = divisors(op.extents[n], lanes, 4 * lanes, lanes) or divisors(op.extents[n], 4, 4 * lanes)
    if not columns:
        return before
    width = choose(f"{name} columns", sorted(columns, key=lambda c: (abs(c - 2 * lanes), c)))
    vectors = -(-width // lanes)
    rows = divisors(op.extents[m], 1, registers.most_rows(vectors)) if m is not None and m not in op.strided else [1]
    height = choose(f"{name} rows", sorted(rows, key=lambda r: abs(r - registers.preferred // vectors)))
    packed = False
    panels = right[-2:] in ((k, n), (n, k))
    if op.tensors and not op.depth and panels and op.extents[n] > width and m is not None:
        reads = math.prod(op.extents[d] for d in op.output if d not in right)  # of the right operand
        worthwhile = right[-1] == k or (math.prod(op.extents[d] for d in right) >= 1 << 16 and reads >= 64)
        packed = choose(f"{name} pack", (True, False) if worthwhile else (False, True))
    inner = {d: 1 for d in range(len(op.extents)) if op.parallel[d] and d not in (m, n) and op.extents[d] > 1}
    if packed:
        op, before = _pack(built, op, n, width, right)
        inner[n] = 1
    elif op.extents[n] > width:
        inner[n] = width
    dims = len(op.extents)
    blocks = [
        b
        for b in (256, 128, 64, 512)
        if m is not None and op.extents[m] % b == 0 and b % height == 0 and b < op.extents[m]
    ]
    block = choose(f"{name} block", [*blocks[:1], 0, *blocks[1:]]) if blocks else 0
    if depth := _depth(built, choose, op, k, width) if m is not None else 0:
        built.tile(op.index, {k: depth}, dims)
    if block and m is not None:
        built.tile(op.index, {m: block}, dims)
    order = [d for d in range(dims) if d not in (m, n)] + ([n, m] if m is not None else [n])
    if m is not None and op.extents[m] > height:
        inner[m] = height
        if (
            n in inner
            and choose(f"{name} order", ("columns", "rows") if packed or op.depth else ("rows", "columns")) == "rows"
        ):
            order[-2:] = [m, n]
    if inner:
        built.tile(op.index, inner, dims, order)
    _vectorize_product(built, op, k)
    return before


def _depth(built: Built, choose: Choose, op: Op, k: int, width: int) -> int:
    """Steps of the reduction that are done for all tiles before the next ones are begun, so that a panel of the right
    operand stays in the first cache, and a block of the left one in the second; 0 for all at once.
    """
    extent = op.extents[k]
    panel = extent * width * _ELEMENT_BYTES
    depths = [d for d in (512, 256, 384, 128) if extent % d == 0 and d < extent]
    if op.depth or panel <= _PANEL_BYTES or not depths:
        return 0
    return choose(f"op{op.index} depth", [0, *depths] if panel <= 2 * _PANEL_BYTES else [*depths, 0])


def _pad(built: Built, choose: Choose, op: Op, before: list[Op], m: int | None, n: int) -> tuple[Op, list[Op]]:
    """Pads rows and columns that no good tile divides; (the product, the operations before it)."""
    lanes, good = built.registers.lanes, built.registers.preferred // 2
    multiples = {n: lanes * (2 if op.extents[n] > lanes else 1)} if op.extents[n] % lanes and op.extents[n] > 1 else {}
    movable = None  # rows, but not those of a convolution, which overlap
    if m is not None and any(m in dims for dims in op.maps[:2]) and op.extents[m] > good:
        movable = m
    if movable is not None and not divisors(op.extents[movable], _LEAST_ROWS, built.registers.most_rows(2)):
        multiples[movable] = good
    answers = (True, False) if multiples else (False, True)
    if not multiples and movable is not None and op.extents[movable] % good:
        multiples[movable] = good  # what divides the rows may still be far from the best
    if not multiples or not op.tensors or op.depth or not choose(f"op{op.index} pad", answers):
        return op, before
    return _padded(built, op, multiples)


def _padded(built: Built, op: Op, multiples: dict[int, int]) -> tuple[Op, list[Op]]:
    """The product with dimensions that are multiples of numbers, the operations before it."""
    kinds = "" if op.element == op.input == "f32" else f" element={op.element} input={op.input}"
    built.add(
        f"pad{{on=linalg:{op.index}"
        f" multiples={','.join(str(multiples.get(d, 1)) for d in range(len(op.extents)))}{kinds}}}",
        "canonicalize",
        "cse",
    )
    ops = built.ops()
    padded = next(
        (
            o
            for o in reversed(ops)
            if o.is_product and all(o.extents[d] % size == 0 for d, size in multiples.items() if d < len(o.extents))
        ),
        None,
    )
    if padded is None:
        raise IllegalActionError("the padded product is not found")
    return padded, ops[: padded.index]


def _pack(built: Built, op: Op, n: int, width: int, right: tuple[int, ...]) -> tuple[Op, list[Op]]:
    """Copies the operand with the columns into panels; (the product, which has one dimension more, the operations
    before it).
    """
    rank = len(op.extents)
    built.add(f"pack{{on=linalg:{op.index} sizes={','.join(str(width if d == n else 0) for d in range(rank))}}}")
    if right[-1] == n:  # panels one after another, each with its rows one after another
        last = len(right) - 1
        built.add(f"pack-transpose{{on=linalg.pack:0 outer={','.join(map(str, [*range(last - 1), last, last - 1]))}}}")
    built.add("lower-packs", "canonicalize")
    ops = built.ops()
    packed = next((o for o in ops[op.index :] if o.is_product and len(o.extents) == rank + 1), None)
    if packed is None:
        raise IllegalActionError("the packed product is not found")
    for copy in ops[packed.index + 1 :]:
        if packed.index in copy.uses and copy.body == {
            "linalg.yield"
        }:  # the result needs no copy, because its layout is the same
            built.add(f"generalize{{on=linalg:{copy.index}}}", "canonicalize")
            break
    return packed, ops[: packed.index]


def _vectorize_product(built: Built, op: Op, k: int) -> None:
    """Makes a tile a product of two matrices, reduced one step at a time."""
    others = {d: 1 for d, parallel in enumerate(op.parallel) if not parallel and d != k and op.extents[d] > 1}
    if others:
        built.tile(op.index, others, len(op.extents))
    built.add("fold-unit-extents", "canonicalize")
    if len(built.ops()[op.index].extents) == 3 and all(d >= 0 for dims in built.ops()[op.index].maps for d in dims):
        built.add(f"specialize{{on=linalg:{op.index}}}")
    left = built.ops()[op.index]
    deepest = [d for d, parallel in enumerate(left.parallel) if not parallel]
    if not deepest:
        raise IllegalActionError("nothing is left to reduce")
    if left.extents[deepest[-1]] > 1:
        built.tile(op.index, {deepest[-1]: 1}, len(left.extents))
    built.add(f"vectorize{{on=linalg:{op.index}}}")


def product_roles(op: Op) -> tuple[int | None, int, int, tuple[int, ...]] | None:
    """(rows, columns, innermost reduction, dimensions of the operand with the columns); None where it is no product of
    matrices.
    """
    if not op.output:
        return None
    n = op.output[-1]
    holders = [i for i in range(2) if n in op.maps[i]]
    if len(holders) != 1:
        return None
    right, left = op.maps[holders[0]], op.maps[1 - holders[0]]
    reductions = [d for d in range(len(op.extents)) if not op.parallel[d] and d in right]
    if not reductions:
        return None
    rows = [d for d in op.output[:-1] if d not in right and op.extents[d] > 1]
    k = next((d for d in reversed(reductions) if d in left), reductions[-1])
    if not rows and right[-1] != n:
        return None  # rows of a matrix times a vector
    return (rows[-1] if rows else None), n, k, right


def _widened(built: Built, op: Op) -> tuple[Op, list[Op]]:
    """The product of copies of its operands in the type of its sums, the operations before it."""
    built.add(f"widen-operands{{on=linalg:{op.index}}}")
    ops = built.ops()
    return ops[op.index + 2], ops[: op.index + 2]


# -- products of narrow numbers --------------------------------------------------------------------


def _dot_instruction(built: Built, op: Op, roles: tuple[int | None, int, int, tuple[int, ...]]) -> str:
    """The instruction that computes a product; empty where none does, or where its operands lie otherwise than it reads
    them.
    """
    m, n, k, right = roles
    left = op.maps[0] if op.maps[1] == right else op.maps[1]
    if m is None or not op.tensors or op.depth or op.strided or sum(not parallel for parallel in op.parallel) != 1:
        return ""
    if any(d < 0 for dims in op.maps for d in dims) or left[-1] != k or set(right[-2:]) != {n, k}:
        return ""
    if op.input == "i16" and "arith.extui" in op.body:
        return ""
    return instruction_for(op.input, op.element, built.registers.dot_instructions)


def _dot_product(
    built: Built, choose: Choose, op: Op, before: list[Op], loops: tuple[int, int, int], by: str
) -> list[Op]:
    """A product by a dot-product instruction; the operations before it, as they are afterwards."""
    m, n, k = loops
    name, registers = f"op{op.index}", built.registers
    multiples = {d: size for d, size in ((n, registers.lanes), (k, DOT_INSTRUCTIONS[by].group)) if op.extents[d] % size}
    if multiples:
        op, before = _padded(built, op, multiples)
    wide = registers.count >= 32
    columns = op.extents[n] // registers.lanes
    vectors = choose(f"{name} dot vectors", [v for v in ((4, 2, 3, 1) if wide else (2, 3, 1)) if columns % v == 0])
    most = min(registers.most_rows(vectors), op.extents[m])
    rows = choose(f"{name} dot rows", list(range(most, (most - 1) // 2, -1)))
    block = choose(f"{name} dot block", [0, *(rows * tiles for tiles in _BLOCKS if rows * tiles < op.extents[m])])
    shown = f" block={block}" if block else ""
    built.add(f"dot-product{{on=linalg:{op.index} by={by} rows={rows} vectors={vectors} bits={registers.bits}{shown}}}")
    return before
