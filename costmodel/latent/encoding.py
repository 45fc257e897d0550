"""Programs and trajectories as arrays.

A trajectory becomes a row of ids into a table of distinct steps, so that each distinct step is
encoded once however many trajectories contain it, and trajectories that share a prefix share its rollout.

Actions without a decision follow from the design space alone. They are not rolled one by one: each
decision carries the bag of the fixed actions since the decision before it.

Many programs and spaces are batched by concatenation, never by padding (`collate`).

Dimension letters: G programs, N trajectories, T steps of one, U distinct steps, V nodes, E edges, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from foretune.costmodel.schedules.actions import MAX_NUMBERS, Step, numbers_of, read_steps
from foretune.costmodel.schedules.loopnest import LoopNest
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.program import ProgramGraph
from foretune.space import DesignSpace, Domain
from foretune.target import HardwareFeatures
from foretune.trace import Trace

MAX_NODE_FEATURES = 16
MAX_EDGE_FEATURES = 6
MAX_STEP_NODES = 4
NUMBER_FEATURES = 5 * MAX_NUMBERS
HARDWARE_FEATURES = 10
_CPU_KINDS = ("llvm", "c")


@dataclass(frozen=True)
class Vocabulary:
    """Symbols that a model knows; everything else is symbol 0, unknown.

    Attributes:
        node_kinds, edge_kinds: of programs.
        symbols: of actions.
        target_kinds: of the machines that it was trained for.
    """

    node_kinds: tuple[str, ...]
    edge_kinds: tuple[str, ...]
    symbols: tuple[str, ...]
    target_kinds: tuple[str, ...] = ("llvm",)  # of weights that do not say

    @classmethod
    def of(cls, graphs: Iterable[ProgramGraph], traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All symbols that occur in some data."""
        node_kinds: set[str] = set()
        edge_kinds: set[str] = set()
        for graph in graphs:
            node_kinds.update(n.kind for n in graph.nodes)
            edge_kinds.update(e.kind for e in graph.edges)
        symbols = {step.symbol for trace, graph in traces for step in read_steps(trace, graph)}
        return cls(tuple(sorted(node_kinds)), tuple(sorted(edge_kinds)), tuple(sorted(symbols)))

    @property
    def has_bindings(self) -> bool:
        """Whether any of the machines is a GPU, whose schedules bind loops to threads."""
        return any(kind not in _CPU_KINDS for kind in self.target_kinds)

    def symbol_id(self, symbol: str) -> int:
        """Position of a symbol, from 1; 0 if unknown."""
        return _position(self.symbols, symbol)

    def to_json(self) -> dict[str, list[str]]:
        """The vocabulary as JSON data."""
        return {
            "node_kinds": list(self.node_kinds),
            "edge_kinds": list(self.edge_kinds),
            "symbols": list(self.symbols),
            "target_kinds": list(self.target_kinds),
        }


def _position(items: tuple[str, ...], item: str) -> int:
    try:
        return items.index(item) + 1
    except ValueError:
        return 0


@dataclass(frozen=True)
class GraphArrays:
    """A program graph as arrays."""

    kinds: np.ndarray  # [V] int64
    features: np.ndarray  # [V, MAX_NODE_FEATURES] float32
    edges: np.ndarray  # [2, E] int64, source and destination
    edge_kinds: np.ndarray  # [E] int64
    edge_features: np.ndarray  # [E, MAX_EDGE_FEATURES] float32


def encode_graph(graph: ProgramGraph, vocabulary: Vocabulary) -> GraphArrays:
    """A program graph as arrays; numbers are log-scaled."""
    edges = np.array([[e.src for e in graph.edges], [e.dst for e in graph.edges]], np.int64).reshape(2, -1)
    return GraphArrays(
        np.array([_position(vocabulary.node_kinds, n.kind) for n in graph.nodes], np.int64),
        _padded([n.features for n in graph.nodes], MAX_NODE_FEATURES),
        edges,
        np.array([_position(vocabulary.edge_kinds, e.kind) for e in graph.edges], np.int64),
        # the first feature of an access edge is a node's index, which is not a quantity
        _padded([e.features[1:] for e in graph.edges], MAX_EDGE_FEATURES),
    )


def _padded(rows: Sequence[Sequence[float]], width: int) -> np.ndarray:
    out = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row[:width]
    return symlog(out)


def symlog(x: np.ndarray) -> np.ndarray:
    """Sign-preserving logarithm, 0 at 0."""
    return np.sign(x) * np.log1p(np.abs(x))


def encode_hardware(hardware: HardwareFeatures) -> np.ndarray:
    """Hardware features, log-scaled.

    Returns:
        [HARDWARE_FEATURES] float32.
    """
    return symlog(np.array(list(hardware.to_json().values()), np.float32)) / 8.0


def number_features(numbers: Sequence[float]) -> np.ndarray:
    """Numbers of one action: logarithms, running products from the innermost factor, and divisibility.

    Returns:
        [NUMBER_FEATURES] float32.
    """
    out = np.zeros((5, MAX_NUMBERS), np.float32)
    if numbers:
        x = np.array(numbers[:MAX_NUMBERS], np.float64)
        n = len(x)
        logs = np.sign(x) * np.log2(1 + np.abs(x))
        out[0, :n] = logs / 4
        out[1, :n] = np.cumsum(np.log2(np.maximum(1.0, np.abs(x)))[::-1])[::-1] / 4
        out[2, :n] = x == 1
        out[3, :n] = (x > 0) & (x % 16 == 0)
        out[4, :n] = x <= 0
    return out.reshape(-1)


@dataclass
class StepTable:
    """Distinct steps; a step here is a decision with the fixed actions that come before it.

    Attributes:
        symbols: [U] int64.
        nodes: [U, MAX_STEP_NODES] int64, -1 where there is none.
        numbers: [U, NUMBER_FEATURES] float32.
        fixed: for each step, rows of the fixed-action arrays to add up: [U, 2] int64, start and end.
        fixed_symbols, fixed_nodes, fixed_numbers: the same three arrays of the fixed actions.
    """

    symbols: np.ndarray
    nodes: np.ndarray
    numbers: np.ndarray
    fixed: np.ndarray
    fixed_symbols: np.ndarray
    fixed_nodes: np.ndarray
    fixed_numbers: np.ndarray


@dataclass
class EncodedSpace:
    """A design space as a step table.

    Attributes:
        space: the space.
        table: its steps: for each domain, one for each option; last, the tail of fixed actions.
        offsets: [T] int64: row of the table where each domain's options begin; T counts the tail too.
        nest: the tiled loops, for the symbolic part of the state.
        has_bindings: whether that has a part for what runs in the threads of a GPU.
    """

    space: DesignSpace
    table: StepTable
    offsets: np.ndarray
    nest: LoopNest
    has_bindings: bool = False

    def state(self, points: np.ndarray) -> np.ndarray:
        """The symbolic state at points of the space, [N, width] float32."""
        return self.nest.state(points, self.has_bindings)

    def ids(self, points: np.ndarray) -> np.ndarray:
        """Rows of the step table for points of the space.

        Args:
            points: [N, T - 1] int64 option indices.

        Returns:
            [N, T] int64.
        """
        tail = np.zeros((len(points), 1), np.int64)
        return np.concatenate([points, tail], 1) + self.offsets[None]


@dataclass
class _TableBuilder:
    vocabulary: Vocabulary
    rows: dict[str, list] = field(default_factory=lambda: {k: [] for k in ("symbols", "nodes", "numbers", "fixed")})
    fixed: dict[str, list] = field(default_factory=lambda: {k: [] for k in ("symbols", "nodes", "numbers")})

    def add_fixed(self, step: Step) -> None:
        self._put(self.fixed, step.symbol, step.nodes, step.numbers)

    def add(self, symbol: str, nodes: tuple[int, ...], numbers: Sequence[float], fixed: tuple[int, int]) -> None:
        self._put(self.rows, symbol, nodes, numbers)
        self.rows["fixed"].append(fixed)

    def _put(self, rows: dict[str, list], symbol: str, nodes: tuple[int, ...], numbers: Sequence[float]) -> None:
        rows["symbols"].append(self.vocabulary.symbol_id(symbol))
        rows["nodes"].append((*nodes[:MAX_STEP_NODES], *([-1] * (MAX_STEP_NODES - len(nodes)))))
        rows["numbers"].append(number_features(numbers))

    def finish(self) -> StepTable:
        def arrays(rows: dict[str, list]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            count = len(rows["symbols"])
            return (
                np.array(rows["symbols"], np.int64).reshape(count),
                np.array(rows["nodes"], np.int64).reshape(count, MAX_STEP_NODES),
                np.array(rows["numbers"], np.float32).reshape(count, NUMBER_FEATURES),
            )

        return StepTable(*arrays(self.rows), np.array(self.rows["fixed"], np.int64).reshape(-1, 2), *arrays(self.fixed))


def encode_space(space: DesignSpace, graph: ProgramGraph, vocabulary: Vocabulary) -> EncodedSpace:
    """A design space of a program as a table of steps.

    Raises:
        IllegalActionError: an action has arguments of another shape than its kind has.
    """
    steps = read_steps(space.template, graph)
    builder = _TableBuilder(vocabulary)
    offsets, start = [], 0
    domain_of = {domain.action: domain for domain in space.domains}
    for i, step in enumerate(steps):
        domain = domain_of.get(i)
        if domain is None:
            builder.add_fixed(step)
            continue
        end = len(builder.fixed["symbols"])
        offsets.append(len(builder.rows["symbols"]))
        for option in domain.options:
            builder.add(step.symbol, step.nodes, numbers_of(space.template.actions[i], option), (start, end))
        start = end
    offsets.append(len(builder.rows["symbols"]))
    builder.add("", (), (), (start, len(builder.fixed["symbols"])))
    nest = loop_nest(space, graph)
    return EncodedSpace(space, builder.finish(), np.array(offsets, np.int64), nest, vocabulary.has_bindings)


def observed_space(traces: Sequence[Trace]) -> tuple[DesignSpace, np.ndarray]:
    """The smallest space that holds some traces of one design space.

    Args:
        traces: with equal `space_id`, at least one.

    Returns:
        The space and the traces' points [N, T - 1] int64.
    """
    actions = [i for i, _ in traces[0].decisions]
    options: list[dict] = [{} for _ in actions]
    points = np.zeros((len(traces), len(actions)), np.int64)
    for n, trace in enumerate(traces):
        for k, i in enumerate(actions):
            points[n, k] = options[k].setdefault(trace.actions[i].decision, len(options[k]))
    return DesignSpace(traces[0], tuple(Domain(i, tuple(o)) for i, o in zip(actions, options))), points


@dataclass(frozen=True)
class EncodedTask:
    """Trajectories of one task as arrays.

    Attributes:
        graph: the program.
        hardware: [HARDWARE_FEATURES] float32.
        tables: step tables of the design spaces.
        ids: for each space, [n, T] rows of its table; the n add up to N over the spaces.
        nests: for each space, [n, width of the symbolic state].
    """

    graph: GraphArrays
    hardware: np.ndarray
    tables: tuple[StepTable, ...]
    ids: tuple[np.ndarray, ...]
    nests: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Batch:
    """Several tasks, concatenated; arrays are as in their classes, with indices shifted.

    Attributes:
        graph: all programs as one graph without edges between them.
        program_of_node: [V] int64.
        hardware: [G, HARDWARE_FEATURES].
        table: all steps.
        ids: for each group of trajectories of one length, [n, T].
        program_of: for each group, [n] int64.
        nests: for each group, [n, width of the symbolic state].
    """

    graph: GraphArrays
    program_of_node: np.ndarray
    hardware: np.ndarray
    table: StepTable
    ids: tuple[np.ndarray, ...]
    program_of: tuple[np.ndarray, ...]
    nests: tuple[np.ndarray, ...]


def collate(tasks: Sequence[EncodedTask]) -> Batch:
    """Concatenates tasks; the order of trajectories is by task, then by space, then by row."""
    nodes = np.cumsum([0] + [len(t.graph.kinds) for t in tasks])
    graph = GraphArrays(
        np.concatenate([t.graph.kinds for t in tasks]),
        np.concatenate([t.graph.features for t in tasks]),
        np.concatenate([t.graph.edges + n for t, n in zip(tasks, nodes)], 1),
        np.concatenate([t.graph.edge_kinds for t in tasks]),
        np.concatenate([t.graph.edge_features for t in tasks]),
    )
    tables = [(table, n) for t, n in zip(tasks, nodes) for table in t.tables]
    steps = np.cumsum([0] + [len(table.symbols) for table, _ in tables])
    fixed = np.cumsum([0] + [len(table.fixed_symbols) for table, _ in tables])

    def shifted(rows: np.ndarray, by: int) -> np.ndarray:
        return np.where(rows >= 0, rows + by, -1)

    table = StepTable(
        np.concatenate([t.symbols for t, _ in tables]),
        np.concatenate([shifted(t.nodes, n) for t, n in tables]),
        np.concatenate([t.numbers for t, _ in tables]),
        np.concatenate([t.fixed + f for (t, _), f in zip(tables, fixed)]),
        np.concatenate([t.fixed_symbols for t, _ in tables]),
        np.concatenate([shifted(t.fixed_nodes, n) for t, n in tables]),
        np.concatenate([t.fixed_numbers for t, _ in tables]),
    )
    ids = [rows for t in tasks for rows in t.ids]
    program = [np.full(len(rows), g) for g, t in enumerate(tasks) for rows in t.ids]
    return Batch(
        graph, np.repeat(np.arange(len(tasks)), np.diff(nodes)), np.stack([t.hardware for t in tasks]), table,
        tuple(rows + s for rows, s in zip(ids, steps)), tuple(program), tuple(nest for t in tasks for nest in t.nests),
    )  # fmt: skip
