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

from foretune.costmodel import generated_code
from foretune.costmodel.actions import read_names
from foretune.costmodel.generated_code import Access
from foretune.program import ProgramGraph
from foretune.space import DesignSpace
from foretune.trace import Action

_CUTS, _BUFFERS, _PLACEMENTS = 5, 4, 4
_PER_CUT = 2 + 2 * _BUFFERS  # iterations, whether they are unrolled; footprint and contiguous run of each buffer
_TAIL = 10 + _BUFFERS
_PER_PLACEMENT = 7
_NEST_FEATURES = _CUTS * _PER_CUT + _TAIL + _PLACEMENTS * _PER_PLACEMENT + 2
_OTHERS = 2  # blocks beside the main one whose code is looked at
NUM_FEATURES = _NEST_FEATURES + (1 + _OTHERS) * generated_code.NUM_FEATURES
_PARALLEL = ("meta_schedule.parallel",)
_VECTORIZE = ("meta_schedule.vectorize",)
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
    access: Access | None  # of the consumer; None if it reads all of it once
    elements: float  # of its buffer
    iterations: float
    block: int


@dataclass(frozen=True)
class _Block:
    """A block beside the main one.

    Attributes:
        loops: where it is on its own, from the outermost in.
        accesses: what it writes first.
        placement: position of its placement, or -1.
    """

    loops: tuple[_Loop, ...]
    accesses: tuple[Access, ...]
    placement: int

    def placed(self, placement: _Placement, at: int) -> list[tuple[int, int]]:
        """Its loops under loop `at` of its consumer: (node, position among the consumer's loops, or -1 for a loop of its own)."""
        own = {}  # loop of the consumer -> loop of this block that it moves
        for read, written in zip(placement.access.dims, self.accesses[0].dims):
            for node, _ in read:
                own.setdefault(node, written[0][0] if written else node)
        outer = [(own.get(loop.origin, loop.origin), i) for i, loop in enumerate(placement.loops[: at + 1])]
        return outer + [(loop.origin, -1) for loop in self.loops]


@dataclass(frozen=True)
class LoopNest:
    """The loops of a design space, ready to be evaluated at many points.

    Attributes:
        loops: of the main block, from the outermost in.
        cuts: positions where a band of loops begins, from the innermost band out.
        extents: extent of each original loop node.
        accesses: of the main block, what it writes first.
        serial: whether the design space forbids parallel loops.
        max_vector: extent that a vector loop may have.
        factors: for each domain, [options, factors] float64, or None.
        unroll: (deciding domain, its values), or None.
        placements: blocks with a decided place.
        work: iterations of each block of the program.
        others: the largest blocks beside the main one.
    """

    loops: tuple[_Loop, ...]
    cuts: tuple[int, ...]
    extents: dict[int, float]
    accesses: tuple[Access, ...]
    serial: bool
    max_vector: float
    factors: tuple[np.ndarray | None, ...]
    unroll: tuple[int, np.ndarray] | None
    placements: tuple[_Placement, ...]
    work: dict[int, float]
    others: tuple[_Block, ...]

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
            origins, is_reduce = [loop.origin for loop in self.loops], [loop.is_reduce for loop in self.loops]
            code = generated_code.features(origins, is_reduce, extents, self.accesses, unroll, self.max_vector)
            out[:, _NEST_FEATURES : _NEST_FEATURES + generated_code.NUM_FEATURES] = code
        for i, block in enumerate(self.others):
            base = _NEST_FEATURES + (1 + i) * generated_code.NUM_FEATURES
            self._other_features(block, points, unroll, out[:, base : base + generated_code.NUM_FEATURES])
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
            for b, access in enumerate(self.accesses[:_BUFFERS]):
                footprint, run = access.footprint(tile)
                out[:, base + 2 + 2 * b] = np.log2(footprint * access.element_bytes) / 8
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
            for b, access in enumerate(self.accesses[:_BUFFERS]):
                out[:, 8 + b] = bool(access.dims) and any(node == self.loops[last].origin and abs(c) == 1 for node, c in access.dims[-1])
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
                    needed = placement.access.footprint(tile)[0] if placement.access is not None else placement.elements / 2 ** outer[:, at + 1]
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

    def _other_features(self, block: _Block, points: np.ndarray, unroll: np.ndarray, out: np.ndarray) -> None:
        """Code of a block beside the main one, wherever it is computed; nothing where it is inlined."""
        own = self._extents(block.loops, points)
        if block.placement < 0:
            out[:] = self._code(block, [loop.origin for loop in block.loops], own, unroll)
            return
        placement = self.placements[block.placement]
        outer = self._extents(placement.loops, points)
        location = np.array(placement.locations)[points[:, placement.domain]]
        for at in np.unique(location):
            rows = np.flatnonzero(location == at)
            if at == -1 or (at >= 0 and (placement.access is None or at >= len(placement.loops))):
                out[rows] = self._code(block, [loop.origin for loop in block.loops], own[rows], unroll[rows])
            elif at >= 0:
                tile = _tiles(placement.loops[at + 1 :], outer[rows, at + 1 :])
                needed = {w[0][0]: size for w, size in zip(block.accesses[0].dims, placement.access.sizes(tile)) if w}
                nest = block.placed(placement, at)
                extents = np.ones((len(rows), len(nest)))
                for i, (node, position) in enumerate(nest):
                    if position >= 0:
                        extents[:, i] = outer[rows, position]
                    elif i - at - 1 < len(block.loops):
                        full = own[rows, i - at - 1]
                        extents[:, i] = np.minimum(full, needed.pop(node)) if node in needed else full
                out[rows] = self._code(block, [node for node, _ in nest], extents, unroll[rows])

    def _code(self, block: _Block, origins: list[int], extents: np.ndarray, unroll: np.ndarray) -> np.ndarray:
        is_reduce = [False] * (len(origins) - len(block.loops)) + [loop.is_reduce for loop in block.loops]
        return generated_code.features(origins, is_reduce, extents, block.accesses, unroll, self.max_vector)

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
    max_vector: float = 1.0
    inlined: set[int] = field(default_factory=set)

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
                self.factored[block] = [_Loop(o.parts, False) if o is loop else o for o in order]
                self.nests[block] = [o for o in order if not o.is_reduce or o is loop]
                self.parts[action.outputs[0]] = block

    def _GetProducers(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        if block in self.factored and action.outputs:
            self.parts[action.outputs[0]] = block

    def _Annotate(self, index: int, action: Action) -> None:
        if action.attrs == _PARALLEL:
            self.serial = action.inputs[1] == 1
        elif action.attrs == _VECTORIZE and isinstance(action.inputs[1], int):
            self.max_vector = float(action.inputs[1])
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
            loops, access, elements = self.nests.get(block, []), None, 2.0 ** node.features[3]
        else:
            consumer, buffer = self._consumer(block)
            loops = self.nests.get(consumer, [])
            access = _read_of(self.graph, consumer, buffer) if consumer is not None else None
            elements = 2.0 ** self.graph.nodes[buffer].features[1] if buffer is not None else 1.0
        self.placements.append(_Placement(domain, locations, tuple(loops), access, elements, 2.0 ** node.features[3], block))

    def _ComputeInline(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        if block is not None:
            self.inlined.add(block)

    _ReverseComputeInline = _ComputeInline

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
        return LoopNest(
            loops, tuple(cuts), extents, accesses, self.serial, self.max_vector, factors, self.unroll, tuple(self.placements), work, self._others(main)
        )

    def _others(self, main: int | None) -> tuple[_Block, ...]:
        """The largest blocks beside the main one that are not inlined."""
        left = sorted((b for b in self.nests if b != main and b not in self.inlined), key=lambda b: -self.graph.nodes[b].features[3])
        placement_of = {placement.block: i for i, placement in reversed(list(enumerate(self.placements)))}
        found = [_Block(tuple(self._order(b)), _accesses(self.graph, b), placement_of.get(b, -1)) for b in left]
        return tuple(block for block in found if block.accesses)[:_OTHERS]

    def _order(self, block: int) -> list[_Loop]:
        return self.factored.get(block, self.nests[block])


def _read_of(graph: ProgramGraph, block: int, buffer: int | None) -> Access | None:
    """How a block reads a buffer; None if no index moves with a loop."""
    found = [access for (node, is_write), access in _accesses_of(graph, block).items() if node == buffer and not is_write]
    return found[0] if found else None


def _accesses(graph: ProgramGraph, block: int) -> tuple[Access, ...]:
    """Accesses of a block: what it writes first, then what it reads, the largest first."""
    found = _accesses_of(graph, block)
    written = {buffer for buffer, is_write in found if is_write}
    keys = sorted((k for k in found if k[1] or k[0] not in written), key=lambda k: (not k[1], -graph.nodes[k[0]].features[0]))
    return tuple(found[k] for k in keys)


def _accesses_of(graph: ProgramGraph, block: int) -> dict[tuple[int, bool], Access]:
    """(buffer, is write) -> access."""
    dims: dict[tuple[int, bool], dict[int, list[tuple[int, float]]]] = {}
    strides: dict[tuple[int, bool], dict[int, float]] = {}
    for edge in graph.edges:
        if edge.kind == "access" and int(edge.features[0]) == block:
            _, is_write, dim, coefficient, stride, *_ = edge.features
            key = edge.dst, bool(is_write)
            dims.setdefault(key, {}).setdefault(int(dim), []).append((edge.src, coefficient))
            strides.setdefault(key, {})[int(dim)] = stride / abs(coefficient)
    found = {}
    for key, per_dim in dims.items():
        features = graph.nodes[key[0]].features
        count = range(int(features[2]))
        found[key] = Access(features[3], tuple(tuple(per_dim.get(d, ())) for d in count), tuple(strides[key].get(d, 0.0) for d in count))
    return found
