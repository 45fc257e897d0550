"""Following the template of a design space symbolically: which loops there are in the end, and what their extents
depend on.

Dimension letters: N points, L loops of a nest.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from foretune.costmodel.schedules.accesses import accesses_by_buffer, accesses_of, are_factors, read_of, table_of
from foretune.costmodel.schedules.actions import read_names
from foretune.costmodel.schedules.bindings import BLOCK, THREAD, VTHREAD, Bindings
from foretune.costmodel.schedules.generated_code import Access
from foretune.costmodel.schedules.knobs import is_of_knobs, knob_nest
from foretune.costmodel.schedules.loopnest import (
    INFERRED,
    LITERAL,
    MAX_OTHERS,
    WHOLE,
    Block,
    InferredSplit,
    Loop,
    LoopNest,
    Placement,
)
from foretune.errors import IllegalActionError
from foretune.program import ProgramGraph
from foretune.space import DesignSpace
from foretune.trace import Action, Value

_PARALLEL = ("meta_schedule.parallel",)
_VECTORIZE = ("meta_schedule.vectorize",)
_BOUND = {"blockIdx": BLOCK, "vthread": VTHREAD, "threadIdx": THREAD}
_SHARED = "shared"
_OPEN = (None, "None")  # how a factor that is left open stands in a trace; TVM writes the latter
_UNROLL = ("meta_schedule.unroll_explicit", "meta_schedule.unroll_implicit")


def loop_nest(space: DesignSpace, graph: ProgramGraph) -> LoopNest:
    """Follows the template of a design space; the main block is its largest tiled one.

    Raises:
        IllegalActionError: an action has arguments of another shape than its kind has.
    """
    if is_of_knobs(space.template):
        return knob_nest(space, graph)
    walk = _Walk(space, graph)
    for i, action in enumerate(space.template.actions):
        try:
            walk.follow(i, action)
        except (
            IndexError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # traces come from logs and from schedules written by hand
            raise IllegalActionError(
                f"action {i} of a trace cannot be followed ({type(error).__name__}: {error}): {str(action)[:120]}"
            ) from error
    return walk.finish()


@dataclass
class _Walk:
    space: DesignSpace
    graph: ProgramGraph
    nests: dict[int, list[Loop]] = field(default_factory=dict)  # block -> its loops, from the outermost in
    factored: dict[int, list[Loop]] = field(
        default_factory=dict
    )  # block -> loops of the block that its reduction was factored into
    loops: dict[str, Loop] = field(default_factory=dict)  # value -> loop
    decided: dict[str, tuple[int, int]] = field(default_factory=dict)  # value -> (domain, position)
    fixed: dict[str, Value] = field(default_factory=dict)  # value -> what it is at all points
    located: dict[str, int] = field(default_factory=dict)  # value -> domain of a compute location
    parts: dict[str, int] = field(default_factory=dict)  # value -> block whose factored part it is
    placements: list[Placement] = field(default_factory=list)
    inferred: list[InferredSplit] = field(default_factory=list)
    unroll: tuple[int, np.ndarray] | None = None
    max_parallel: float = 1.0
    max_vector: float = 1.0
    inlined: set[int] = field(default_factory=set)
    bound: list[tuple[Loop, str]] = field(default_factory=list)  # and where it runs
    staged: dict[str, Access] = field(
        default_factory=dict
    )  # value of a block that fills shared memory -> what it reads
    stages: list[Loop] = field(default_factory=list)  # that shared memory is filled in

    def __post_init__(self) -> None:
        graph = self.graph
        self.names = read_names(self.space.template, graph)
        self.domain_of = {d.action: k for k, d in enumerate(self.space.domains)}
        self.tables = tuple(table_of(self.space.template.actions[d.action], d.options) for d in self.space.domains)
        self.block_of = {e.src: e.dst for e in graph.edges if e.kind == "in"}
        for node, block in sorted(self.block_of.items()):
            self.nests.setdefault(block, []).append(Loop(((node, WHOLE, 0),), graph.nodes[node].features[1] > 0))

    def follow(self, index: int, action: Action) -> None:
        """Applies one action."""
        method = getattr(self, f"_{action.op}", None)
        if method is not None:
            method(index, action)

    def _block(self, value: Value) -> int | None:
        """The block that a value stands for."""
        for node in self.names.get(value, ()) if isinstance(value, str) else ():
            if self.graph.nodes[node].kind == "block":
                return node
            if node in self.block_of:
                return self.block_of[node]
        return None

    def _GetLoops(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        if block is None:
            return
        order = self.factored.get(block) if action.inputs[0] in self.parts else self.nests.get(block)
        if order is not None and len(order) == len(action.outputs):
            self.loops.update(zip(action.outputs, order))

    def _SamplePerfectTile(self, index: int, action: Action) -> None:
        if index in self.domain_of:
            self.decided.update({o: (self.domain_of[index], j) for j, o in enumerate(action.outputs)})
        elif action.decision is not None:
            self.fixed.update(zip(action.outputs, cast("tuple[Value, ...]", action.decision), strict=True))

    _SamplePartitionedTile = _SamplePerfectTile

    def _SampleCategorical(self, index: int, action: Action) -> None:
        if index in self.domain_of and isinstance(action.attrs[0], tuple):
            self.decided[action.outputs[0]] = (self.domain_of[index], 0)
        elif action.decision is not None:
            options = cast("tuple[Value, ...]", action.attrs[0])
            self.fixed[action.outputs[0]] = options[cast("int", action.decision)]

    def _SampleComputeLocation(self, index: int, action: Action) -> None:
        if index in self.domain_of:
            self.located[action.outputs[0]] = self.domain_of[index]

    def _Split(self, index: int, action: Action) -> None:
        parent = self.loops.get(cast("str", action.inputs[0]))
        if parent is None:
            return
        parts = [self._part(parent.origin, value) for value in action.inputs[1:]]
        by_tiling = all(
            isinstance(v, int) or self._is_tile(v) for v in action.inputs[1:]
        )  # else a decision's position says nothing of the loop's
        made = []
        for level, (output, part) in enumerate(zip(action.outputs, parts, strict=True)):
            if part is None:
                known = tuple(other for other in parts if other is not None)
                if len(known) < len(parts) - 1:
                    raise ValueError("only one factor of a split can be left open")
                part = (parent.origin, INFERRED, len(self.inferred))
                self.inferred.append(InferredSplit(parent.parts, known))
            made.append(Loop((part,), parent.is_reduce, None if by_tiling else level))
            self.loops[output] = made[-1]
        self._replace([parent], made)

    def _part(self, origin: int, value: Value) -> tuple[int, int, int] | None:
        """What makes a factor of a split; None if the others leave it."""
        value = self.fixed.get(value, value) if isinstance(value, str) else value
        if value in _OPEN:
            return None
        if isinstance(value, int):
            if value < 1:
                raise ValueError(f"a factor of a split must be at least 1, but got {value}")
            return origin, LITERAL, value
        if not isinstance(value, str):
            raise TypeError(f"a factor of a split must be a number or a value, but got {value!r}")
        if value in self.decided:
            domain, position = self.decided[value]
            if not are_factors(self.tables[domain]):
                raise ValueError(f"{value} is not a number from 1 for each of its options")
            return origin, domain, position
        return origin, WHOLE, 0

    def _is_tile(self, value: Value) -> bool:
        table = self.tables[self.decided[value][0]] if isinstance(value, str) and value in self.decided else None
        return table is not None and table.shape[1] > 1

    def _Fuse(self, index: int, action: Action) -> None:
        fused = [self.loops[v] for v in action.inputs if v in self.loops]
        if len(fused) == len(action.inputs) and fused:
            made = Loop(tuple(p for loop in fused for p in loop.parts), any(loop.is_reduce for loop in fused))
            self.loops[action.outputs[0]] = made
            self._replace(fused, [made])

    def _replace(self, old: list[Loop], new: list[Loop]) -> None:
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
        loop = self.loops.get(cast("str", action.inputs[0]))
        for block, order in self.nests.items():
            if loop is not None and any(loop is o for o in order):
                self.factored[block] = [replace(o, is_reduce=False) if o is loop else o for o in order]
                self.nests[block] = [o for o in order if not o.is_reduce or o is loop]
                self.parts[action.outputs[0]] = block

    def _GetProducers(self, index: int, action: Action) -> None:
        block = self._block(action.inputs[0])
        if block in self.factored and action.outputs:
            self.parts[action.outputs[0]] = block

    def _Annotate(self, index: int, action: Action) -> None:
        if action.attrs == _PARALLEL and isinstance(action.inputs[1], int):
            self.max_parallel = float(action.inputs[1])
        elif action.attrs == _VECTORIZE and isinstance(action.inputs[1], int):
            self.max_vector = float(action.inputs[1])
        elif action.attrs and action.attrs[0] in _UNROLL and action.inputs[1] in self.decided:
            domain = self.decided[action.inputs[1]][0]
            values = cast("tuple[float, ...]", self.space.template.actions[self.space.domains[domain].action].attrs[0])
            options = cast("tuple[int, ...]", self.space.domains[domain].options)
            self.unroll = (domain, np.array([float(values[o]) for o in options]))

    def _Bind(self, index: int, action: Action) -> None:
        loop = self.loops.get(cast("str", action.inputs[0]))
        role = next((role for word, role in _BOUND.items() if str(action.attrs[0]).startswith(word)), "")
        if loop is not None and role:
            self.bound.append((loop, role))

    def _CacheRead(self, index: int, action: Action) -> None:
        block, number = self._block(action.inputs[0]), action.attrs[0]
        if block is None or not str(action.attrs[1]).startswith(_SHARED) or not isinstance(number, int):
            return
        found = accesses_by_buffer(self.graph, block)
        written = {buffer for buffer, is_write in found if is_write}
        reads = [access for (buffer, is_write), access in found.items() if not is_write and buffer not in written]
        if 0 <= number < len(reads):
            self.staged[action.outputs[0]] = reads[number]

    def _ComputeAt(self, index: int, action: Action) -> None:
        if action.inputs[0] in self.staged and action.inputs[1] in self.loops:
            self.stages.append(self.loops[cast("str", action.inputs[1])])
        domain = self.located.get(cast("str", action.inputs[1]))
        block = self._block(action.inputs[0])
        if domain is None or block is None:
            return
        node = self.graph.nodes[block]
        locations = tuple(int(o) for o in cast("tuple[int, ...]", self.space.domains[domain].options))
        if action.inputs[0] in self.parts:  # the factored part of a reduction is read once by the rest of it
            loops, access, elements = self.nests.get(block, []), None, 2.0 ** node.features[3]
        else:
            consumer, buffer = self._consumer(block)
            loops = self.nests.get(consumer, []) if consumer is not None else []
            access = read_of(self.graph, consumer, buffer) if consumer is not None else None
            elements = 2.0 ** self.graph.nodes[buffer].features[1] if buffer is not None else 1.0
        self.placements.append(
            Placement(domain, locations, tuple(loops), access, elements, 2.0 ** node.features[3], block)
        )

    def _ReverseComputeAt(self, index: int, action: Action) -> None:
        block, loop = self._block(action.inputs[0]), self.loops.get(cast("str", action.inputs[1]))
        producer = next((b for b, order in self.nests.items() if any(loop is o for o in order)), None)
        if block is None or loop is None or producer in (None, block):
            return
        order = self.nests[producer]
        at = next(i for i, o in enumerate(order) if o is loop)
        written = [access for (_, is_write), access in accesses_by_buffer(self.graph, producer).items() if is_write]
        if written:
            node = self.graph.nodes[block]
            self.placements.append(
                Placement(-1, (at,), tuple(order), written[0], 2.0 ** node.features[3], 2.0 ** node.features[3], block)
            )

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
        blocks = self._blocks(main)
        loops = blocks[0].loops if blocks else ()
        cuts = [
            i
            for i in range(len(loops) - 1, 0, -1)
            if (loops[i].is_reduce, loops[i].factor) != (loops[i - 1].is_reduce, loops[i - 1].factor)
        ]
        extents = {i: float(round(2.0 ** n.features[0])) for i, n in enumerate(nodes) if n.kind == "loop"}
        work = {i: 2.0 ** n.features[3] for i, n in enumerate(nodes) if n.kind == "block"}
        return LoopNest(
            blocks[0] if blocks else None,
            blocks[1:],
            tuple(cuts),
            extents,
            self.max_parallel,
            self.max_vector,
            self.tables,
            tuple(self.inferred),
            self.unroll,
            tuple(self.placements),
            work,
            self._bindings(loops),
        )

    def _bindings(self, loops: tuple[Loop, ...]) -> Bindings:
        """What runs where, of the main block's loops."""
        roles = tuple(next((role for bound, role in self.bound if bound is loop), "") for loop in loops)
        stage = max((i for i, loop in enumerate(loops) if any(loop is s for s in self.stages)), default=-1)
        return Bindings(roles, stage, tuple(self.staged.values()))

    def _blocks(self, main: int | None) -> tuple[Block, ...]:
        """The main block and the largest others that are not inlined."""
        others = sorted(
            (b for b in self.nests if b != main and b not in self.inlined),
            key=lambda b: -self.graph.nodes[b].features[3],
        )
        placement_of: dict[int, int] = {}
        for i, placement in enumerate(self.placements):
            if (
                placement.access is None or placement.block not in self.factored
            ):  # of a factored block, its part is looked at
                placement_of.setdefault(placement.block, i)
        found = [
            Block(tuple(self._order(b)), accesses_of(self.graph, b), placement_of.get(b, -1))
            for b in ([] if main is None else [main]) + others
        ]
        return tuple(block for i, block in enumerate(found) if block.accesses or i == 0)[: 1 + MAX_OTHERS]

    def _order(self, block: int) -> list[Loop]:
        return self.factored.get(block, self.nests[block])
