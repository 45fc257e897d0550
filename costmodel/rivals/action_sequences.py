"""Traces as sequences of tokens, a token for each action, without looking at the program.

A token has the action's symbol, its numbers (of the decision, or else its constants) and what its inputs refer to: how
many actions ago each was made and which of that action's outputs it is. That is what TLP takes from a schedule
primitive (type, numbers, names), with names as back references so that they mean the same in every program
(Zhai et al., TLP: A Deep Learning-based Cost Model for Tensor Program Tuning, 2023).

Actions without a decision are the same for all traces of a design space: they are encoded once for each space.

Dimension letters: N candidates, T actions, F features.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from foretune.costmodel.schedules.actions import MAX_NUMBERS, numbers_of, read_steps
from foretune.task import Candidate, Task
from foretune.trace import Trace, Value

_MAX_REFERENCES = 10
NUM_FEATURES = 3 * MAX_NUMBERS + 2 * _MAX_REFERENCES


def symbols_of(tasks: Iterable[tuple[Task, Sequence[Candidate]]]) -> tuple[str, ...]:
    """All symbols that occur in some traces, sorted."""
    found: set[str] = set()
    for task, candidates in tasks:
        for rows in rows_by_space(candidates):
            found.update(step.symbol for step in read_steps(candidates[rows[0]].trace, task.workload.graph))
    return tuple(sorted(found))


def rows_by_space(candidates: Sequence[Candidate]) -> Iterator[list[int]]:
    """Row numbers of the candidates of each design space."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, candidate in enumerate(candidates):
        rows[candidate.trace.space_id].append(i)
    yield from rows.values()


def encode_sequences(
    task: Task, candidates: Sequence[Candidate], symbols: dict[str, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tokens of each candidate.

    Args:
        task: their task.
        candidates: of one task.
        symbols: symbol -> id; a symbol that is not in it gets 0.

    Returns:
        For each candidate (symbol ids [T] int64, features [T, NUM_FEATURES] float32).
    """
    tokens: list = [None] * len(candidates)
    for rows in rows_by_space(candidates):
        template = candidates[rows[0]].trace
        ids = np.array([symbols.get(step.symbol, 0) for step in read_steps(template, task.workload.graph)], np.int64)
        common = _template_features(template)
        for i in rows:
            features = common.copy()
            trace = candidates[i].trace
            for at, decision in trace.decisions:
                features[at, : 3 * MAX_NUMBERS] = _number_features(numbers_of(trace.actions[at], decision))
            tokens[i] = (ids, features)
    return tokens


def _template_features(trace: Trace) -> np.ndarray:
    made: dict[Value, tuple[int, int]] = {}
    out = np.zeros((len(trace), NUM_FEATURES), np.float32)
    for t, action in enumerate(trace.actions):
        out[t, : 3 * MAX_NUMBERS] = _number_features(numbers_of(action, action.decision))
        references = [made[v] for v in action.inputs if isinstance(v, str) and v in made][:_MAX_REFERENCES]
        for r, (maker, output) in enumerate(references):
            out[t, 3 * MAX_NUMBERS + 2 * r] = np.log2(1 + t - maker) / 4
            out[t, 3 * MAX_NUMBERS + 2 * r + 1] = (1 + output) / 4
        made.update({name: (t, i) for i, name in enumerate(action.outputs)})
    return out


def _number_features(numbers: Sequence[float]) -> np.ndarray:
    """Logarithms, running products from the last number back, and which numbers are there; [3 * MAX_NUMBERS]
    float32.
    """
    out = np.zeros((3, MAX_NUMBERS), np.float32)
    if numbers:
        x = np.array(numbers[:MAX_NUMBERS], np.float64)
        out[0, : len(x)] = np.sign(x) * np.log2(1 + np.abs(x)) / 4
        out[1, : len(x)] = np.cumsum(np.log2(np.maximum(1.0, np.abs(x)))[::-1])[::-1] / 4
        out[2, : len(x)] = 1.0
    return out.reshape(-1)
