"""What every search strategy must do, whatever it searches: suggest what is new, and learn of what was measured."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest


def made_up_cost(candidate: Any) -> float:
    """A cost that goes by the candidate's text alone: between 0.5 and 1.5, and infinite for one of eight, which
    fail.
    """
    number = int.from_bytes(hashlib.sha256(str(candidate).encode()).digest()[:4], "big")
    return math.inf if number % 8 == 0 else 0.5 + number / 2**32


class SearchStrategyContract:
    """Every search strategy: `suggest(num)` asks it for candidates, `observe(pairs of candidate and cost)` tells it;
    lower costs are better.

    Subclasses define `make`, and `cost` where candidates have a better one than a made-up one.
    """

    batch = 4
    rounds = 6

    def make(self, seed: int = 0) -> Any:
        """A strategy that has suggested nothing yet."""
        raise NotImplementedError

    def cost(self, candidate: Any) -> float:
        """What a candidate costs; infinite if it fails."""
        return made_up_cost(candidate)

    def search(self, strategy: Any, rounds: int | None = None) -> list[Any]:
        """All that a strategy suggests in some rounds, each told before the next."""
        seen: list[Any] = []
        for _ in range(self.rounds if rounds is None else rounds):
            suggested = strategy.suggest(self.batch)
            assert len(suggested) <= self.batch
            strategy.observe([(candidate, self.cost(candidate)) for candidate in suggested])
            seen += suggested
        return seen

    def test_suggestions_are_new(self):
        seen = self.search(self.make())
        assert seen and len(set(seen)) == len(seen)

    def test_nothing_is_asked_for(self):
        assert self.make().suggest(0) == []

    def test_the_seed_decides(self):
        assert self.search(self.make(seed=3)) == self.search(self.make(seed=3))
        assert self.search(self.make(seed=3)) != self.search(self.make(seed=4))

    def test_goes_on_when_all_fails(self):
        strategy = self.make()
        strategy.observe([(candidate, math.inf) for candidate in strategy.suggest(self.batch)])
        assert strategy.suggest(self.batch)

    def test_what_others_measured_is_not_suggested_again(self):
        others = self.search(self.make(seed=5))
        if not others:
            pytest.skip("this strategy suggests nothing here")
        strategy = self.make(seed=5)  # by itself it would suggest the very same
        strategy.observe([(candidate, self.cost(candidate)) for candidate in others])
        assert not set(others) & set(self.search(strategy))
