"""Traces as vectors of one length: a bag of actions, and the numbers of the decisions.

Dimension letters: N candidates, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.rivals.action_sequences import rows_by_space, symbols_of
from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.schedules.actions import MAX_NUMBERS, numbers_of, read_steps
from foretune.task import Candidate, Task

_MAX_DECISIONS = 12


@dataclass(frozen=True)
class ActionBags:
    """The layout of the vectors.

    Attributes:
        symbols: the operations that are counted.
    """

    symbols: tuple[str, ...]

    @classmethod
    def of(cls, groups: Sequence[Group]) -> ActionBags:
        """A layout with all operations of some groups."""
        return cls(symbols_of((g.task, g.candidates) for g in groups))

    def table(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Vectors of candidates of one task.

        For each symbol: its count, and the sum of the logarithms of its numbers. For each of the first 12 decisions:
        the logarithms of its numbers. For each place of a tile counted from the innermost loop: log of the tiles'
        product.

        Returns:
            [N, F] float32.
        """
        at = {symbol: i for i, symbol in enumerate(self.symbols)}
        counts = np.zeros((len(candidates), len(at)), np.float32)
        sums = np.zeros((len(candidates), len(at)), np.float32)
        decided = np.zeros((len(candidates), _MAX_DECISIONS, MAX_NUMBERS), np.float32)
        tiles = np.zeros((len(candidates), 2, MAX_NUMBERS), np.float32)  # of two factors (reduction, mostly), of more
        for rows in rows_by_space(candidates):
            template = candidates[rows[0]].trace
            columns = [at.get(step.symbol, -1) for step in read_steps(template, task.workload.graph)]
            for action, column in zip(template.actions, columns):
                if column >= 0:
                    counts[rows, column] += 1
                    if action.decision is None:
                        sums[rows, column] += _logs(numbers_of(action, None)).sum()
            for i in rows:
                for order, (a, decision) in enumerate(candidates[i].trace.decisions):
                    logs = _logs(numbers_of(template.actions[a], decision))
                    if order < _MAX_DECISIONS:
                        decided[i, order, : len(logs)] = logs
                    if isinstance(decision, tuple):
                        tiles[i, int(len(logs) > 2), : len(logs)] += logs[::-1]
                    elif columns[a] >= 0:
                        sums[i, columns[a]] += logs.sum()
        return np.concatenate(
            [counts, sums, decided.reshape(len(candidates), -1), tiles.reshape(len(candidates), -1)], 1
        )


def _logs(numbers: Sequence[float]) -> np.ndarray:
    x = np.array(numbers, np.float64)
    return np.sign(x) * np.log2(1 + np.abs(x))
