"""Search strategies over sequences of passes: those of every domain, and a Gaussian process.

Costs are lower when better, relative to `-O3`, whose cost is 1; what failed costs infinitely much.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence as Many
from typing import Any, cast

import numpy as np

from foretune.costmodel.planning.acquisition import expected_improvements
from foretune.passes.llvm.actions import INTENTS, PassSequence
from foretune.passes.llvm.tuning.moves import Moves
from foretune.passes.llvm.tuning.screening import Screen, Screening
from foretune.support.optional import require
from foretune.tuning import search
from foretune.tuning.search import FAR, Ranker


class SearchStrategy(search.SearchStrategy[PassSequence]):
    """Suggests sequences for one program; a search of every domain becomes one of sequences by standing behind it.

    Args:
        seed: of all that is drawn.
        polly: whether Polly may be used.
        screen: which steps change the program's code, where that is known.
        experimental: whether steps that are held back may be taken; see `tables`.
        options: of the search of every domain.

    Attributes:
        screening: that goes on while the search does; None does without.
    """

    _moves: Moves

    def __init__(
        self,
        seed: int = 0,
        polly: bool = True,
        screen: Screen | None = None,
        experimental: bool = False,
        **options: Any,
    ) -> None:
        moves = Moves(np.random.default_rng(seed), polly, screen=screen, experimental=experimental)
        super().__init__(moves, **options)
        self._polly, self._experimental = polly, experimental
        self.screening: Screening | None = None

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

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that change the program's code, as they print; empty if nobody looked."""
        return tuple(sorted(map(str, self._screen.steps))) if self._screen is not None else ()


class RandomSearch(SearchStrategy, search.RandomSearch[PassSequence]):
    """A few random moves away from `-O3`, each time anew."""


class GreedySearch(SearchStrategy, search.GreedySearch[PassSequence]):
    """One step at a time, in random order; from the best so far."""


class GeneticSearch(SearchStrategy, search.GeneticSearch[PassSequence]):
    """Mutations follow intents which paid before.

    Args:
        population: how many of the best are parents.
    """


class RankedSearch(SearchStrategy, search.RankedSearch[PassSequence]):
    """The genetic search with many children, of which a model picks those to be measured.

    Args:
        rank: the model, for this program.
        children: for each one that is measured; half of them are drawn by chance.
        options: as in `SearchStrategy`.
    """

    def __init__(self, rank: Ranker, seed: int = 0, polly: bool = True, children: int = 64, **options: Any) -> None:
        more = {"rank": rank, "children": children // 2, "by_chance": children // 2, "least_parents": 1}
        super().__init__(seed, polly, **{**more, **options})


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
            return self._told(self._fresh(num, lambda: self._moves.random(FAR)))
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
        found = process.predict(_bags(pool, position), return_std=True)
        mean, spread = cast("tuple[np.ndarray, np.ndarray]", found)
        best = math.log(min(c for _, c in known))
        gain = expected_improvements(-np.asarray(mean), np.asarray(spread), -best)
        return self._told([pool[i] for i in np.argsort(-gain, kind="stable")[:num]])


def _bags(sequences: Many[PassSequence], position: dict[str, int]) -> np.ndarray:
    """Which steps each sequence has; [N, steps]."""
    bags = np.zeros((len(sequences), len(position)))
    for row, sequence in zip(bags, sequences):
        for step in (*sequence.passes, *sequence.flags):
            row[position[str(step)]] = 1.0
    return bags


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
