"""Sequences of compiler passes as arrays: each pass is rolled, and the symbolic state tells the program and what is
done to it.

Dimension letters: N traces, T steps, U distinct steps, S width of the symbolic state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from foretune.costmodel.latent.encoding import (
    MAX_NODE_FEATURES,
    MAX_STEP_NODES,
    NUMBER_FEATURES,
    EncodedTask,
    StepTable,
    Vocabulary,
    encode_graph,
    encode_hardware,
    symlog,
)
from foretune.program import ProgramGraph
from foretune.task import Task
from foretune.trace import Action, Trace, Value

_DEEPEST = 4.0
_PER_KIND = 2 * MAX_NODE_FEATURES + 1


class PassTraces:
    """Reads passes and flags: an operation with options, or a named flag with a decision.

    The symbolic state is, for each kind of node, how many there are, the sums of their features, and the same sums with
    nodes in loops counting ten times for each level, then for each known symbol how often it occurs, or the number that
    a flag was given.
    """

    def vocabulary(self, traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All kinds of nodes and edges, and all symbols of passes, options and flags."""
        node_kinds: set[str] = set()
        edge_kinds: set[str] = set()
        symbols: set[str] = set()
        seen: set[int] = set()
        for trace, graph in traces:
            symbols.update(symbol for action in trace.actions for symbol, _ in _symbols(action))
            if id(graph) not in seen:
                seen.add(id(graph))
                node_kinds.update(node.kind for node in graph.nodes)
                edge_kinds.update(edge.kind for edge in graph.edges)
        return Vocabulary(tuple(sorted(node_kinds)), tuple(sorted(edge_kinds)), tuple(sorted(symbols)))

    def state_width(self, vocabulary: Vocabulary) -> int:
        """S."""
        return _PER_KIND * len(vocabulary.node_kinds) + len(vocabulary.symbols)

    def encode(self, task: Task, traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[EncodedTask, list[int]]:
        """Traces by length; one table of steps serves them all."""
        index = {symbol: i for i, symbol in enumerate(vocabulary.symbols)}
        rows: dict[Action | None, int] = {None: 0}  # the end, so that no trace is empty
        by_length: dict[int, list[int]] = defaultdict(list)
        for i, trace in enumerate(traces):
            by_length[len(trace)].append(i)
            for action in trace.actions:
                rows.setdefault(action, len(rows))
        program = _program_state(task.workload.graph, vocabulary)
        ids, nests = [], []
        for members in by_length.values():
            ids.append(np.array([[*(rows[action] for action in traces[i].actions), 0] for i in members], np.int64))
            bags = np.stack([_bag(traces[i], index) for i in members])
            nests.append(
                np.concatenate([np.broadcast_to(program, (len(members), len(program))), bags], 1).astype(np.float32)
            )
        table = _table(list(rows), index)
        encoded = EncodedTask(
            encode_graph(task.workload.graph, vocabulary),
            encode_hardware(task.target.hardware),
            (table,) * len(ids),
            tuple(ids),
            tuple(nests),
        )
        return encoded, [i for members in by_length.values() for i in members]


def _symbols(action: Action) -> list[tuple[str, float]]:
    """(symbol, number) of an action: of the operation, or the flag, and of each of its options; words are part of the
    symbol.
    """
    if action.op == "flag":
        return [_symbol(f"flag:{action.attrs[0]}", action.decision)]
    settings = cast("tuple[tuple[str, Value], ...]", action.attrs)
    return [(action.op, 1.0), *(_symbol(f"{action.op}:{name}", value) for name, value in settings)]


def _symbol(name: str, value: Value) -> tuple[str, float]:
    if isinstance(value, bool):
        return name, 1.0 if value else -1.0
    if isinstance(value, (int, float)):
        return name, float(symlog(np.asarray(value, np.float64))) + (1.0 if value >= 0 else -1.0)  # 0 is a setting, too
    return f"{name}={value}", 1.0


def _bag(trace: Trace, index: dict[str, int]) -> np.ndarray:
    bag = np.zeros(len(index))
    for action in trace.actions:
        for symbol, number in _symbols(action):
            if symbol in index:
                bag[index[symbol]] += number
    return bag


def _program_state(graph: ProgramGraph, vocabulary: Vocabulary) -> np.ndarray:
    parts = []
    for kind in vocabulary.node_kinds:
        features = np.zeros((0, MAX_NODE_FEATURES))
        if rows := [node.features for node in graph.nodes if node.kind == kind]:
            features = np.array([(*row, *([0.0] * (MAX_NODE_FEATURES - len(row)))) for row in rows])
        depth = np.minimum(features[:, :1], _DEEPEST) if kind == "block" else np.zeros((len(features), 1))
        parts.append(np.concatenate([[len(features)], features.sum(0), (features * 10.0**depth).sum(0)]))
    return symlog(np.concatenate(parts)) if parts else np.zeros(0)


def _table(actions: Sequence[Action | None], index: dict[str, int]) -> StepTable:
    """Each distinct action is a step; its options go with it as fixed actions, which are averaged."""
    symbols, numbers, fixed = [], [], []
    option_symbols = [0]  # one that no step has, so that tables with and without options are computed alike
    option_numbers = [_numbers(0.0)]
    for action in actions:
        parts = [] if action is None else _symbols(action)
        start = len(option_symbols)
        for symbol, number in parts[1:]:
            option_symbols.append(index.get(symbol, -1) + 1)
            option_numbers.append(_numbers(number))
        fixed.append((start, len(option_symbols)))
        symbols.append(index.get(parts[0][0], -1) + 1 if parts else 0)
        numbers.append(_numbers(parts[0][1] if parts else 0.0))

    def nodes(count: int) -> np.ndarray:
        return np.full((count, MAX_STEP_NODES), -1, np.int64)

    options = len(option_symbols)
    return StepTable(
        np.array(symbols, np.int64),
        nodes(len(symbols)),
        np.stack(numbers),
        np.array(fixed, np.int64).reshape(-1, 2),
        np.array(option_symbols, np.int64).reshape(options),
        nodes(options),
        np.array(option_numbers, np.float32).reshape(options, NUMBER_FEATURES),
    )


def _numbers(number: float) -> np.ndarray:
    out = np.zeros(NUMBER_FEATURES, np.float32)
    out[:3] = number / 4, number > 0, number < 0
    return out
