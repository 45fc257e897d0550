"""The symbolic part of the latent state: extents of the scheduled loops, what they touch, and where blocks are
computed.

Splits, reorders, fusions, factored reductions and compute locations change loops in ways that need not be learned. The
template of a design space is followed once, symbolically (`template_walk.py`); after that, extents, footprints,
contiguous runs, recomputed work and the generated code (`generated_code.py`) follow exactly for many points at a time.
Nothing here builds or replays a program.

Dimension letters: N points, L loops of a nest, C cuts, B buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from foretune.costmodel.schedules import bindings, generated_code
from foretune.costmodel.schedules.bindings import Bindings
from foretune.costmodel.schedules.generated_code import Access, Limits

_CUTS, _BUFFERS, _PLACEMENTS = 5, 4, 4
_PER_CUT = 2 + 2 * _BUFFERS  # iterations, whether they are unrolled; footprint and contiguous run of each buffer
_TAIL = 10 + _BUFFERS
_PER_PLACEMENT = 7
NUM_NEST_FEATURES = _CUTS * _PER_CUT + _TAIL + _PLACEMENTS * _PER_PLACEMENT + 2
MAX_OTHERS = 2  # blocks beside the main one whose code is looked at
WHOLE = -1  # stands for the domain of a part that is an original loop, whole
LITERAL = -2  # stands for the domain of a part whose extent is written in the trace, in the place of the factor
# stands for the domain of a part that is what a split leaves of its loop, with the split's number in the place of the
# factor
INFERRED = -3
NUM_FEATURES = NUM_NEST_FEATURES + (1 + MAX_OTHERS) * generated_code.NUM_FEATURES


def state_width(has_bindings: bool) -> int:
    """Width of the symbolic state."""
    return NUM_FEATURES + (bindings.NUM_FEATURES if has_bindings else 0)


@dataclass(frozen=True)
class Loop:
    """A loop: a factor of an original loop, or several of them fused."""

    parts: tuple[
        tuple[int, int, int], ...
    ]  # (node of the original loop, deciding domain or -1, position in the decision)
    is_reduce: bool
    level: int | None = None  # position in the split that made it, where that says more than the decision

    @property
    def factor(self) -> int:
        """Position in the decision that made it."""
        return self.parts[-1][2] if self.level is None else self.level

    @property
    def origin(self) -> int:
        """The original loop, the innermost one of a fused loop."""
        return self.parts[-1][0]

    @property
    def is_tiled(self) -> bool:
        return any(domain >= 0 for _, domain, _ in self.parts)


@dataclass(frozen=True)
class InferredSplit:
    """A split with one factor left open, as in `split(loop, [None, 16])`: its extent follows from the others, rounded
    up.
    """

    whole: tuple[tuple[int, int, int], ...]  # parts of the loop that is split
    known: tuple[tuple[int, int, int], ...]  # its other factors


@dataclass(frozen=True)
class Placement:
    """A block whose place under the loops of its consumer is decided, or fixed under those of its producer."""

    domain: int  # -1 if the place is fixed
    locations: tuple[int, ...]  # what the options mean: -2 inlined, -1 at the root, else the loop
    loops: tuple[Loop, ...]  # of the consumer or producer
    access: Access | None  # of the consumer or producer to the buffer between them; None if all of it is read once
    elements: float  # of its buffer
    iterations: float
    block: int

    def at(self, points: np.ndarray) -> np.ndarray:
        """Where the block is at each point, [N]."""
        if self.domain < 0:
            return np.full(len(points), self.locations[0])
        return np.array(self.locations)[points[:, self.domain]]


@dataclass(frozen=True)
class Block:
    """A block with its loops, if it is computed at the root.

    Attributes:
        loops: from the outermost in.
        accesses: what it writes first.
        placement: position of its placement, or -1.
    """

    loops: tuple[Loop, ...]
    accesses: tuple[Access, ...]
    placement: int


@dataclass(frozen=True)
class _Nest:
    """Loops around a block where it is computed; extents are [N, L]."""

    origins: tuple[int, ...]
    is_reduce: tuple[bool, ...]
    extents: np.ndarray


@dataclass(frozen=True)
class LoopNest:
    """The loops of a design space, ready to be evaluated at many points.

    Attributes:
        main: the largest tiled block; None if there is no block.
        others: the largest blocks beside it.
        cuts: positions where a band of the main block's loops begins, from the innermost band out.
        extents: extent of each original loop node.
        max_parallel: chunks of work that are enough. max_vector: extent that a vector loop may have.
        factors: for each domain, [options, factors] float64, or None.
        inferred: splits with an open factor.
        unroll: (deciding domain, its values), or None.
        placements: blocks with a decided place.
        work: iterations of each block of the program.
        bindings: what runs in threads and blocks of a GPU.
    """

    main: Block | None
    others: tuple[Block, ...]
    cuts: tuple[int, ...]
    extents: dict[int, float]
    max_parallel: float
    max_vector: float
    factors: tuple[np.ndarray | None, ...]
    inferred: tuple[InferredSplit, ...]
    unroll: tuple[int, np.ndarray] | None
    placements: tuple[Placement, ...]
    work: dict[int, float]
    bindings: Bindings = Bindings(())

    def state(self, points: np.ndarray, has_bindings: bool) -> np.ndarray:
        """The symbolic state at points: `features`, and those of the bindings where a model reads them.

        Returns:
            [N, `state_width(has_bindings)`] float32.
        """
        found = self.features(points)
        return np.concatenate([found, self.bindings.features(self, points)], 1) if has_bindings else found

    def features(self, points: np.ndarray) -> np.ndarray:
        """Log-scaled features of points.

        Args:
            points: [N, number of domains] int64.

        Returns:
            [N, NUM_FEATURES] float32.
        """
        out = np.zeros((len(points), NUM_FEATURES))
        unroll = self.unroll[1][points[:, self.unroll[0]]] if self.unroll else np.zeros(len(points))
        log_unroll = np.log2(1 + unroll)
        limits = Limits(self.max_vector, self.max_parallel, unroll)
        if self.main is not None:
            extents = self.extents_of(self.main.loops, points)
            self._band_features(self.main, extents, log_unroll, out)
            self._tail_features(self.main, extents, out[:, _CUTS * _PER_CUT :])
            for i, block in enumerate((self.main, *self.others)):
                base = NUM_NEST_FEATURES + i * generated_code.NUM_FEATURES
                if block.accesses:  # else nothing is known of its code
                    self._code_features(block, points, limits, out[:, base : base + generated_code.NUM_FEATURES])
        tail = _CUTS * _PER_CUT + _TAIL
        out[:, tail - 2] = self.max_parallel == 1
        out[:, tail - 1] = log_unroll / 8
        self._placement_features(points, out[:, tail:])
        return out.astype(np.float32)

    def _band_features(self, main: Block, extents: np.ndarray, log_unroll: np.ndarray, out: np.ndarray) -> None:
        for c, cut in enumerate(self.cuts[:_CUTS]):
            base = c * _PER_CUT
            iterations = np.log2(extents[:, cut:]).sum(1)
            out[:, base] = iterations / 8
            out[:, base + 1] = (iterations <= log_unroll) & (log_unroll > 0)
            tile = _tiles(main.loops[cut:], extents[:, cut:])
            for b, access in enumerate(main.accesses[:_BUFFERS]):
                footprint, run = access.footprint(tile)
                out[:, base + 2 + 2 * b] = np.log2(footprint * access.element_bytes) / 8
                out[:, base + 3 + 2 * b] = np.log2(run) / 4

    def _tail_features(self, main: Block, extents: np.ndarray, out: np.ndarray) -> None:
        inner = [i for i, loop in enumerate(main.loops) if not loop.is_reduce]
        if inner:
            last = inner[-1]
            band = [i for i in inner if main.loops[i].factor == main.loops[last].factor]
            out[:, 0] = np.log2(extents[:, last]) / 4
            out[:, 1] = extents[:, last] % 16 == 0
            out[:, 2] = extents[:, last] % 8 == 0
            out[:, 3] = np.log2(extents[:, band]).sum(1) / 4
            for b, access in enumerate(main.accesses[:_BUFFERS]):
                out[:, 8 + b] = bool(access.dims) and any(
                    node == main.loops[last].origin and abs(c) == 1 for node, c in access.dims[-1]
                )
        outer = main.loops[0].factor
        parallel = [i for i, loop in enumerate(main.loops) if loop.factor == outer and not loop.is_reduce]
        chunks = extents[:, parallel].prod(1) if parallel else np.ones(len(extents))
        out[:, 4] = np.log2(chunks) / 8
        out[:, 5] = chunks == 1
        out[:, 6] = np.ceil(chunks / 2) * 2 / chunks - 1  # idle share if two cores take the chunks
        out[:, 7] = 1.0

    def _placement_features(self, points: np.ndarray, out: np.ndarray) -> None:
        repeated = {block: np.zeros(len(points)) for block in self.work}  # log2 of how often a block's work is done
        for p, placement in enumerate(q for q in self.placements if q.domain >= 0):
            extents = self.extents_of(placement.loops, points)
            outer = np.concatenate([np.zeros((len(points), 1)), np.cumsum(np.log2(extents), 1)], 1)  # [N, L + 1]
            location = placement.at(points)
            redundancy, outside = np.zeros(len(points)), np.zeros(len(points))
            for at in sorted({v for v in placement.locations if 0 <= v < len(placement.loops)}):
                chosen = location == at
                if chosen.any():
                    tile = _tiles(placement.loops[at + 1 :], extents[:, at + 1 :])
                    needed = (
                        placement.access.footprint(tile)[0]
                        if placement.access is not None
                        else placement.elements / 2 ** outer[:, at + 1]
                    )
                    redundancy = np.where(
                        chosen,
                        np.maximum(0.0, outer[:, at + 1] + np.log2(needed) - np.log2(placement.elements)),
                        redundancy,
                    )
                    outside = np.where(chosen, outer[:, at + 1], outside)
            if placement.block in repeated:
                repeated[placement.block] = np.maximum(repeated[placement.block], redundancy)
            if p < _PLACEMENTS:
                columns = out[:, p * _PER_PLACEMENT :]
                columns[:, 0] = 1.0
                columns[:, 1] = location == -2
                columns[:, 2] = location == -1
                columns[:, 3] = (location + 1) / max(1, len(placement.loops))
                columns[:, 4] = outside / 8
                columns[:, 5] = redundancy / 8
                columns[:, 6] = (np.log2(placement.iterations) + redundancy - outside) / 8
        if self.work:
            base = sum(self.work.values())
            total = sum(work * 2 ** repeated[block] for block, work in self.work.items())
            out[:, _PLACEMENTS * _PER_PLACEMENT] = np.log2(total / base) / 4
            out[:, _PLACEMENTS * _PER_PLACEMENT + 1] = np.log2(base) / 16

    def _code_features(self, block: Block, points: np.ndarray, limits: Limits, out: np.ndarray) -> None:
        """Code of a block wherever it is computed; nothing where it is inlined."""
        own = self.extents_of(block.loops, points)
        at_root = _Nest(tuple(loop.origin for loop in block.loops), tuple(loop.is_reduce for loop in block.loops), own)
        if block.placement < 0:
            out[:] = _code(block, at_root, limits, True)
            return
        placement = self.placements[block.placement]
        outer = self.extents_of(placement.loops, points)
        location = placement.at(points)
        for at in np.unique(location):
            rows = np.flatnonzero(location == at)
            here = replace(limits, unroll=limits.unroll[rows])
            if at == -1 or at >= len(placement.loops):
                out[rows] = _code(block, replace(at_root, extents=own[rows]), here, True)
            elif at >= 0:
                place = _placed if placement.access is not None else _placed_part
                out[rows] = _code(block, place(block, placement, at, own[rows], outer[rows]), here, False)

    def extents_of(self, loops: Sequence[Loop], points: np.ndarray) -> np.ndarray:
        """Extents of some loops at points; [N, L]."""
        out = np.ones((len(points), len(loops)))
        for i, loop in enumerate(loops):
            for part in loop.parts:
                out[:, i] *= self._extent(part, points)
        return out

    def tile_of(self, loops: Sequence[Loop], points: np.ndarray) -> dict[int, np.ndarray]:
        """Extent of each original loop inside some loops, fused ones part by part: node -> [N]."""
        tile: dict[int, np.ndarray] = {}
        for part in (part for loop in loops for part in loop.parts):
            tile[part[0]] = tile.get(part[0], np.ones(len(points))) * self._extent(part, points)
        return tile

    def _extent(self, part: tuple[int, int, int], points: np.ndarray) -> np.ndarray | float:
        """[N], or one number for all points."""
        origin, domain, factor = part
        if domain >= 0:
            return cast("np.ndarray", self.factors[domain])[points[:, domain], factor]
        if domain == LITERAL:
            return factor
        if domain == INFERRED:
            split = self.inferred[factor]
            return np.ceil(self._product(split.whole, points) / self._product(split.known, points))
        return self.extents[origin]

    def _product(self, parts: Sequence[tuple[int, int, int]], points: np.ndarray) -> np.ndarray | float:
        product: np.ndarray | float = 1.0
        for part in parts:
            product = product * self._extent(part, points)
        return product


def _code(block: Block, nest: _Nest, limits: Limits, is_alone: bool) -> np.ndarray:
    return generated_code.features(nest.origins, nest.is_reduce, nest.extents, block.accesses, limits, is_alone)


def _tiles(loops: Sequence[Loop], extents: np.ndarray) -> dict[int, np.ndarray]:
    """Extent of each original loop inside some loops: node -> [N]."""
    tiles: dict[int, np.ndarray] = {}
    for i, loop in enumerate(loops):
        tiles[loop.origin] = tiles.get(loop.origin, 1.0) * extents[:, i]
    return tiles


def _placed(block: Block, placement: Placement, at: int, own: np.ndarray, outer: np.ndarray) -> _Nest:
    """A block under loop `at` of its consumer or producer: it does what belongs to one iteration of that loop."""
    tile = _tiles(placement.loops[at + 1 :], outer[:, at + 1 :])
    needed: dict[int, np.ndarray | float] = {}  # loop of this block -> extent inside
    moves: dict[int, int] = {}  # loop of the other block -> loop of this one
    access = cast("generated_code.Access", placement.access)  # where it is None, `_placed_part` is asked
    for read, written, size in zip(access.dims, block.accesses[0].dims, access.sizes(tile)):
        for node, _ in read if written else ():
            moves.setdefault(node, written[0][0])
        if written:
            needed[written[0][0]] = size
    around = [moves.get(loop.origin, loop.origin) for loop in placement.loops[: at + 1]]
    inside = [np.minimum(own[:, i], needed.pop(loop.origin, np.inf)) for i, loop in enumerate(block.loops)]
    return _Nest(
        (*around, *(loop.origin for loop in block.loops)),
        (False,) * len(around) + tuple(loop.is_reduce for loop in block.loops),
        np.concatenate([outer[:, : at + 1], np.stack(inside, 1)], 1),
    )


def _placed_part(block: Block, placement: Placement, at: int, own: np.ndarray, outer: np.ndarray) -> _Nest:
    """A part of a factored reduction under loop `at` of the rest of it: the factored loop comes first inside,
    reductions last.
    """
    around = placement.loops[: at + 1]
    shared = {loop.parts for loop in around}
    factored = {loop.parts for loop in placement.loops if loop.is_reduce}
    inside = [i for i, loop in enumerate(block.loops) if loop.parts not in shared]
    inside.sort(key=lambda i: (block.loops[i].is_reduce, block.loops[i].parts not in factored))
    return _Nest(
        (*(loop.origin for loop in around), *(block.loops[i].origin for i in inside)),
        (False,) * len(around) + tuple(block.loops[i].is_reduce for i in inside),
        np.concatenate([outer[:, : at + 1], own[:, inside]], 1),
    )
