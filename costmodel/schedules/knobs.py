"""The symbolic state of AutoTVM's schedules: a knob's numbers are factors of the extent of the loop that it tiles.

A knob `tile_y` with the value (-1, 4, 8) splits loop `y` of the template's operator, whose extent follows from the
arguments (`datasets/programs/template_graph.py`). Templates order the parts alike: outer spatial ones, the reduction,
the innermost spatial ones; on GPUs three or four parts are blocks, virtual threads, threads, and what a thread does.
Of a template whose operator is not known, the knobs' numbers alone are the loops.

Dimension letters: N points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from foretune.costmodel.schedules.accesses import accesses_of
from foretune.costmodel.schedules.bindings import BLOCK, THREAD, VTHREAD, Bindings
from foretune.costmodel.schedules.loopnest import WHOLE, Block, Loop, LoopNest
from foretune.program import ProgramGraph
from foretune.space import DesignSpace, Domain
from foretune.trace import Trace, Value

_KINDS = {"sp", "re", "an", "ot"}
_PREFIXES = ("tile_", "block_")
_ALIASES = {
    "oc": "f", "co": "f", "fc": "f", "c": "f", "ic": "rc", "ci": "rc", "rcc": "rc",
    "oh": "y", "h": "y", "ow": "x", "w": "x",
}  # fmt: skip
_REDUCED = ("k", "rc", "ry", "rx")
_UNROLL = "auto_unroll_max_step"
_ROLES = {4: (BLOCK, VTHREAD, THREAD, ""), 3: (BLOCK, THREAD, "")}  # number of parts -> where they run
_NOPACK, _SMALL_BATCH = "dense_nopack", "dense_small_batch"  # operators whose reduction runs in lanes, and in threads
_WIDEST_VECTOR, _MOST_CHUNKS = 64.0, 1024.0


def is_of_knobs(trace: Trace) -> bool:
    """Whether a trace is a configuration of AutoTVM's."""
    return len(trace) > 0 and all(action.op in _KINDS for action in trace.actions)


@dataclass(frozen=True)
class _Axis:
    """A loop of the operator, and its parts from the outermost in.

    Attributes:
        node: of the loop; beyond the graph's where the operator is not known.
        domain: that decides, or -1 if the loop is whole.
        table: [options, parts] float64.
    """

    node: int
    is_reduce: bool
    domain: int
    table: np.ndarray

    def part(self, position: int) -> Loop:
        """A part as a loop."""
        return Loop(((self.node, self.domain if self.domain >= 0 else WHOLE, position),), self.is_reduce, position)

    @property
    def num_parts(self) -> int:
        return self.table.shape[1]


def knob_nest(space: DesignSpace, graph: ProgramGraph) -> LoopNest:
    """The loops that configurations of a template make."""
    block = next((i for i, node in enumerate(graph.nodes) if node.kind == "block"), None)
    axes = _axes(space, graph, block)
    loops, roles = _ordered(axes)
    if block is not None and graph.nodes[block].name in (_NOPACK, _SMALL_BATCH):
        _spread_reduction(loops, roles, graph.nodes[block].name == _SMALL_BATCH)
    tables: list[np.ndarray | None] = [None] * len(space.domains)
    for axis in axes:
        if axis.domain >= 0:
            tables[axis.domain] = axis.table
    accesses = accesses_of(graph, block) if block is not None else ()
    staged = next((i for i, loop in enumerate(loops) if loop.is_reduce), -1) if any(roles) else -1
    extents = {axis.node: float(axis.table[0].prod()) for axis in axes if axis.domain < 0}
    cuts = [i for i in range(len(loops) - 1, 0, -1) if _band(loops[i]) != _band(loops[i - 1])]
    work = {block: 2.0 ** graph.nodes[block].features[3]} if block is not None else {}
    return LoopNest(
        Block(tuple(loops), accesses, -1) if loops else None,
        (),
        tuple(cuts),
        extents,
        _MOST_CHUNKS,
        _WIDEST_VECTOR,
        tuple(tables),
        (),
        _unroll(space),
        (),
        work,
        Bindings(tuple(roles), staged, accesses[1:]),
    )


def _band(loop: Loop) -> tuple[bool, int]:
    return loop.is_reduce, loop.factor


def _axes(space: DesignSpace, graph: ProgramGraph, block: int | None) -> list[_Axis]:
    """The operator's loops, or what the knobs split where it is not known."""
    knobs = {
        str(space.template.actions[d.action].attrs[0]): (i, d)
        for i, d in enumerate(space.domains)
        if space.template.actions[d.action].attrs
    }
    loops = (
        {node.name.rpartition("/")[2]: (i, node) for i, node in enumerate(graph.nodes) if node.kind == "loop"}
        if block is not None
        else {}
    )
    tiled: dict[str, tuple[int, np.ndarray]] = {}
    for name, (number, domain) in knobs.items():
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        axis = _axis_name(name.removeprefix(prefix), loops) if prefix is not None else None
        if axis is None or axis in tiled:
            continue
        extent = float(round(2.0 ** loops[axis][1].features[0])) if axis in loops else 0.0
        table = _parts_table(domain, extent)
        if table is not None:
            tiled[axis] = (number, table)
    found = []
    for axis, (node, facts) in loops.items():
        number, table = tiled.get(axis, (-1, np.array([[float(round(2.0 ** facts.features[0]))]])))
        found.append(_Axis(node, facts.features[1] > 0, number, table))
    if not loops:
        found = [
            _Axis(len(graph.nodes) + i, axis in _REDUCED, number, table)
            for i, (axis, (number, table)) in enumerate(tiled.items())
        ]
    return found


def _axis_name(word: str, loops: dict) -> str | None:
    """The loop that a knob tiles; None if the operator has none of that name."""
    for name in (word, _ALIASES.get(word, word)):
        if name in loops:
            return name
    return None if loops else _ALIASES.get(word, word)


def _parts_table(domain: Domain, extent: float) -> np.ndarray | None:
    """The parts of a loop for each value of a knob, [options, parts]; None if they are no numbers."""
    rows = [_parts(option, extent) for option in domain.options]
    if any(row is None or len(row) != len(rows[0] or ()) for row in rows):
        return None
    return np.array(rows, np.float64)


def _parts(option: Value, extent: float) -> list[float] | None:
    values = option if isinstance(option, tuple) else (-1, option)
    numbers = [float(n) for n in values if isinstance(n, (int, float)) and not isinstance(n, bool) and n]
    if not numbers or len(numbers) < len(values):
        return None
    known = [n for n in numbers if n > 0]  # the first may be -1: what the others leave
    left = max(1.0, math.ceil(extent / math.prod(known))) if extent else 1.0
    return [n if n > 0 else left for n in numbers]


def _ordered(axes: Sequence[_Axis]) -> tuple[list[Loop], list[str]]:
    """All parts from the outermost in, and where each runs."""
    spatial = [axis for axis in axes if not axis.is_reduce]
    reduced = [axis for axis in axes if axis.is_reduce]
    most = max((axis.num_parts for axis in spatial), default=0)
    roles = _ROLES.get(most, ("",) * most)
    levels: list[list[tuple[Loop, str]]] = [[] for _ in range(most)]
    for axis in spatial:
        first = most - axis.num_parts if axis.num_parts > 1 else 0
        for position in range(axis.num_parts):
            levels[first + position].append((axis.part(position), roles[first + position]))
    inner = levels.pop() if most > 1 else []
    deepest = max((axis.num_parts for axis in reduced), default=0)
    reduction = [
        (axis.part(position), "") for position in range(deepest) for axis in reduced if position < axis.num_parts
    ]
    chosen = [*(pair for level in levels for pair in level), *reduction, *inner]
    return [loop for loop, _ in chosen], [role for _, role in chosen]


def _spread_reduction(loops: list[Loop], roles: list[str], in_threads: bool) -> None:
    """Each lane, or thread, reduces a part of its own: the innermost reduced loop comes last, as if it were spatial."""
    last = max((i for i, loop in enumerate(loops) if loop.is_reduce), default=-1)
    if last < 0:
        return
    loops.append(replace(loops.pop(last), is_reduce=False))
    roles.append(roles.pop(last))
    if in_threads:
        roles[:] = [THREAD if i == len(loops) - 1 else "" if loop.is_reduce else BLOCK for i, loop in enumerate(loops)]


def _unroll(space: DesignSpace) -> tuple[int, np.ndarray] | None:
    for i, domain in enumerate(space.domains):
        attrs = space.template.actions[domain.action].attrs
        if attrs[:1] == (_UNROLL,) and all(isinstance(o, (int, float)) for o in domain.options):
            return i, np.array([float(o) for o in domain.options])  # type: ignore[arg-type]
    return None
