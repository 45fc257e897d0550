"""Simulated annealing over pass sequences: one random walk, which takes steps for the worse less and less often."""

from __future__ import annotations

import math
from collections.abc import Iterable

from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.tuning.search import SearchStrategy


class Annealing(SearchStrategy):
    """Walks from where it stands to neighbours."""

    name = "annealing"
    _here = BASELINE
    _temperature = 0.2

    def suggest(self, num: int) -> list[PassSequence]:
        """Neighbours of where the walk stands."""
        return self._fresh(num, lambda: self._moves.mutate(self._here)[0])

    def observe(self, costs: Iterable[tuple[PassSequence, float]]) -> None:
        """Walks on to what is better, or little worse by chance."""
        costs = list(costs)
        super().observe(costs)
        for sequence, cost in costs:
            worse = cost - self.costs[self._here]
            if worse <= 0 or self._rng.random() < math.exp(-worse / self._temperature):
                self._here = sequence
            self._temperature *= 0.95
