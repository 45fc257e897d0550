"""Search strategies over sequences: all suggest what to measure next, and learn of what was measured.

Costs are lower when better, relative to `-O3`, whose cost is 1; what failed costs infinitely much.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many

import numpy as np

from foretune.costmodel.planning.acquisition import expected_improvements
from foretune.passes.llvm.actions import FLAGS, INTENTS, PASSES, Flag, Pass, PassSequence
from foretune.passes.llvm.tables import usable_flags, usable_passes
from foretune.passes.llvm.tuning.changes import LEVELS, Change
from foretune.passes.llvm.tuning.moves import BASE, Moves, apply
from foretune.passes.llvm.tuning.screening import Screen, Screening
from foretune.support.optional import require

Ranker = Callable[[Many[PassSequence]], np.ndarray]
"""Scores of sequences for one program, [N]; higher is better."""


class SearchStrategy(ABC):
    """Suggests sequences for one program.

    Args:
        seed: of all that is drawn.
        polly: whether Polly may be used.
        screen: which steps change the program's code, where that is known.
        experimental: whether steps that are held back may be taken; see `tables`.

    Attributes:
        costs: of what was measured.
        openings: what is suggested before anything else, in order.
        screening: that goes on while the search does; None does without.
        repeats: sequences whose machine code was measured before, so that they were not measured themselves.
        ideas: somebody's, which a search that ranks compares with its own candidates.
        rank: the model, where the search has one.
    """

    name = "abstract"
    rank: Ranker | None = None

    def __init__(
        self, seed: int = 0, polly: bool = True, screen: Screen | None = None, experimental: bool = False
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._moves = Moves(self._rng, polly, screen=screen, experimental=experimental)
        self._polly, self._experimental = polly, experimental
        self.costs: dict[PassSequence, float] = {BASE: 1.0}
        self.openings: list[PassSequence] = []
        self.ideas: list[PassSequence] = []
        self.repeats: set[PassSequence] = set()
        self.screening: Screening | None = None

    @abstractmethod
    def suggest(self, num: int) -> list[PassSequence]:
        """So many sequences that were not suggested before, or fewer if there are no more."""

    def next_batch(self, num: int) -> list[PassSequence]:
        """The openings that are left, then what it suggests."""
        opening: list[PassSequence] = []
        while self.openings and len(opening) < num:
            sequence = self.openings.pop(0)
            if sequence not in self.costs:
                opening.append(sequence)
        more = self.suggest(num - len(opening)) if len(opening) < num else []
        return [*opening, *(sequence for sequence in more if sequence not in opening)]

    def follow(self, screening: Screening) -> None:
        """Keeps to what a screening finds, now and later."""
        self.screening, self._moves.screen = screening, screening.screen

    def look_further(self, tuned_secs: float) -> None:
        """Lets the screening go on.

        Args:
            tuned_secs: that the run took so far.
        """
        if self.screening is not None and self.screening.advance(tuned_secs):
            self.follow(self.screening)

    @property
    def _screen(self) -> Screen | None:
        return self._moves.screen

    def observe(self, costs: Iterable[tuple[PassSequence, float]]) -> None:
        """Learns what sequences cost."""
        self.costs.update(costs)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that change the program's code, as they print; empty if nobody looked."""
        return tuple(sorted(map(str, self._screen.steps))) if self._screen is not None else ()

    def order(self, sequences: Many[PassSequence]) -> list[PassSequence]:
        """Somebody's ideas in the order in which they should be tried; by chance, where nothing is known of them."""
        return [sequences[i] for i in self._rng.permutation(len(sequences))]

    def _fresh(self, num: int, draw: Callable[[], PassSequence]) -> list[PassSequence]:
        """So many distinct ones that are not known yet, as far as some tries give them."""
        found: dict[PassSequence, None] = {}
        for _ in range(40 * num):
            if len(found) == num:
                break
            sequence = draw()
            if sequence not in self.costs:
                found[sequence] = None
        return list(found)

    def _best(self, num: int) -> list[PassSequence]:
        finite = [(cost, i, sequence) for i, (sequence, cost) in enumerate(self.costs.items()) if math.isfinite(cost)]
        return [sequence for _, _, sequence in sorted(finite)[:num]]


class RandomSearch(SearchStrategy):
    """A few random moves away from `-O3`, each time anew."""

    name = "random"

    def suggest(self, num: int) -> list[PassSequence]:
        """Random sequences."""
        return self._fresh(num, lambda: self._moves.random(int(self._rng.integers(1, 7))))


class GreedySearch(SearchStrategy):
    """One step at a time, in random order; from the best so far."""

    name = "greedy"

    def __init__(
        self, seed: int = 0, polly: bool = True, screen: Screen | None = None, experimental: bool = False
    ) -> None:
        super().__init__(seed, polly, screen, experimental)
        self._left: list[Flag | Pass | Change] = []

    def suggest(self, num: int) -> list[PassSequence]:
        """The best so far and one step more."""
        found: dict[PassSequence, None] = {}
        best = self._best(1)[0]
        for _ in range(2 * len(FLAGS) + 2 * len(PASSES)):
            if len(found) == num:
                break
            sequence = self._with(best, self._next())
            if sequence not in self.costs:
                found[sequence] = None
        return list(found)

    def _next(self) -> Flag | Pass | Change:
        if not self._left and self._screen is not None and self._screen.classes:
            self._left = [self._screen.classes[i][0] for i in self._rng.permutation(len(self._screen.classes))]
        elif not self._left:
            flags = [
                Flag(name, value)
                for name, kind in usable_flags(self._polly, self._experimental).items()
                for value in kind.values
            ]
            steps = [*flags, *(Pass(name) for name in usable_passes(self._experimental) if name not in LEVELS)]
            self._left = [steps[i] for i in self._rng.permutation(len(steps))]
        return self._left.pop()

    def _with(self, sequence: PassSequence, step: Flag | Pass | Change) -> PassSequence:
        if isinstance(step, Change):
            return apply(sequence, step)
        if isinstance(step, Pass):
            return PassSequence(
                (*sequence.passes, step) if self._rng.random() < 0.5 else (step, *sequence.passes), sequence.flags
            )
        more = (Flag("polly", True),) if step.kind.polly else ()
        return PassSequence(sequence.passes, (*sequence.flags, *more, step))


class GeneticSearch(SearchStrategy):
    """A steady population of the best, tournaments, crossover, and mutations that follow intents which paid before.

    Args:
        population: how many of the best are parents.
    """

    name = "genetic"

    def __init__(
        self,
        seed: int = 0,
        polly: bool = True,
        population: int = 12,
        screen: Screen | None = None,
        experimental: bool = False,
    ) -> None:
        super().__init__(seed, polly, screen, experimental)
        self._population = population
        self._origin: dict[PassSequence, tuple[PassSequence, str]] = {}  # child -> (parent, intent)

    def suggest(self, num: int) -> list[PassSequence]:
        """Children of the best; random ones while there are few."""
        parents = self._best(self._population)
        if len(parents) < min(4, self._population):
            return self._fresh(num, lambda: self._moves.random(int(self._rng.integers(1, 5))))
        return self._fresh(num, lambda: self._child(parents))

    def observe(self, costs: Iterable[tuple[PassSequence, float]]) -> None:
        """Learns costs, and which intents made things better."""
        costs = list(costs)
        super().observe(costs)
        for sequence, cost in costs:
            parent, intent = self._origin.pop(sequence, (None, ""))
            if intent:
                gain = max(0.0, 1.0 - cost / self.costs[parent]) if math.isfinite(cost) else 0.0
                # a floor keeps each intent alive; 5 % of gain doubles a weight
                self._moves.weights[intent] = max(
                    0.3, 0.8 * self._moves.weights[intent] + 0.2 * (1.0 + 20.0 * gain) * (0.8 if gain == 0 else 1.0)
                )

    def _child(self, parents: Many[PassSequence]) -> PassSequence:
        child = parent = self._tournament(parents)
        intent = ""
        if self._rng.random() < 0.4:
            child = self._moves.cross(parent, self._tournament(parents))
        for _ in range(1 + int(self._rng.random() < 0.35)):
            child, followed = self._moves.mutate(child)
            intent = intent or followed
        if intent:
            self._origin[child] = (parent, intent)
        return child

    def _tournament(self, parents: Many[PassSequence]) -> PassSequence:
        return parents[int(min(self._rng.integers(len(parents), size=2)))]


class RankedSearch(GeneticSearch):
    """The genetic search with many children, of which a model picks those to be measured.

    Args:
        rank: the model, for this program.
        children: for each one that is measured.
        explores: share of the picks that is drawn from the children by chance, so that what the model does not believe
            in has its turn, too.
    """

    name = "ranked"

    def __init__(
        self,
        rank: Ranker,
        seed: int = 0,
        polly: bool = True,
        population: int = 12,
        children: int = 64,
        explores: float = 0.25,
        screen: Screen | None = None,
        experimental: bool = False,
    ) -> None:
        super().__init__(seed, polly, population, screen, experimental)
        self.rank = rank
        self._children, self._explores = children, explores

    def order(self, sequences: Many[PassSequence]) -> list[PassSequence]:
        """The ideas that the model likes best come first."""
        return [sequences[i] for i in np.argsort(-self.rank(sequences), kind="stable")] if sequences else []

    def suggest(self, num: int) -> list[PassSequence]:
        """The children that the model likes best, no two of them alike in all but one step."""
        parents = self._best(self._population)
        children = self._fresh(self._children * num // 2, lambda: self._child(parents))
        strangers = self._fresh(self._children * num // 2, lambda: self._moves.random(int(self._rng.integers(1, 5))))
        singles = [sequence for sequence in self._moves.singles() if sequence not in self.costs]
        ideas = [sequence for sequence in self.ideas if sequence not in self.costs]
        pool = self._distinct((*children, *strangers, *singles, *ideas))
        if not pool:
            return []
        picked: list[PassSequence] = []
        order = [pool[i] for i in np.argsort(-self.rank(pool), kind="stable")]
        for sequence in order:
            if len(picked) == num:
                break
            if self._rng.random() < self._explores:  # as the genetic search alone would
                sequence = (children or pool)[self._rng.integers(len(children or pool))]
            if sequence not in picked and all(_distance(sequence, other) > 1 for other in picked):
                picked.append(sequence)
        return picked + [sequence for sequence in order if sequence not in picked][: num - len(picked)]

    def _distinct(self, sequences: Many[PassSequence]) -> list[PassSequence]:
        """Sequences that are not known yet; without idle steps, where it is known which are, so that nothing is
        suggested for their sake.
        """
        if self._screen is None:
            return list(dict.fromkeys(sequences))
        known = {self._screen.active(sequence) for sequence in self.costs}
        return [sequence for sequence in dict.fromkeys(map(self._screen.active, sequences)) if sequence not in known]


class BayesianSearch(SearchStrategy):
    """A Gaussian process over which steps a sequence has, and expected improvement over random neighbours.

    Needs scikit-learn.
    """

    name = "bayesian"
    _CANDIDATES, _WARM_UP = 400, 8

    def suggest(self, num: int) -> list[PassSequence]:
        """Where the process expects the largest gain."""
        known = [(s, c) for s, c in self.costs.items() if math.isfinite(c)]
        if len(known) < self._WARM_UP:
            return self._fresh(num, lambda: self._moves.random(int(self._rng.integers(1, 7))))
        require("sklearn", "the bayesian search")
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        parents = self._best(6)
        pool = self._fresh(self._CANDIDATES, lambda: self._moves.mutate(parents[self._rng.integers(len(parents))])[0])
        steps = sorted({str(step) for s in [*pool, *(k for k, _ in known)] for step in (*s.passes, *s.flags)})
        position = {step: i for i, step in enumerate(steps)}
        process = GaussianProcessRegressor(
            ConstantKernel(0.1) * RBF(2.0, (0.5, 20.0)) + WhiteKernel(1e-3), normalize_y=True, random_state=0
        )
        with warnings.catch_warnings(
            action="ignore", category=ConvergenceWarning
        ):  # bounds of the kernel's sizes are where it ends, with so few points
            process.fit(_bags([s for s, _ in known], position), np.log([c for _, c in known]))
        mean, spread = process.predict(_bags(pool, position), return_std=True)
        best = math.log(min(c for _, c in known))
        gain = expected_improvements(-mean, spread, -best)
        return [pool[i] for i in np.argsort(-gain, kind="stable")[:num]]


def _bags(sequences: Many[PassSequence], position: dict[str, int]) -> np.ndarray:
    """Which steps each sequence has; [N, steps]."""
    bags = np.zeros((len(sequences), len(position)))
    for row, sequence in zip(bags, sequences):
        for step in (*sequence.passes, *sequence.flags):
            row[position[str(step)]] = 1.0
    return bags


def _distance(one: PassSequence, other: PassSequence) -> int:
    """Steps that only one of two has."""
    return len({*one.passes, *one.flags} ^ {*other.passes, *other.flags})


STRATEGIES = {strategy.name: strategy for strategy in (RandomSearch, GreedySearch, GeneticSearch, BayesianSearch)}
"""By name, those that need no model."""

__all__ = [
    "INTENTS",
    "STRATEGIES",
    "BayesianSearch",
    "GeneticSearch",
    "GreedySearch",
    "RandomSearch",
    "RankedSearch",
    "Ranker",
    "SearchStrategy",
]
