"""Schedules worth trying, written as a program that chooses: how a module's structured operations are fused, tiled,
packed and vectorised.

`Template.schedule` asks a callback at each fork ("which of these tile sizes?"), so that one text serves every search:
random answers, the answers of a good schedule with one of them changed, or the first answer everywhere, which is what
experience would do. The register tiles follow Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008): accumulators of a tile of rows and columns stay in vector registers over the whole reduction,
the right operand is packed into panels as wide as the tile, rows are broadcast.

Contractions and convolutions alike become products of small matrices: dimensions that are neither rows, columns nor the
innermost reduction are tiled by 1 and folded away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from foretune.errors import DataError, IllegalActionError
from foretune.passes.mlir.grammar.actions import MlirAction, Schedule

Choose = Callable[[str, Sequence[Any]], Any]
"""(name of the fork, answers, the most promising first) -> the answer."""

Describe = Callable[[Schedule], dict[str, Any]]
"""What a module has after a schedule; see `modules.describe`."""

_LEAST_ROWS = 3  # of a tile; where only fewer divide the rows, padding may pay
_PANEL_BYTES, _ELEMENT_BYTES = 32 << 10, 4  # what the first cache holds of the right operand
_MAX_ROW = 2048  # elements of a row that is reduced as one vector
_PRODUCTS = ({"arith.mulf", "arith.addf"}, {"arith.muli", "arith.addi"})
_WIDENING = {"arith.extf", "arith.extsi", "arith.extui", "linalg.yield"}
_GATHERED = ("linalg.conv_2d_nhwc_hwcf", "linalg.conv_2d_nchw_fchw")
_EXPANDED = {"math.erf", "math.tanh", "math.log"}


@dataclass(frozen=True)
class _Op:
    """A structured operation, as `modules.describe` tells it, with what it is."""

    index: int
    extents: tuple[int, ...]
    parallel: tuple[bool, ...]
    maps: tuple[tuple[int, ...], ...]
    num_inputs: int
    element: str
    body: frozenset[str]
    depth: int
    uses: tuple[int, ...]
    tensors: bool
    input: str = ""
    strided: frozenset[int] = frozenset()

    @classmethod
    def of(cls, index: int, row: dict[str, Any]) -> _Op:
        maps = tuple(tuple(m) for m in row["maps"])
        strided = frozenset(d for dims in row.get("strided", ()) for d in dims)
        return cls(
            index,
            tuple(row["extents"]),
            tuple(row["parallel"]),
            maps,
            row["num_inputs"],
            row["element"],
            frozenset(row["body"]),
            row["depth"],
            tuple(row["uses"]),
            row["tensors"],
            row.get("input", row["element"]),
            strided,
        )

    @property
    def key(self) -> str:
        """What it computes, wherever it stands: body, extents, how operands are indexed, element types."""
        extents = "x".join(f"{n}{'' if parallel else 'r'}" for n, parallel in zip(self.extents, self.parallel))
        maps = " ".join(",".join(map(str, m)) for m in self.maps)
        kind = f"{self.input}->{self.element} {'tensor' if self.tensors else 'memref'}"
        return f"{'+'.join(sorted(self.body))} {extents} [{maps}] {kind} {self.num_inputs}"

    @property
    def output(self) -> tuple[int, ...]:
        return self.maps[-1]

    @property
    def is_product(self) -> bool:
        """Whether it is a sum of products of two operands."""
        multiplies = any(pair <= self.body <= pair | _WIDENING for pair in _PRODUCTS)
        return self.num_inputs == 2 and multiplies and not all(self.parallel) and not self._reads_twice

    @property
    def _reads_twice(self) -> bool:
        return any(not m for m in self.maps)

    @property
    def is_fill(self) -> bool:
        return all(self.parallel) and self.body == {"linalg.yield"} and not any(self.maps[: self.num_inputs])

    @property
    def is_reduction(self) -> bool:
        """Whether it reduces something, without a product of matrices."""
        return not all(self.parallel) and not self.is_product

    @property
    def is_transposition(self) -> bool:
        plain = [d for d in self.maps[0] if d >= 0]
        return self.num_inputs == 1 and all(self.parallel) and len(plain) > 1 and plain != sorted(plain)


@dataclass(frozen=True)
class _Registers:
    """Vector registers that tiles are made for.

    Attributes:
        lanes: numbers of 32 bits in one.
        count: how many there are.
        preferred: of them, for the accumulators of a product.
    """

    lanes: int
    count: int
    preferred: int

    @classmethod
    def of(cls, bits: int) -> _Registers:
        """Of a processor with so wide ones: 32 registers of 512 bits, or 16 smaller ones."""
        return cls(16, 32, 20) if bits >= 512 else cls(max(bits, 128) // 32, 16, 12)

    def most_rows(self, vectors: int) -> int:
        """Rows of so many vectors whose accumulators fit beside a row of the right operand and a broadcast number."""
        return max(1, (self.count - 1 - vectors) // vectors)


def divisors(extent: int, least: int, most: int, multiple: int = 1) -> list[int]:
    """Divisors of an extent within bounds that are multiples of a number."""
    return [d for d in range(least, min(extent, most) + 1) if extent % d == 0 and d % multiple == 0]


class Template:
    """Schedules for one module.

    Args:
        describe: of the module; called for each prefix once.
        vector_bits: of the processor's registers.

    Attributes:
        operations: place, as forks' names begin with it, -> operation that the last schedule had there; see `_Op.key`.
    """

    def __init__(self, describe: Describe, vector_bits: int = 512) -> None:
        self._describe, self._known, self._registers = describe, {}, _Registers.of(vector_bits)
        self.operations: dict[str, str] = {}

    def schedule(self, choose: Choose) -> Schedule:
        """A schedule, by the answers of a callback.

        Raises:
            IllegalActionError: a prefix of it cannot be applied.
        """
        built = _Built(self._look, self._registers)
        first = self._look(())
        for _ in range(first["names"].count("linalg.softmax")):
            built.add("decompose-aggregate{on=linalg.softmax:0}")
        if {"linalg.pack", "linalg.unpack"} & set(first["names"]):
            built.add("lower-packs")
        self._gather(built, choose, first["ops"])
        if not first["ops"] and "linalg.softmax" not in first["names"]:
            return (
                _affine(built, choose)
                if any(name == "affine.for" for name in first["names"])
                else _loops(built, choose)
            )
        built.add("expand-exp", *(("expand-functions",) if _EXPANDED & set(first["names"]) else ()), "generalize-all")
        heavy = any(o.is_product for o in built.ops())  # a product with more in its body is none for the register tiles
        gathered = any(
            action.name in ("img2col", "gather-columns") for action in built.schedule.actions
        )  # fused, the gathering would be inside of the product
        if choose("fuse elementwise", (False,) if gathered else (False, True) if heavy else (True, False)):
            built.add("fuse-elementwise")
        built.add("canonicalize", "fold-unit-extents", "canonicalize", "cse")
        self._fuse(built, choose)
        ops = built.ops()
        self.operations = {}
        while ops:  # the last one first, so that positions of the others stay
            self.operations[f"op{ops[-1].index}"] = ops[-1].key
            ops = _schedule_op(built, choose, ops[-1], ops[:-1])
        built.add("canonicalize", "cse", "hoist-all-subsets", "hoist-transfers", "canonicalize", "cse")
        _unroll(built, choose)
        built.add("bufferize", "lower{reductions=tree}")
        return built.schedule

    def _gather(self, built: _Built, choose: Choose, rows: list[dict[str, Any]]) -> None:
        """Convolutions with strides as products over gathered columns: rows that are not neighbours are no tile of
        registers.
        """
        for kind in _GATHERED:
            found = [_Op.of(i, row) for i, row in enumerate(r for r in rows if r["name"] == kind)]
            for op in reversed(found):
                if op.tensors and choose(
                    f"{kind}:{op.index} columns gathered",
                    (
                        (True, False)
                        if op.strided & {d for d, parallel in enumerate(op.parallel) if parallel}
                        else (False, True)
                    ),
                ):
                    built.add(f"gather-columns{{on={kind}:{op.index}}}")

    def _look(self, actions: tuple[MlirAction, ...]) -> dict[str, Any]:
        if actions not in self._known:
            try:
                self._known[actions] = self._describe(Schedule(actions))
            except (IllegalActionError, DataError) as error:  # refused by MLIR, or too much for it
                self._known[actions] = IllegalActionError(str(error))
        found = self._known[actions]
        if isinstance(found, Exception):
            raise found
        return found

    def _fuse(self, built: _Built, choose: Choose) -> None:
        """Outer loops that the last operation shares with what it reads."""
        ops = built.ops()
        if not ops:
            return
        root = ops[-1]
        dims = [d for d in root.output if d >= 0]
        if (
            len(ops) < 3
            or len(dims) < 2
            or not root.tensors
            or not any(not o.is_fill for o in ops[:-1])
            or any(o.depth for o in ops)
        ):
            return
        rows = dims[:-1]
        inner = rows[-1]
        heavy = any(o.is_product for o in ops)
        preferred = [
            s
            for s in ((64, 32, 128, 16, 8) if heavy else (1, 2, 4, 8, 16))
            if root.extents[inner] % s == 0 and s < root.extents[inner]
        ]
        if not any(o.is_reduction or o.is_product for o in ops[:-1]):
            preferred = []
        size = choose(
            "fuse", [*preferred, None] if not heavy or any(o.is_reduction for o in ops) else [None, *preferred]
        )
        if size is None:
            return
        outer = [d for d in rows[:-1] if root.extents[d] > 1]
        transposed = [o for o in ops if o.is_transposition]
        if outer and transposed:  # transpositions stay outside of the inner loop, because it would repeat them
            built.tile(root.index, {d: 1 for d in outer}, len(root.extents), by="fuse")
            built.add("canonicalize", "cse")
            for op in reversed([o for o in built.ops() if o.is_transposition]):
                _transpose(built, choose, op)
            built.add("canonicalize", "fold-unit-extents", "canonicalize", "cse")
            root = built.ops()[-1]
            if len(root.output) < 2:
                raise IllegalActionError("nothing is left to fuse along")
            inner, outer = root.output[-2], []
        if size < root.extents[inner]:
            built.tile(root.index, {**{d: 1 for d in outer}, inner: size}, len(root.extents), by="fuse")
        built.add("canonicalize", "fold-unit-extents", "canonicalize", "cse")


class _Built:
    """Actions so far."""

    def __init__(self, look: Callable[[tuple[MlirAction, ...]], dict[str, Any]], registers: _Registers) -> None:
        self._look, self._actions, self.registers = look, [], registers

    @property
    def schedule(self) -> Schedule:
        return Schedule(tuple(self._actions))

    def add(self, *texts: str) -> None:
        self._actions += [MlirAction.parse(text) for text in texts]

    def tile(
        self, index: int, sizes: dict[int, int], num_dims: int, order: Sequence[int] | None = None, by: str = "tile"
    ) -> None:
        """Tiles dimensions; `order` names all of them, the outermost first."""
        texts = f"on=linalg:{index} sizes={','.join(str(sizes.get(d, 0)) for d in range(num_dims))}"
        if order is not None:
            tiled = [d for d in order if sizes.get(d, 0)]
            rank = sorted(tiled)
            if tiled != rank:
                texts += f" interchange={','.join(map(str, order))}"
        self.add(f"{by}{{{texts}}}")

    def describe(self) -> dict[str, Any]:
        return self._look(tuple(self._actions))

    def ops(self) -> list[_Op]:
        return [_Op.of(i, row) for i, row in enumerate(self.describe()["ops"])]


def _schedule_op(built: _Built, choose: Choose, op: _Op, before: list[_Op]) -> list[_Op]:
    """Schedules an operation; those before it, as they are afterwards."""
    if 0 in op.extents or any(d < 0 for d in op.output):
        return before
    if op.is_product and (roles := _roles(op)) is not None:
        return _product(built, choose, op, before, roles)
    if not all(op.parallel):
        _reduction(built, choose, op)
    elif op.is_transposition:
        _transpose(built, choose, op)
    elif not op.is_fill or op.depth:
        _elementwise(built, choose, op)
    return before


# -- products --------------------------------------------------------------------------------------


def _product(
    built: _Built, choose: Choose, op: _Op, before: list[_Op], roles: tuple[int | None, int, int, tuple[int, ...]]
) -> list[_Op]:
    """A product of matrices, by register tiles; the operations before it, as they are afterwards."""
    m, n, k, right = roles
    name = f"op{op.index}"
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


def _depth(built: _Built, choose: Choose, op: _Op, k: int, width: int) -> int:
    """Steps of the reduction that are done for all tiles before the next ones are begun, so that a panel of the right
    operand stays in the first cache, and a block of the left one in the second; 0 for all at once.
    """
    extent = op.extents[k]
    panel = extent * width * _ELEMENT_BYTES
    depths = [d for d in (512, 256, 384, 128) if extent % d == 0 and d < extent]
    if op.depth or panel <= _PANEL_BYTES or not depths:
        return 0
    return choose(f"op{op.index} depth", [0, *depths] if panel <= 2 * _PANEL_BYTES else [*depths, 0])


def _pad(built: _Built, choose: Choose, op: _Op, before: list[_Op], m: int | None, n: int) -> tuple[_Op, list[_Op]]:
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


def _pack(built: _Built, op: _Op, n: int, width: int, right: tuple[int, ...]) -> tuple[_Op, list[_Op]]:
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


def _vectorize_product(built: _Built, op: _Op, k: int) -> None:
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


def _roles(op: _Op) -> tuple[int | None, int, int, tuple[int, ...]] | None:
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


# -- everything else -------------------------------------------------------------------------------


def _elementwise(built: _Built, choose: Choose, op: _Op) -> None:
    if (
        not op.output or "tensor.extract" in op.body or any(d < 0 for dims in op.maps for d in dims)
    ):  # what gathers stays a loop
        return
    if op.depth == 0 and not choose(f"op{op.index} vectorise", (True, False)):
        return
    inner = op.output[-1]
    order = list(op.output) if sorted(op.output) == list(range(len(op.extents))) else None
    masked = _masked_width(built, choose, op, inner)
    if masked:
        others = {d: 1 for d in range(len(op.extents)) if d != inner and op.extents[d] > 1}
        built.tile(
            op.index, {**others, inner: masked} if op.extents[inner] > masked else others, len(op.extents), order
        )
        built.add(
            f"vectorize{{on=linalg:{op.index}"
            f" sizes={','.join(str(masked if d == inner else 1) for d in range(len(op.extents)))}}}",
            "mask-transfers",
        )
        return
    sizes = _one_vector(built, choose, op, inner)
    if sizes is None:
        return
    if sizes:
        built.tile(op.index, sizes, len(op.extents), order)
    built.add(f"vectorize{{on=linalg:{op.index}}}")


def _masked_width(built: _Built, choose: Choose, op: _Op, inner: int) -> int:
    """Elements of a vector whose last ones are masked where the extent ends, for extents that no register's width
    divides; 0 for none.
    """
    extent, lanes = op.extents[inner], built.registers.lanes
    if extent % lanes == 0 or extent < lanes // 2 or any(d < 0 for dims in op.maps for d in dims):
        return 0
    widths = [width for width in (4 * lanes, 2 * lanes, lanes) if width < extent + lanes]
    return choose(f"op{op.index} masks", (*widths, 0))


def _one_vector(built: _Built, choose: Choose, op: _Op, inner: int) -> dict[int, int] | None:
    """Tile sizes that leave one vector along a dimension; None if no width divides it."""
    extent, lanes = op.extents[inner], built.registers.lanes
    widths = divisors(extent, lanes, 16 * lanes, lanes) or divisors(extent, 1, 4 * lanes)
    if not widths:
        return None
    width = choose(f"op{op.index} width", sorted(widths, key=lambda w: (abs(w - 4 * lanes), w)))
    sizes = {d: 1 for d in range(len(op.extents)) if d != inner and op.extents[d] > 1}
    if extent > width:
        sizes[inner] = width
    return sizes


def _reduction(built: _Built, choose: Choose, op: _Op) -> None:
    reductions = [d for d in range(len(op.extents)) if not op.parallel[d]]
    inner = op.maps[0][-1] if op.num_inputs and op.maps[0] else -1
    if inner < 0 or not choose(f"op{op.index} vectorise", (True, False)):
        return
    if inner in reductions:  # each row is one vector, reduced by halves
        sizes = {d: 1 for d in range(len(op.extents)) if d != inner and op.extents[d] > 1}
        if op.extents[inner] > _MAX_ROW:
            sizes[inner] = choose(
                f"op{op.index} width", divisors(op.extents[inner], 64, _MAX_ROW, built.registers.lanes)[::-1] or [1]
            )
    else:  # columns are independent: one vector of accumulators
        sizes = _one_vector(built, choose, op, inner)
        if sizes is None:
            return
    if sizes:
        order = [d for d in range(len(op.extents)) if op.parallel[d]] + reductions
        built.tile(op.index, sizes, len(op.extents), order)
    if (
        inner not in reductions and -1 in op.maps[0]
    ):  # a window: with extents of 1 it is no operation that becomes a vector
        built.add("fold-unit-extents", "canonicalize")
    built.add(f"vectorize{{on=linalg:{op.index}}}")


def _transpose(built: _Built, choose: Choose, op: _Op) -> None:
    if op.body != {"linalg.yield"}:
        _elementwise(built, choose, op)
        return
    read, written = op.maps[0][-1], op.output[-1]
    size = choose(f"op{op.index} transpose", (16, 8, 0))
    if not size or read == written or op.extents[read] % size or op.extents[written] % size:
        return
    sizes = {d: size if d in (read, written) else 1 for d in range(len(op.extents)) if op.extents[d] > 1}
    built.tile(op.index, sizes, len(op.extents))
    built.add(f"vectorize{{on=linalg:{op.index}}}")


def _unroll(built: _Built, choose: Choose) -> None:
    """Unrolls the loops that carry vectors, the later ones first, so that positions of the earlier ones stay."""
    loops = built.describe()["loops"]
    carrying = [
        (i, loop)
        for i, loop in enumerate(loops)
        if loop["innermost"] and loop["trips"] > 1 and any(c.startswith("vector") for c in loop["carried"])
    ]
    if not carrying:
        return
    factor = choose("unroll", (4, 2, 1, 8))
    for i, loop in reversed(carrying):
        if factor > 1 and loop["trips"] % factor == 0 and loop["trips"] > factor:
            built.add(f"unroll{{on=scf.for:{i} factor={factor}}}")
    built.add("canonicalize", "cse")


# -- programs of loops -----------------------------------------------------------------------------


def _affine(built: _Built, choose: Choose) -> Schedule:
    if choose("affine fusion", (False, True)):
        built.add("affine-fusion")
    if choose("affine copies", (True, False)):
        built.add("affine-scalrep", "affine-licm")
    tiles = choose("affine tile", (0, 32, 64, 16, 128))
    if tiles:
        built.add(f"affine-tile{{tile_sizes={tiles}}}")
    jam = choose("affine jam", (0, 4, 2, 8))
    if jam:
        built.add(f"affine-unroll-jam{{unroll_jam_factor={jam}}}")
    width = choose("affine vector", (16, 32, 0, 8, 64))
    if width:
        reductions = choose("affine reductions", (True, False))
        built.add(f"affine-vectorize{{virtual_vector_size={width} vectorize_reductions={str(reductions).lower()}}}")
    unroll = choose("affine unroll", (0, 2, 4, 8))
    if unroll:
        built.add(f"affine-unroll{{unroll_factor={unroll}}}")
    built.add("canonicalize", "cse", "lower{reductions=tree}")
    return built.schedule


def _loops(built: _Built, choose: Choose) -> Schedule:
    if choose("raise", (False, True)):
        built.add("raise-to-affine", "affine-scalrep")
    if choose("invariants", (True, False)):
        built.add("licm")
    factor = choose("unroll", (1, 2, 4, 8))
    loops = [i for i, loop in enumerate(built.describe()["loops"]) if loop["innermost"] and loop["trips"] > factor]
    for i in reversed(loops):
        if factor > 1:
            built.add(f"unroll{{on=scf.for:{i} factor={factor}}}")
    built.add("canonicalize", "cse", f"lower{{math={choose('math', ('libm', 'libmvec'))} reductions=tree}}")
    return built.schedule
