"""The searches of every domain, over numbers below 100 whose digits change."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foretune.testing.search_strategies import SearchStrategyContract
from foretune.tuning.search import FAR, STRATEGIES, GeneticSearch, Moves, RankedSearch


class NumberMoves(Moves[int]):
    """Points are (tens, ones); 13 cannot be made."""

    def __init__(self, rng):
        super().__init__(rng, 0)
        self.rewards = []

    def random(self, most=FAR):
        return int(self.rng.integers(10)), int(self.rng.integers(10))

    def mutate(self, point):
        tens, ones = point
        digit = int(self.rng.integers(10))
        return ((digit, ones), "tens") if self.rng.random() < 0.5 else ((tens, digit), "ones")

    def cross(self, one, other):
        return one[0], other[1]

    def decode(self, point):
        number = 10 * point[0] + point[1]
        return None if number == 13 else number

    def encode(self, candidate):
        return divmod(candidate, 10)

    def first(self):
        return 4, 2

    def steps(self, candidate):
        return [(place, digit) for place in (0, 1) for digit in range(10)]

    def take(self, candidate, step):
        place, digit = step
        tens, ones = divmod(candidate, 10)
        return (digit, ones) if place == 0 else (tens, digit)

    def reward(self, kind, gain):
        self.rewards.append((kind, gain))


class Unknown(NumberMoves):
    """Points of candidates are known of those alone that were made here."""

    def __init__(self, rng):
        super().__init__(rng)
        self.made = set()

    def decode(self, point):
        candidate = super().decode(point)
        self.made.add(candidate)
        return candidate

    def encode(self, candidate):
        return divmod(candidate, 10) if candidate in self.made else None


def ranked(moves):
    return RankedSearch(moves, lambda pool: np.array(pool, float), children=4, by_chance=4)


@pytest.mark.parametrize("search", [*STRATEGIES.values(), ranked], ids=[*STRATEGIES, "ranked"])
@pytest.mark.parametrize("moves", [NumberMoves, Unknown])
class TestSearches(SearchStrategyContract):
    @pytest.fixture(autouse=True)
    def _made_of(self, search, moves):
        self.search_class, self.moves = search, moves

    def make(self, seed=0):
        return self.search_class(self.moves(np.random.default_rng(seed)))

    def test_all_is_found_in_the_end(self):
        assert len(self.search(self.make(), 60)) > 80

    def test_it_begins_with_what_experience_would_try(self):
        first = self.make().suggest(4)
        assert (first[0] == 42) == (self.moves is Unknown and self.search_class is not STRATEGIES["random"])

    def test_a_first_point_that_failed_before_does_not_end_it(self):
        strategy = self.make()
        strategy.observe([(42, math.inf)])  # of an earlier run
        assert strategy.suggest(4)


def test_kinds_of_moves_that_pay_are_told():
    moves = NumberMoves(np.random.default_rng(0))
    strategy = GeneticSearch(moves)
    for _ in range(8):
        strategy.observe([(number, 1 / (1 + number)) for number in strategy.suggest(4)])
    assert {kind for kind, _ in moves.rewards} == {"tens", "ones"} and max(gain for _, gain in moves.rewards) > 0


def test_openings_come_first_and_known_ones_are_left_out():
    strategy = GeneticSearch(NumberMoves(np.random.default_rng(0)))
    strategy.observe([(7, 0.5)])
    strategy.openings = [7, 8, 9]
    assert strategy.next_batch(3)[:2] == [8, 9] and strategy.openings == []


def test_alike_picks_and_idle_parts_are_left_out():
    class Coarse(NumberMoves):
        def are_alike(self, one, other):
            return one // 10 == other // 10

        def essence(self, candidate):
            return candidate - candidate % 2

    strategy = RankedSearch(Coarse(np.random.default_rng(0)), lambda pool: np.array(pool, float), explores=0.0)
    picked = strategy.suggest(4)
    assert all(number % 2 == 0 for number in picked) and len({number // 10 for number in picked}) == 4
