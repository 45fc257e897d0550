"""The symbolic part of the latent state: extents of the tiled loop nest, and what they touch.

Splits and reorders change a loop nest in ways that need not be learned. Their effect is computed exactly,
for many points of a design space at once: how much of each buffer the inner loops walk over, how many
iterations they have, how long the contiguous runs are. Nothing here builds or replays a program.

Dimension letters: N points, L loops of the tiled nest, C cuts, B buffers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretune.costmodel.actions import read_names
from foretune.program import ProgramGraph
from foretune.space import DesignSpace

_CUTS = 5
_BUFFERS = 4
_PER_CUT = 1 + _BUFFERS * 2  # iterations; footprint and contiguous run of each buffer
_TAIL = 6 + _BUFFERS
NUM_FEATURES = _CUTS * _PER_CUT + _TAIL


@dataclass(frozen=True)
class _Loop:
    """One loop of the tiled nest: a factor of an original loop."""

    origin: int  # node of the original loop
    domain: int  # index of the deciding domain, or -1 if the loop was not tiled
    factor: int  # position of the factor in the decision
    is_reduce: bool


@dataclass(frozen=True)
class LoopNest:
    """The tiled loop nest of a design space, ready to be evaluated at many points.

    Attributes:
        loops: from the outermost in.
        cuts: positions where a band of loops begins, from the innermost band out.
        extents: extent of each original loop node.
        accesses: for each buffer, (element bytes, dims); a dim is ((loop node, coefficient), ...).
        serial: whether the design space forbids parallel loops.
        factors: for each domain, [options, factors] float64, or None.
    """

    loops: tuple[_Loop, ...]
    cuts: tuple[int, ...]
    extents: dict[int, float]
    accesses: tuple[tuple[float, tuple[tuple[tuple[int, float], ...], ...]], ...]
    serial: bool
    factors: tuple[np.ndarray | None, ...]

    def features(self, points: np.ndarray) -> np.ndarray:
        """Log-scaled features of points.

        Args:
            points: [N, number of domains] int64.

        Returns:
            [N, NUM_FEATURES] float32.
        """
        out = np.zeros((len(points), NUM_FEATURES))
        if not self.loops:
            return out.astype(np.float32)
        extents = np.stack([self._extent(loop, points) for loop in self.loops], 1)  # [N, L]
        for c, cut in enumerate(self.cuts[:_CUTS]):
            base = c * _PER_CUT
            out[:, base] = np.log2(extents[:, cut:]).sum(1) / 8
            tile = self._tiles(extents, cut)
            for b, (size, dims) in enumerate(self.accesses[:_BUFFERS]):
                footprint, run = _footprint(tile, dims)
                out[:, base + 1 + 2 * b] = np.log2(footprint * size) / 8
                out[:, base + 2 + 2 * b] = np.log2(run) / 4
        base = _CUTS * _PER_CUT
        inner = [i for i, loop in enumerate(self.loops) if not loop.is_reduce]
        if inner:
            last = inner[-1]
            out[:, base] = np.log2(extents[:, last]) / 4
            out[:, base + 1] = extents[:, last] % 16 == 0
            out[:, base + 2] = extents[:, last] % 8 == 0
            for b, (_, dims) in enumerate(self.accesses[:_BUFFERS]):
                unit = bool(dims) and any(node == self.loops[last].origin and abs(c) == 1 for node, c in dims[-1])
                out[:, base + 6 + b] = unit
        outer = self.loops[0].factor
        parallel = [i for i, loop in enumerate(self.loops) if loop.factor == outer and not loop.is_reduce]
        out[:, base + 3] = np.log2(extents[:, parallel]).sum(1) / 8 if parallel else 0.0
        out[:, base + 4] = float(self.serial)
        out[:, base + 5] = 1.0
        return out.astype(np.float32)

    def _extent(self, loop: _Loop, points: np.ndarray) -> np.ndarray:
        if loop.domain < 0:
            return np.full(len(points), self.extents[loop.origin])
        return self.factors[loop.domain][points[:, loop.domain], loop.factor]

    def _tiles(self, extents: np.ndarray, cut: int) -> dict[int, np.ndarray]:
        """Extent of each original loop inside a cut: node -> [N]."""
        tiles: dict[int, np.ndarray] = {}
        for i in range(cut, len(self.loops)):
            origin = self.loops[i].origin
            tiles[origin] = tiles.get(origin, 1.0) * extents[:, i]
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


def loop_nest(space: DesignSpace, graph: ProgramGraph) -> LoopNest:
    """Follows the splits and reorders of a design space on its largest tiled block."""
    domain_of = {d.action: k for k, d in enumerate(space.domains)}
    decided: dict[str, tuple[int, int]] = {}  # value -> (domain, factor)
    loop_of: dict[str, _Loop] = {}
    nests: dict[int, list[str]] = {}  # block node -> names of its loops, from the outermost in
    blocks = {e.src: e.dst for e in graph.edges if e.kind == "in"}
    reduce_loops = {i for i, n in enumerate(graph.nodes) if n.kind == "loop" and n.features[1] > 0}
    serial = False
    names = read_names(space.template, graph)
    for i, action in enumerate(space.template.actions):
        if action.op == "GetLoops":
            touched = [names.get(o, ()) for o in action.outputs]
            if all(len(t) == 1 and graph.nodes[t[0]].kind == "loop" for t in touched) and touched:
                block = blocks[touched[0][0]]
                if block not in nests:
                    nests[block] = list(action.outputs)
                for output, (node,) in zip(action.outputs, touched):
                    loop_of.setdefault(output, _Loop(node, -1, 0, node in reduce_loops))
        elif action.op == "SamplePerfectTile" and i in domain_of:
            decided.update({o: (domain_of[i], j) for j, o in enumerate(action.outputs)})
        elif action.op == "Split" and isinstance(action.inputs[0], str) and action.inputs[0] in loop_of:
            parent = loop_of[action.inputs[0]]
            for output, value in zip(action.outputs, action.inputs[1:]):
                domain, factor = decided.get(value, (-1, 0)) if isinstance(value, str) else (-1, 0)
                loop_of[output] = _Loop(parent.origin, domain, factor, parent.is_reduce)
            for order in nests.values():
                if action.inputs[0] in order:
                    at = order.index(action.inputs[0])
                    order[at : at + 1] = action.outputs
        elif action.op == "Reorder":
            for order in nests.values():
                moved = [v for v in action.inputs if v in order]
                places = sorted(order.index(v) for v in moved)
                for place, name in zip(places, moved):
                    order[place] = name
        elif action.op == "Annotate" and action.attrs == ("meta_schedule.parallel",):
            serial = action.inputs[1] == 1

    def weight(block: int) -> tuple[bool, float]:
        tiled = any(loop_of[name].domain >= 0 for name in nests[block])
        return tiled, graph.nodes[block].features[3]

    chosen = max(nests, key=weight, default=None)
    loops = tuple(loop_of[name] for name in nests[chosen]) if chosen is not None and weight(chosen)[0] else ()
    cuts = [i for i in range(len(loops) - 1, 0, -1) if (loops[i].is_reduce, loops[i].factor) != (loops[i - 1].is_reduce, loops[i - 1].factor)]
    extents = {i: 2.0 ** n.features[0] for i, n in enumerate(graph.nodes) if n.kind == "loop"}
    factors = tuple(
        np.array(d.options, np.float64) if d.options and isinstance(d.options[0], tuple) else None for d in space.domains
    )
    accesses = _accesses(graph, chosen) if chosen is not None else ()
    return LoopNest(loops, tuple(cuts), extents, accesses, serial, factors)


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
