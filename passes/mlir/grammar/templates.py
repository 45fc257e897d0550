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

from collections.abc import Callable, Collection
from typing import Any

from foretune.errors import DataError, IllegalActionError
from foretune.passes.mlir.grammar.actions import MlirAction, Schedule
from foretune.passes.mlir.grammar.loop_templates import schedule_affine_loops, schedule_loops
from foretune.passes.mlir.grammar.product_templates import product_roles, schedule_product
from foretune.passes.mlir.grammar.template_parts import Built, Choose, Op, Registers, divisors

Describe = Callable[[Schedule], dict[str, Any]]
"""What a module has after a schedule; see `modules.describe`."""

_MAX_ROW = 2048  # elements of a row that is reduced as one vector
_GATHERED = ("linalg.conv_2d_nhwc_hwcf", "linalg.conv_2d_nchw_fchw")
_EXPANDED = {"math.erf", "math.tanh", "math.log"}
_LOOPS = {"affine.for", "scf.for"}


class Template:
    """Schedules for one module.

    Args:
        describe: of the module; called for each prefix once.
        vector_bits: of the processor's registers.
        dot_instructions: those that it has, of `DOT_INSTRUCTIONS`.

    Attributes:
        operations: place, as forks' names begin with it, -> operation that the last schedule had there; see `Op.key`.
    """

    def __init__(self, describe: Describe, vector_bits: int = 512, dot_instructions: Collection[str] = ()) -> None:
        self._describe, self._known = describe, {}
        self._registers = Registers.of(vector_bits, dot_instructions)
        self.operations: dict[str, str] = {}

    def schedule(self, choose: Choose) -> Schedule:
        """A schedule, by the answers of a callback.

        Raises:
            IllegalActionError: a prefix of it cannot be applied.
        """
        built = Built(self._look, self._registers)
        first = self._look(())
        loops = not first["ops"] and _LOOPS & set(first["names"])
        if loops and self._raises() and choose("raise products", (True, False)):
            built.add("raise-to-products")
            first = built.describe()
        for _ in range(first["names"].count("linalg.softmax")):
            built.add("decompose-aggregate{on=linalg.softmax:0}")
        if {"linalg.pack", "linalg.unpack"} & set(first["names"]):
            built.add("lower-packs")
        self._gather(built, choose, first["ops"])
        if not first["ops"] and "linalg.softmax" not in first["names"]:
            return (
                schedule_affine_loops(built, choose)
                if any(name == "affine.for" for name in first["names"])
                else schedule_loops(built, choose)
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

    def _raises(self) -> bool:
        """Whether loops of the module are products of matrices."""
        try:
            return bool(self._look((MlirAction("raise-to-products"),))["ops"])
        except IllegalActionError:
            return False

    def _gather(self, built: Built, choose: Choose, rows: list[dict[str, Any]]) -> None:
        """Convolutions with strides as products over gathered columns: rows that are not neighbours are no tile of
        registers.
        """
        for kind in _GATHERED:
            found = [Op.of(i, row) for i, row in enumerate(r for r in rows if r["name"] == kind)]
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

    def _fuse(self, built: Built, choose: Choose) -> None:
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


def _schedule_op(built: Built, choose: Choose, op: Op, before: list[Op]) -> list[Op]:
    """Schedules an operation; those before it, as they are afterwards."""
    if 0 in op.extents or any(d < 0 for d in op.output):
        return before
    if op.is_product and (roles := product_roles(op)) is not None:
        return schedule_product(built, choose, op, before, roles)
    if not all(op.parallel):
        _reduction(built, choose, op)
    elif op.is_transposition:
        _transpose(built, choose, op)
    elif not op.is_fill or op.depth:
        _elementwise(built, choose, op)
    return before


def _elementwise(built: Built, choose: Choose, op: Op) -> None:
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


def _masked_width(built: Built, choose: Choose, op: Op, inner: int) -> int:
    """Elements of a vector whose last ones are masked where the extent ends, for extents that no register's width
    divides; 0 for none.
    """
    extent, lanes = op.extents[inner], built.registers.lanes
    if extent % lanes == 0 or extent < lanes // 2 or any(d < 0 for dims in op.maps for d in dims):
        return 0
    widths = [width for width in (4 * lanes, 2 * lanes, lanes) if width < extent + lanes]
    return choose(f"op{op.index} masks", (*widths, 0))


def _one_vector(built: Built, choose: Choose, op: Op, inner: int) -> dict[int, int] | None:
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


def _reduction(built: Built, choose: Choose, op: Op) -> None:
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


def _transpose(built: Built, choose: Choose, op: Op) -> None:
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


def _unroll(built: Built, choose: Choose) -> None:
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
