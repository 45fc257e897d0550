"""Search strategies, written once for every domain: all suggest what to measure next, and learn of what was measured.

A strategy is asked (`suggest`) and told (`observe`), and changes candidates by the `Moves` of its domain, which alone
know what a candidate is: `random`, `mutate`, `cross`. Moves work on points: for sequences of passes the sequence
itself, for schedules the answers to the forks of a template; `decode` makes a candidate of a point, or says that there
is none.

Costs are lower when better, relative to the baseline, whose cost is 1; what failed costs infinitely much.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from collections.abc import Sequence as Many
from typing import Any, Generic, TypeVar

import numpy as np

Candidate = TypeVar("Candidate", bound=Hashable)
Ranker = Callable[[Many[Any]], np.ndarray]
"""Scores of candidates for one program, [N]; higher is better."""

FAR, NEAR = 6, 4  # moves away from the baseline, at most
_CROSSES, _MOVES_TWICE = 0.4, 0.35  # shares of the children
_LEAST_PARENTS = 4  # below that, chance finds more than breeding


class Moves(ABC, Generic[Candidate]):
    """How the candidates of a domain change. Three verbs must be there; what else a domain may know of its candidates
    can be left as it is.

    Args:
        rng: all that is drawn comes from it; strategies draw from it, too.
        base: the baseline.

    Attributes:
        tries: drawings for each candidate that is asked for.
    """

    tries = 40

    def __init__(self, rng: np.random.Generator, base: Candidate) -> None:
        self.rng, self.base = rng, base

    @abstractmethod
    def random(self, most: int = FAR) -> Any:
        """A point by chance, so many moves away from the baseline at most, where there are such moves."""

    @abstractmethod
    def mutate(self, point: Any) -> tuple[Any, str]:
        """(a neighbour of a point, the kind of the move; empty where nothing is learned of kinds)."""

    @abstractmethod
    def cross(self, one: Any, other: Any) -> Any:
        """A child of two points."""

    # -- points that are no candidates ---------------------------------------------------------------

    def decode(self, point: Any) -> Candidate | None:
        """The candidate at a point; None where that is illegal."""
        return point

    def encode(self, candidate: Candidate) -> Any | None:
        """The point of a candidate; None where it is not known, so that the candidate is no parent."""
        return candidate

    # -- what may be known of candidates -------------------------------------------------------------

    def first(self) -> Any | None:
        """The point that experience would try first; None where there is no such thing."""
        return None

    def steps(self, candidate: Candidate) -> list[Any]:
        """All single steps from a candidate, for the greedy search; without any it goes by chance."""
        return []

    def take(self, candidate: Candidate, step: Any) -> Any | None:
        """The point one step further; None where the step does not fit."""
        return None

    def reward(self, kind: str, gain: float) -> None:
        """Learns what a move of a kind brought: the share of its parent's cost that it saved, 0 if none."""

    def singles(self) -> list[Candidate]:
        """Candidates that a search that ranks should always look at."""
        return []

    def essence(self, candidate: Candidate) -> Candidate:
        """A candidate without what is known to change nothing."""
        return candidate

    def are_alike(self, one: Candidate, other: Candidate) -> bool:
        """Whether measuring both at once would teach little."""
        return False


class SearchStrategy(ABC, Generic[Candidate]):
    """Suggests candidates for one program.

    Args:
        moves: of the domain.

    Attributes:
        costs: of what was measured.
        openings: what is suggested before anything else, in order.
        repeats: candidates whose code was measured before, so that they were not measured themselves.
        ideas: somebody's, which a search that ranks compares with its own candidates.
        rank: the model, where the search has one.
        num_ranked: candidates that it ranked.
    """

    name = "abstract"
    num_ranked = 0
    rank: Ranker | None = None

    def __init__(self, moves: Moves[Candidate]) -> None:
        self._moves, self._rng = moves, moves.rng
        self.costs: dict[Candidate, float] = {moves.base: 1.0}
        self.openings: list[Candidate] = []
        self.ideas: list[Candidate] = []
        self.repeats: set[Candidate] = set()
        self._suggested: set[Candidate] = set()

    @abstractmethod
    def suggest(self, num: int) -> list[Candidate]:
        """So many candidates that were not suggested before, or fewer if there are no more."""

    def next_batch(self, num: int) -> list[Candidate]:
        """The openings that are left, then what it suggests."""
        opening: list[Candidate] = []
        while self.openings and len(opening) < num:
            candidate = self.openings.pop(0)
            if candidate not in self.costs:
                opening.append(candidate)
        more = self.suggest(num - len(opening)) if len(opening) < num else []
        return [*opening, *(candidate for candidate in more if candidate not in opening)]

    def observe(self, costs: Iterable[tuple[Candidate, float]]) -> None:
        """Learns what candidates cost."""
        self.costs.update(costs)

    def look_further(self, tuned_secs: float) -> None:
        """Lets what goes on beside the search, such as a screening, go on.

        Args:
            tuned_secs: that the run took so far.
        """

    def order(self, candidates: Many[Candidate]) -> list[Candidate]:
        """Somebody's ideas in the order in which they should be tried; by chance, where nothing is known of them."""
        return [candidates[i] for i in self._rng.permutation(len(candidates))]

    def is_new(self, candidate: Candidate) -> bool:
        """Whether it was neither measured nor suggested."""
        return candidate not in self.costs and candidate not in self._suggested

    def _fresh(self, num: int, draw: Callable[[], Any]) -> list[Candidate]:
        """So many distinct new candidates at points that are drawn, as far as some tries give them."""
        found: dict[Candidate, None] = {}
        for _ in range(self._moves.tries * num):
            if len(found) == num:
                break
            point = draw()
            candidate = None if point is None else self._moves.decode(point)
            if candidate is not None and self.is_new(candidate):
                found[candidate] = None
        return list(found)

    def _told(self, candidates: list[Candidate]) -> list[Candidate]:
        """Notes what is suggested."""
        self._suggested.update(candidates)
        return candidates

    def _best(self, num: int) -> list[Candidate]:
        """The best of those whose points are known."""
        finite = [
            (cost, i, candidate)
            for i, (candidate, cost) in enumerate(self.costs.items())
            if math.isfinite(cost) and self._moves.encode(candidate) is not None
        ]
        return [candidate for _, _, candidate in sorted(finite, key=lambda row: row[:2])[:num]]


class RandomSearch(SearchStrategy[Candidate]):
    """Random candidates, each time anew."""

    name = "random"

    def suggest(self, num: int) -> list[Candidate]:
        """Random candidates."""
        return self._told(self._fresh(num, lambda: self._moves.random(FAR)))


class _FromTheBest(SearchStrategy[Candidate]):
    """Searches that begin with what experience would try first, and go on from the best."""

    def __init__(self, moves: Moves[Candidate], **options: Any) -> None:
        super().__init__(moves, **options)
        self._begun = False
        self._first: Candidate | None = None

    def _begin(self, most: int) -> Any:
        """The first point; then, or where it is illegal, one by chance."""
        if not self._begun:
            self._begun = True
            point = self._moves.first()
            self._first = None if point is None else self._moves.decode(point)
            if self._first is not None:
                return point
        return self._moves.random(most)


class GreedySearch(_FromTheBest[Candidate]):
    """One step at a time, in random order, from the best so far; by chance where no step is left."""

    name = "greedy"

    def __init__(self, moves: Moves[Candidate]) -> None:
        super().__init__(moves)
        self._left: list[Any] = []
        self._around: tuple[Candidate, list[Any]] | None = None  # whose steps were drawn last, and these

    def suggest(self, num: int) -> list[Candidate]:
        """The best so far and one step more."""
        return self._told(self._fresh(num, self._neighbour))

    def _neighbour(self) -> Any | None:
        best = next(iter(self._best(1)), None)
        if best is None:
            return self._begin(FAR)
        if not self._left:
            steps = self._moves.steps(best)
            if not steps or (best, steps) == self._around:
                return self._moves.random(FAR)
            self._around = best, steps
            self._left = [steps[i] for i in self._rng.permutation(len(steps))]
        return self._moves.take(best, self._left.pop())


class GeneticSearch(_FromTheBest[Candidate]):
    """A steady population of the best, tournaments, crossover, and mutations; those of kinds that paid come again.

    Args:
        moves: of the domain.
        population: how many of the best are parents.
        least_parents: with fewer, chance suggests.
        strangers: share of the children that are drawn by chance, or are the best with a mutation.
    """

    name = "genetic"

    def __init__(
        self,
        moves: Moves[Candidate],
        population: int = 12,
        least_parents: int = _LEAST_PARENTS,
        strangers: float = 0.0,
    ) -> None:
        super().__init__(moves)
        self._population, self._least_parents = population, min(least_parents, population)
        self._strangers = strangers
        self._origin: dict[Candidate, tuple[Candidate, str]] = {}  # child -> (parent, kind of the move)

    def suggest(self, num: int) -> list[Candidate]:
        """Children of the best; random ones while there are few."""
        return self._told(self._children(num))

    def observe(self, costs: Iterable[tuple[Candidate, float]]) -> None:
        """Learns costs, and which kinds of moves made things better."""
        costs = list(costs)
        super().observe(costs)
        for candidate, cost in costs:
            parent, kind = self._origin.pop(candidate, (None, ""))
            if parent is not None:
                gain = max(0.0, 1.0 - cost / self.costs[parent]) if math.isfinite(cost) else 0.0
                self._moves.reward(kind, gain)

    def _children(self, num: int) -> list[Candidate]:
        def draw() -> Any:
            parents = self._best(self._population)  # drawing may make known how a stored candidate comes about
            if not parents:
                return self._begin(NEAR)
            if len(parents) < self._least_parents or (self._strangers and self._rng.random() < self._strangers):
                return self._stranger(parents[0])
            return self._child(parents)

        return self._fresh(num, draw)

    def _stranger(self, best: Candidate) -> Any:
        if self._strangers and self._rng.random() >= 0.5:
            return self._mutated(self._moves.encode(best))[0]
        return self._moves.random(NEAR)

    def _child(self, parents: Many[Candidate]) -> Any:
        parent = self._tournament(parents)
        point = self._moves.encode(parent)
        if self._rng.random() < _CROSSES:
            point = self._moves.cross(point, self._moves.encode(self._tournament(parents)))
        point, kind = self._mutated(point)
        if kind and (child := self._moves.decode(point)) is not None:
            self._origin[child] = (parent, kind)
        return point

    def _mutated(self, point: Any) -> tuple[Any, str]:
        """(the point after a move or two, the first kind that one of them had)."""
        kind = ""
        for _ in range(1 + int(self._rng.random() < _MOVES_TWICE)):
            point, followed = self._moves.mutate(point)
            kind = kind or followed
        return point, kind

    def _tournament(self, parents: Many[Candidate]) -> Candidate:
        return parents[int(min(self._rng.integers(len(parents), size=2)))]


class RankedSearch(GeneticSearch[Candidate]):
    """The genetic search with many children, of which a model picks those to be measured.

    Args:
        moves: of the domain.
        rank: the model, for this program.
        children: for each one that is measured.
        by_chance: candidates drawn by chance for each one that is measured.
        explores: share of the picks that is drawn from the children by chance, so that what the model does not believe
            in has its turn, too.
        options: of `GeneticSearch`.
    """

    name = "ranked"
    rank: Ranker

    def __init__(
        self,
        moves: Moves[Candidate],
        rank: Ranker,
        children: int = 32,
        by_chance: int = 32,
        explores: float = 0.25,
        **options: Any,
    ) -> None:
        super().__init__(moves, **options)
        self.rank = self._rank = rank
        self._num_children, self._num_by_chance, self._explores = children, by_chance, explores

    def order(self, candidates: Many[Candidate]) -> list[Candidate]:
        """The ideas that the model likes best come first."""
        return self._ranked(candidates) if candidates else []

    def suggest(self, num: int) -> list[Candidate]:
        """The children that the model likes best, no two of them alike; in the beginning what experience would try,
        whatever the model says.
        """
        children = self._children(self._num_children * num)
        strangers = self._fresh(self._num_by_chance * num, lambda: self._moves.random(NEAR))
        others = [candidate for candidate in (*self._moves.singles(), *self.ideas) if self.is_new(candidate)]
        pool = self._distinct((*children, *strangers, *others))
        if len(pool) <= num:
            return self._told(pool)
        order = self._ranked(pool)
        picked = [self._first] if self._first in pool and len(self.costs) == 1 else []
        for candidate in order:
            if len(picked) == num:
                break
            if self._explores and self._rng.random() < self._explores:  # as the genetic search alone would
                candidate = (children or pool)[self._rng.integers(len(children or pool))]
            if candidate not in picked and not any(self._moves.are_alike(candidate, other) for other in picked):
                picked.append(candidate)
        return self._told(picked + [c for c in order if c not in picked][: num - len(picked)])

    def _ranked(self, candidates: Many[Candidate]) -> list[Candidate]:
        self.num_ranked += len(candidates)
        return [candidates[i] for i in np.argsort(-np.asarray(self._rank(candidates)), kind="stable")]

    def _distinct(self, candidates: Many[Candidate]) -> list[Candidate]:
        """New ones without what changes nothing, so that nothing is suggested for its sake."""
        known = set(map(self._moves.essence, self.costs))
        return [c for c in dict.fromkeys(map(self._moves.essence, candidates)) if c not in known and self.is_new(c)]


STRATEGIES: dict[str, type[SearchStrategy[Any]]] = {
    strategy.name: strategy for strategy in (RandomSearch, GreedySearch, GeneticSearch)
}
"""By name, those that need the moves of a domain alone."""
