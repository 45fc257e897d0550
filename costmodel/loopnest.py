"""The symbolic part of the latent state: extents of the scheduled loops, what they touch, and where blocks are computed.

Splits, reorders, fusions, factored reductions and compute locations change loops in ways that need not be learned. The
template of a design space is followed once, symbolically; after that, extents, footprints, contiguous runs and
recomputed work follow exactly for many points at a time. Nothing here builds or replays a program.

Dimension letters: N points, L loops of a nest, C cuts, B buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foretune.costmodel.actions import read_names
from foretune.program import ProgramGraph
from foretune.space import DesignSpace
from foretune.trace import Action

_CUTS, _BUFFERS, _PLACEMENTS = 5, 4, 4
_PER_CUT = 2 + 2 * _BUFFERS  # iterations, whether they are unrolled; footprint and contiguous run of each buffer
_TAIL = 10 + _BUFFERS
_PER_PLACEMENT = 7
NUM_FEATURES = _CUTS * _PER_CUT + _TAIL + _PLACEMENTS * _PER_PLACEMENT + 2
_PARALLEL = ("meta_schedule.parallel",)
_UNROLL = ("meta_schedule.unroll_explicit", "meta_schedule.unroll_implicit")


@dataclass(frozen=True)
class _Loop:
    """A loop: a factor of an original loop, or several of them fused."""

    parts: tuple[tuple[int, int, int], ...]  # (node of the original loop, deciding domain or -1, position in the decision)
    is_reduce: bool

    @property
    def factor(self) -> int:
        """Position in the decision that made it."""
        return self.parts[-1][2]

    @property
    def origin(self) -> int:
        """The original loop, the innermost one of a fused loop."""
        return self.parts[-1][0]

    @property
    def is_tiled(self) -> bool:
        return any(domain >= 0 for _, domain, _ in self.parts)


@dataclass(frozen=True)
class _Placement:
    """A block whose place under its consumer's loops is decided."""

    domain: int
    locations: tuple[int, ...]  # what the options mean: -2 inlined, -1 at the root, else the loop
    loops: tuple[_Loop, ...]  # of the consumer
    dims: tuple  # how the consumer reads it; empty if it reads all of it once
    elements: float  # of its buffer
    iterations: float
    block: int


@dataclass(frozen=True)
class LoopNest:
    """The loops of a design space, ready to be evaluated at many points.

    Attributes:
        loops: of the main block, from the outermost in.
        cuts: positions where a band of loops begins, from the innermost band out.
        extents: extent of each original loop node.
        accesses: for each buffer of the main block, (element bytes, dims); a dim is ((loop node, coefficient), ...).
        serial: whether the design space forbids parallel loops.
        factors: for each domain, [options, factors] float64, or None.
        unroll: (deciding domain, its values), or None.
        placements: blocks with a decided place.
        work: iterations of each block of the program.
    """

    loops: tuple[_Loop, ...]
    cuts: tuple[int, ...]
    extents: dict[int, float]
    accesses: tuple
    serial: bool
    factors: tuple[np.ndarray | None, ...]
    unroll: tuple[int, np.ndarray] | None
    placements: tuple[_Placement, ...]
    work: dict[int, float]

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
        if self.loops:
            extents = self._extents(self.loops, points)
            self._band_features(extents, log_unroll, out)
            self._tail_features(extents, out[:, _CUTS * _PER_CUT :])
        tail = _CUTS * _PER_CUT + _TAIL
        out[:, tail - 2] = self.serial
        out[:, tail - 1] = log_unroll / 8
        self._placement_features(points, out[:, tail:])
        return out.astype(np.float32)

    def _band_features(self, extents: np.ndarray, log_unroll: np.ndarray, out: np.ndarray) -> None:
        for c, cut in enumerate(self.cuts[:_CUTS]):
            base = c * _PER_CUT
            iterations = np.log2(extents[:, cut:]).sum(1)
            out[:, base] = iterations / 8
            out[:, base + 1] = (iterations <= log_unroll) & (log_unroll > 0)
            tile = _tiles(self.loops[cut:], extents[:, cut:])
            for b, (size, dims) in enumerate(self.accesses[:_BUFFERS]):
                footprint, run = _footprint(tile, dims)
                out[:, base + 2 + 2 * b] = np.log2(footprint * size) / 8
                out[:, base + 3 + 2 * b] = np.log2(run) / 4

    def _tail_features(self, extents: np.ndarray, out: np.ndarray) -> None:
        inner = [i for i, loop in enumerate(self.loops) if not loop.is_reduce]
        if inner:
            last = inner[-1]
            band = [i for i in inner if self.loops[i].factor == self.loops[last].factor]
            out[:, 0] = np.log2(extents[:, last]) / 4
            out[:, 1] = extents[:, last] % 16 == 0
            out[:, 2] = extents[:, last] % 8 == 0
            out[:, 3] = np.log2(extents[:, band]).sum(1) / 4
            for b, (_, dims) in enumerate(self.accesses[:_BUFFERS]):
                out[:, 8 + b] = bool(dims) and any(node == self.loops[last].origin and abs(c) == 1 for node, c in dims[-1])
        outer = self.loops[0].factor
        parallel = [i for i, loop in enumerate(self.loops) if loop.factor == outer and not loop.is_reduce]
        chunks = extents[:, parallel].prod(1) if parallel else np.ones(len(extents))
        out[:, 4] = np.log2(chunks) / 8
        out[:, 5] = chunks == 1
        out[:, 6] = np.ceil(chunks / 2) * 2 / chunks - 1  # idle share if two cores take the chunks
        out[:, 7] = 1.0

    def _placement_features(self, points: np.ndarray, out: np.ndarray) -> None:
        repeated = {block: np.zeros(len(points)) for block in self.work}  # log2 of how often a block's work is done
        for p, placement in enumerate(self.placements):
            extents = self._extents(placement.loops, points)
            outer = np.concatenate([np.zeros((len(points), 1)), np.cumsum(np.log2(extents), 1)], 1)  # [N, L + 1]
            location = np.array(placement.locations)[points[:, placement.domain]]
            redundancy, outside = np.zeros(len(points)), np.zeros(len(points))
            for at in sorted({v for v in placement.locations if 0 <= v < len(placement.loops)}):
                chosen = location == at
                if chosen.any():
                    tile = _tiles(placement.loops[at + 1 :], extents[:, at + 1 :])
                    needed = _footprint(tile, placement.dims)[0] if placement.dims else placement.elements / 2 ** outer[:, at + 1]
                    redundancy = np.where(chosen, np.maximum(0.0, outer[:, at + 1] + np.log2(needed) - np.log2(placement.elements)), redundancy)
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

    def _extents(self, loops: Sequence[_Loop], points: np.ndarray) -> np.ndarray:
        """[N, L]."""
        out = np.ones((len(points), len(loops)))
        for i, loop in enumerate(loops):
            for origin, domain, factor in loop.parts:
                if domain >= 0:
                    out[:, i] *= self.factors[domain][points[:, domain], factor]
                else:
                    out[:, i] *= factor if domain == _LITERAL else self.extents[origin]
        return out


_LITERAL = -2  # a part whose extent is written in the trace; it stands in the place of the factor


def _tiles(loops: Sequence[_Loop], extents: np.ndarray) -> dict[int, np.ndarray]:
    """Extent of each original loop inside some loops: node -> [N]."""
    tiles: dict[int, np.ndarray] = {}
    for i, loop in enumerate(loops):
        tiles[loop.origin] = tiles.get(loop.origin, 1.0) * extents[:, i]
    return tiles


def _footprint(tile: dict[int, np.ndarray], dims) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Elements that a tile touches, and how many of them are contiguous."""
    total: np.ndarray | float = 1.0
    run: np.ndarray | float = 1.0
    for i, dim in enumerate(dims):
        size = 1.0
        for node, coefficient in dim:
            if node in tile:
                size = size + abs(coefficient) * (tile[node] - 1)
        total = total * np.maximum(size, 1.0)
        if i == len(dims) - 1:
            run = np.maximum(size, 1.0)
    return total, run


# -- following a template --------------------------------------------------------------------------


def loop_nest(space: DesignSpace, graph: ProgramGraph) -> LoopNest:
    """Follows the template of a design space; the main block is its largest tiled one."""
    walk = _Walk(space, graph)
    for i, action in enumerate(space.template.actions):
        walk.follow(i, action)
    return walk.finish()


@dataclass
class _Walk:
    space: DesignSpace
    graph: ProgramGraph
    nests: dict[int, list[_Loop]] = field(default_factory=dict)  # block -> its loops, from the outermost in
    factored: dict[int, list[_Loop]] = field(default_factory=dict)  # block -> loops of the block that its reduction was factored into
    loops: dict[str, _Loop] = field(default_factory=dict)  # value -> loop
    decided: dict[str, tuple[int, int]] = field(default_factory=dict)  # value -> (domain, position)
    located: dict[str, int] = field(default_factory=dict)  # value -> domain of a compute location
    parts: dict[str, int] = field(default_factory=dict)  # value -> block whose factored part it is
    placements: list[_Placement] = field(default_factory=list)
    unroll: tuple[int, np.ndarray] | None = None
    serial: bool = False

    def __post_init__(self) -> None:
        graph = self.graph
        self.names = read_names(self.space.template, graph)
        self.domain_of = {d.action: k for k, d in enumerate(self.space.domains)}
        self.block_of = {e.src: e.dst for e in graph.edges if e.kind == "in"}
        for node, block in sorted(self.block_of.items()):
            self.nests.setdefault(block, []).append(_Loop(((node, -1, 0),), graph.nodes[node].features[1] > 0))

    def follow(self, index: int, action: Action) -> None:
        """Applies one action."""
        method = getattr(self, f"_{action.op}", None)
        if method is not None:
            method(index, action)

    def _block(self, value) -> int | None:
        """The block that a value stands for."""
        for node in self.names.get(value, ()) if isinstance(value, str) else ():
            if self.graph.nodes[node].kind == "block":
                return node
            if node in self.block_of:
                return self.block_of[node]
        return None

    def _GetLoops(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        order = self.factored.get(block) if action.inputs[0] in self.parts else self.nests.get(block)
        if order is not None and len(order) == len(action.outputs):
            self.loops.update(zip(action.outputs, order))

    def _SamplePerfectTile(self, index: int, action: Action) -> None:
        if index in self.domain_of:
            self.decided.update({o: (self.domain_of[index], j) for j, o in enumerate(action.outputs)})

    def _SampleCategorical(self, index: int, action: Action) -> None:
        if index in self.domain_of and isinstance(action.attrs[0], tuple):
            self.decided[action.outputs[0]] = (self.domain_of[index], 0)

    def _SampleComputeLocation(self, index: int, action: Action) -> None:
        if index in self.domain_of:
            self.located[action.outputs[0]] = self.domain_of[index]

    def _Split(self, index: int, action: Action) -> None:
        parent = self.loops.get(action.inputs[0])
        if parent is None:
            return
        made = []
        for output, value in zip(action.outputs, action.inputs[1:]):
            if isinstance(value, str) and value in self.decided:
                part = (parent.origin, *self.decided[value])
            elif isinstance(value, int):
                part = (parent.origin, _LITERAL, value)
            else:
                part = (parent.origin, -1, 0)
            made.append(_Loop((part,), parent.is_reduce))
            self.loops[output] = made[-1]
        self._replace([parent], made)

    def _Fuse(self, index: int, action: Action) -> None:
        fused = [self.loops[v] for v in action.inputs if v in self.loops]
        if len(fused) == len(action.inputs) and fused:
            made = _Loop(tuple(p for loop in fused for p in loop.parts), any(loop.is_reduce for loop in fused))
            self.loops[action.outputs[0]] = made
            self._replace(fused, [made])

    def _replace(self, old: list[_Loop], new: list[_Loop]) -> None:
        for order in (*self.nests.values(), *self.factored.values()):
            if all(any(loop is o for loop in order) for o in old):
                at = next(i for i, loop in enumerate(order) if loop is old[0])
                order[at : at + 1] = new
                for other in old[1:]:
                    del order[next(i for i, loop in enumerate(order) if loop is other)]

    def _Reorder(self, index: int, action: Action) -> None:
        moved = [self.loops[v] for v in action.inputs if v in self.loops]
        for order in (*self.nests.values(), *self.factored.values()):
            places = sorted(i for i, loop in enumerate(order) if any(loop is m for m in moved))
            present = [m for m in moved if any(loop is m for loop in order)]
            for place, loop in zip(places, present):
                order[place] = loop

    def _RFactor(self, index: int, action: Action) -> None:
        loop = self.loops.get(action.inputs[0])
        for block, order in self.nests.items():
            if loop is not None and any(loop is o for o in order):
                self.factored[block] = list(order)
                self.nests[block] = [o for o in order if not o.is_reduce or o is loop]
                self.parts[action.outputs[0]] = block

    def _GetProducers(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        if block in self.factored and action.outputs:
            self.parts[action.outputs[0]] = block

    def _Annotate(self, index: int, action: Action) -> None:
        if action.attrs == _PARALLEL:
            self.serial = action.inputs[1] == 1
        elif action.attrs and action.attrs[0] in _UNROLL and action.inputs[1] in self.decided:
            domain = self.decided[action.inputs[1]][0]
            values = self.space.template.actions[self.space.domains[domain].action].attrs[0]
            self.unroll = (domain, np.array([float(values[o]) for o in self.space.domains[domain].options]))

    def _ComputeAt(self, index: int, action: Action) -> None:
        domain = self.located.get(action.inputs[1])
        block = self._block(action.inputs[0])
        if domain is None or block is None:
            return
        node = self.graph.nodes[block]
        locations = tuple(int(o) for o in self.space.domains[domain].options)
        if action.inputs[0] in self.parts:  # the factored part of a reduction is read once by the rest of it
            loops, dims, elements = self.nests.get(block, []), (), 2.0 ** node.features[3]
        else:
            consumer, buffer = self._consumer(block)
            loops = self.nests.get(consumer, [])
            dims = _buffer_dims(self.graph, consumer, buffer) if consumer is not None else ()
            elements = 2.0 ** self.graph.nodes[buffer].features[1] if buffer is not None else 1.0
        self.placements.append(_Placement(domain, locations, tuple(loops), dims, elements, 2.0 ** node.features[3], block))

    def _consumer(self, block: int) -> tuple[int | None, int | None]:
        """The first block that reads what a block writes, and the buffer between them."""
        for write in self.graph.edges:
            if write.kind == "write" and write.src == block:
                for read in self.graph.edges:
                    if read.kind == "read" and read.src == write.dst and read.dst != block:
                        return read.dst, write.dst
        return None, None

    def finish(self) -> LoopNest:
        """The loops as they are after the last action."""
        nodes = self.graph.nodes

        def weight(block: int) -> tuple[bool, float]:
            return any(loop.is_tiled for loop in self._order(block)), nodes[block].features[3]

        main = max(self.nests, key=weight, default=None)
        loops = tuple(self._order(main)) if main is not None else ()
        cuts = [
            i for i in range(len(loops) - 1, 0, -1) if (loops[i].is_reduce, loops[i].factor) != (loops[i - 1].is_reduce, loops[i - 1].factor)
        ]
        extents = {i: 2.0 ** n.features[0] for i, n in enumerate(nodes) if n.kind == "loop"}
        factors = tuple(
            np.array(d.options, np.float64) if d.options and isinstance(d.options[0], tuple) else None for d in self.space.domains
        )
        accesses = _accesses(self.graph, main) if main is not None else ()
        work = {i: 2.0 ** n.features[3] for i, n in enumerate(nodes) if n.kind == "block"}
        return LoopNest(loops, tuple(cuts), extents, accesses, self.serial, factors, self.unroll, tuple(self.placements), work)

    def _order(self, block: int) -> list[_Loop]:
        return self.factored.get(block, self.nests[block])


def _buffer_dims(graph: ProgramGraph, block: int, buffer: int | None) -> tuple:
    """How a block reads a buffer: for each dimension, ((loop node, coefficient), ...)."""
    if buffer is None:
        return ()
    dims: dict[int, list[tuple[int, float]]] = {}
    for edge in graph.edges:
        if edge.kind == "access" and edge.dst == buffer and int(edge.features[0]) == block and not edge.features[1]:
            dims.setdefault(int(edge.features[2]), []).append((edge.src, edge.features[3]))
    return tuple(tuple(dims.get(d, ())) for d in range(int(graph.nodes[buffer].features[2])))


def _accesses(graph: ProgramGraph, block: int) -> tuple:
    """Buffers of a block: what it writes first, then what it reads, the largest first."""
    dims: dict[tuple[int, bool], dict[int, list[tuple[int, float]]]] = {}
    for edge in graph.edges:
        if edge.kind == "access" and int(edge.features[0]) == block:
            _, is_write, dim, coefficient, *_ = edge.features
            dims.setdefault((edge.dst, bool(is_write)), {}).setdefault(int(dim), []).append((edge.src, coefficient))
    written = {buffer for buffer, is_write in dims if is_write}
    keys = sorted((k for k in dims if k[1] or k[0] not in written), key=lambda k: (not k[1], -graph.nodes[k[0]].features[0]))
    found = []
    for buffer, is_write in keys:
        features = graph.nodes[buffer].features
        per_dim = dims[buffer, is_write]
        found.append((features[3], tuple(tuple(per_dim.get(d, ())) for d in range(int(features[2])))))
    return tuple(found)
