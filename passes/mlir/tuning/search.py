"""Search strategies over schedules: those of every domain, which answer the forks of a template.

Costs are lower when better, relative to the default lowering, whose cost is 1; what failed costs infinitely much.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.moves import Answers, Moves
from foretune.passes.mlir.tuning.winners import Winners
from foretune.tuning import search
from foretune.tuning.search import Ranker

_BRED: dict[str, Any] = {"population": 10, "strangers": 0.1}


class MlirSearch(search.SearchStrategy[Schedule]):
    """Suggests schedules for one program; a search of every domain becomes one of schedules by standing behind it.

    Args:
        template: of the program.
        seed: of all that is drawn.
        options: of the search of every domain.
    """

    _moves: Moves

    def __init__(self, template: Template, seed: int = 0, **options: Any) -> None:
        super().__init__(Moves(template, np.random.default_rng(seed)), **options)

    @property
    def answers(self) -> dict[Schedule, dict[str, Any]]:
        """Schedule -> fork -> the answer that led to it."""
        return self._moves.answers

    @property
    def operations(self) -> dict[Schedule, dict[str, str]]:
        """Schedule -> place -> operation that was scheduled there."""
        return self._moves.operations

    def told(self, schedule: Schedule) -> tuple[dict[str, str], dict[str, Any]]:
        """(place -> operation that was scheduled there, fork -> answer) of a schedule; nothing of one that is not
        known.
        """
        return self.operations.get(schedule, {}), self.answers.get(schedule, {})

    def open_with(self, winners: Winners, cpu: str) -> int:
        """Suggests first what was best for the module's operations elsewhere; how many answers that takes over."""
        first = self._moves.decode(self._moves.first())
        given = winners.opening(cpu, self.operations[first]) if first is not None else {}
        schedule = self._moves.decode(Answers(given)) if given else None
        if schedule is None:
            return 0
        self.openings.insert(0, schedule)
        return len(given)

    @property
    def domains(self) -> dict[str, tuple[Any, ...]]:
        """Fork -> its answers, as far as forks were met."""
        return self._moves.domains

    @property
    def illegal(self) -> Counter[str]:
        """Why answers led to no schedule -> how often."""
        return self._moves.illegal

    @property
    def num_answers(self) -> int:
        """Combinations of answers to the forks that were met, which bounds the number of schedules."""
        return self._moves.num_answers


class MlirRandom(MlirSearch, search.RandomSearch[Schedule]):
    """Random answers, each time anew."""


class MlirGreedy(MlirSearch, search.GreedySearch[Schedule]):
    """One answer at a time: the best so far, with another answer at one fork, in random order; random schedules where
    no such step is left.
    """


class MlirGenetic(MlirSearch, search.GeneticSearch[Schedule]):
    """A steady population of the best, tournaments, crossover of answers, and mutations of one or two of them."""

    def __init__(self, template: Template, seed: int = 0, **options: Any) -> None:
        super().__init__(template, seed, **{**_BRED, **options})


class MlirRanked(MlirSearch, search.RankedSearch[Schedule]):
    """The genetic search with many children, of which a model picks those to be measured.

    Args:
        template: of the program.
        rank: the model, for this program.
        seed: of all that is drawn.
        children: for each one that is measured.
    """

    def __init__(self, template: Template, rank: Ranker, seed: int = 0, children: int = 6, **options: Any) -> None:
        more = {**_BRED, "rank": rank, "children": children, "by_chance": 0, "explores": 0.0}
        super().__init__(template, seed, **{**more, **options})


STRATEGIES = {strategy.name: strategy for strategy in (MlirRandom, MlirGreedy, MlirGenetic)}
"""By name, those that need no model."""
