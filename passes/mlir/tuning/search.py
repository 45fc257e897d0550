"""Search strategies over schedules: all answer the forks of a template, and learn of what was measured.

Costs are lower when better, relative to the default lowering, whose cost is 1; what failed costs infinitely much.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from typing import Any

import numpy as np

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template

Ranker = Callable[[Many[Schedule]], np.ndarray]
"""Scores of schedules for one program, [N]; higher is better."""

_TRIES = 30  # drawings for each schedule that is asked for


_SHOWN_CHARS = 160


class MlirSearch(ABC):
    """Suggests schedules for one program.

    Args:
        template: of the program.
        seed: of all that is drawn.

    Attributes:
        costs: of what was measured.
        answers: schedule -> fork -> the answer that led to it.
        domains: fork -> its answers, as far as forks were met.
        illegal: why answers led to no schedule -> how often.
        ideas: somebody's, which a search that ranks compares with its own candidates.
        rank: the model, where the search has one.
    """

    name = "abstract"
    rank: Ranker | None = None

    def __init__(self, template: Template, seed: int = 0) -> None:
        self._template = template
        self._rng = np.random.default_rng(seed)
        self.costs: dict[Schedule, float] = {Schedule(): 1.0}
        self.answers: dict[Schedule, dict[str, Any]] = {}
        self.domains: dict[str, tuple[Any, ...]] = {}
        self.illegal: Counter[str] = Counter()
        self._suggested: set[Schedule] = set()
        self.ideas: list[Schedule] = []

    @abstractmethod
    def suggest(self, num: int) -> list[Schedule]:
        """So many schedules that were not suggested before, or fewer if there are no more."""

    def observe(self, costs: Iterable[tuple[Schedule, float]]) -> None:
        """Learns what schedules cost."""
        self.costs.update(costs)

    @property
    def num_answers(self) -> int:
        """Combinations of answers to the forks that were met, which bounds the number of schedules."""
        return math.prod(len(answers) for answers in self.domains.values())

    # -- drawing -----------------------------------------------------------------------------------

    def _make(self, answer: Callable[[str, Many[Any]], Any]) -> Schedule | None:
        """The schedule of some answers; None where they lead to something illegal."""
        given: dict[str, Any] = {}

        def choose(name: str, answers: Many[Any]) -> Any:
            self.domains[name] = tuple(answers)
            given[name] = answer(name, answers)
            return given[name]

        try:
            schedule = self._template.schedule(choose)
        except IllegalActionError as error:
            self.illegal[str(error)[:_SHOWN_CHARS]] += 1
            return None
        self.answers.setdefault(schedule, given)
        return schedule

    def _first(self) -> Schedule | None:
        """The schedule of the most promising answers."""
        return self._make(lambda name, answers: answers[0])

    def _random(self) -> Schedule | None:
        return self._make(lambda name, answers: answers[int(self._rng.integers(len(answers)))])

    def _from(self, answers: dict[str, Any]) -> Schedule | None:
        """The schedule of known answers, with the most promising ones where none is known or fits."""
        return self._make(lambda name, known: answers[name] if answers.get(name, _NONE) in known else known[0])

    def _fresh(self, num: int, draw: Callable[[], Schedule | None]) -> list[Schedule]:
        found: list[Schedule] = []
        for _ in range(_TRIES * num):
            if len(found) == num:
                break
            schedule = draw()
            if schedule is not None and schedule not in self.costs and schedule not in self._suggested:
                self._suggested.add(schedule)
                found.append(schedule)
        return found

    def _best(self, num: int) -> list[Schedule]:
        """The best of those whose answers are known."""
        finite = [
            (cost, i, s) for i, (s, cost) in enumerate(self.costs.items()) if math.isfinite(cost) and s in self.answers
        ]
        return [s for _, _, s in sorted(finite)[:num]]


_NONE = object()


class MlirRandom(MlirSearch):
    """Random answers, each time anew."""

    name = "random"

    def suggest(self, num: int) -> list[Schedule]:
        """Random schedules."""
        return self._fresh(num, self._random)


class MlirGreedy(MlirSearch):
    """One answer at a time: the best so far, with another answer at one fork, in random order; random schedules where
    no such step is left.
    """

    name = "greedy"

    def __init__(self, template: Template, seed: int = 0) -> None:
        super().__init__(template, seed)
        self._left: list[tuple[str, Any]] = []
        self._around: Schedule | None = None  # whose neighbours were drawn last

    def suggest(self, num: int) -> list[Schedule]:
        """The most promising answers at first, then neighbours of the best."""
        return self._fresh(num, self._neighbour)

    def _neighbour(self) -> Schedule | None:
        best = self._best(1)
        if not best:
            return (
                None if self._suggested else self._first()
            ) or self._random()  # the most promising answers may be illegal
        answers = self.answers[best[0]]
        if not self._left:
            if best[0] == self._around:
                return self._random()
            self._around = best[0]
            pairs = [(name, value) for name in answers for value in self.domains[name]]
            self._left = [pairs[i] for i in self._rng.permutation(len(pairs))]
        name, value = self._left.pop()
        return self._from({**answers, name: value}) if name in answers else None


class MlirGenetic(MlirSearch):
    """A steady population of the best, tournaments, crossover of answers, and mutations of one or two of them.

    Args:
        population: how many of the best are parents.
    """

    name = "genetic"

    def __init__(self, template: Template, seed: int = 0, population: int = 10) -> None:
        super().__init__(template, seed)
        self._population = population

    def suggest(self, num: int) -> list[Schedule]:
        """Children of the best; neighbours of the most promising answers while there are few."""
        return self._fresh(num, self._child)

    def _child(self) -> Schedule | None:
        parents = self._best(self._population)
        if not parents:
            return (
                None if self._suggested else self._first()
            ) or self._random()  # the most promising answers may be illegal
        if len(parents) < 4 or self._rng.random() < 0.1:
            return self._random() if self._rng.random() < 0.5 else self._mutated(self.answers[parents[0]])
        answers = self.answers[self._tournament(parents)]
        if self._rng.random() < 0.4:
            other = self.answers[self._tournament(parents)]
            answers = {
                name: (value if self._rng.random() < 0.5 else other.get(name, value)) for name, value in answers.items()
            }
        return self._mutated(answers)

    def _mutated(self, answers: dict[str, Any]) -> Schedule | None:
        changed = dict(answers)
        names = [name for name in answers if len(self.domains.get(name, ())) > 1]
        for _ in range(1 + int(self._rng.random() < 0.35)):
            if names:
                name = names[self._rng.integers(len(names))]
                domain = self.domains[name]
                changed[name] = domain[self._rng.integers(len(domain))]
        return self._from(changed)

    def _tournament(self, parents: Many[Schedule]) -> Schedule:
        return parents[int(min(self._rng.integers(len(parents), size=2)))]


class MlirRanked(MlirGenetic):
    """The genetic search with many children, of which a model picks those to be measured.

    Args:
        rank: the model, for this program.
        children: for each one that is measured.
    """

    name = "ranked"
    rank: Ranker

    def __init__(
        self, template: Template, rank: Ranker, seed: int = 0, population: int = 10, children: int = 6
    ) -> None:
        super().__init__(template, seed, population)
        self.rank = rank
        self._children = children

    def suggest(self, num: int) -> list[Schedule]:
        """The children that the model likes best; at the beginning, the most promising answers, too."""
        children = self._fresh(self._children * num, self._child)
        pool = list(
            dict.fromkeys(
                (*children, *(idea for idea in self.ideas if idea not in self.costs and idea not in self._suggested))
            )
        )
        if len(pool) <= num:
            self._suggested.update(pool)
            return pool
        order = [pool[i] for i in np.argsort(-np.asarray(self.rank(pool)), kind="stable")]
        sure = pool[:1] if len(self.costs) == 1 else []  # at first the most promising answers, whatever the model says
        picked = [*sure, *(schedule for schedule in order if schedule not in sure)][:num]
        self._suggested = (self._suggested - set(pool)) | set(picked)
        return picked


STRATEGIES = {strategy.name: strategy for strategy in (MlirRandom, MlirGreedy, MlirGenetic)}
"""By name, those that need no model."""
