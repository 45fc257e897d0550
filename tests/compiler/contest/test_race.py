"""Who is the fastest, in noise."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from foretune.compiler.contest import race as races
from foretune.compiler.contest.race import RaceResult, race


def test_turns_are_compared_in_pairs():
    """One is 3 % faster than the other in each turn, on a machine whose speed varies by a factor of ten."""
    machine = np.exp(np.random.default_rng(1).uniform(0, 2.3, 15))
    result = RaceResult({"slower": list(1.03 * machine), "faster": list(machine)})
    assert result.winner == "faster" and result.sureness > 0.99


def test_equals_are_not_told_apart():
    numbers = np.random.default_rng(2)
    result = RaceResult({name: list(1 + 0.1 * numbers.standard_normal(21)) for name in "abc"})
    assert result.sureness < 0.95 and sum(result.win_rates().values()) == pytest.approx(1.0)


def test_who_fell_behind_does_not_win():
    result = RaceResult({"a": [1.0] * 9, "b": [1.1] * 9, "c": [0.1] * 7})
    assert result.winner == "a" and result.win_rates()["c"] == 0.0 and result.num_rounds == 9


def test_a_clear_race_is_short_and_a_close_one_longer(monkeypatch):
    monkeypatch.setattr(races, "_BURST_SECS", 1e-4)
    x = [torch.ones(4)]
    slow = lambda y: (time.sleep(2e-3), y)  # noqa: E731
    clear = race({"slow": slow, "fast": lambda y: (y + 1,)}, x, frozenset(), False)
    assert clear.winner == "fast" and clear.num_rounds == races._FEWEST_ROUNDS and clear.ms["fast"] < clear.ms["slow"]
    monkeypatch.setattr(races, "SURE", 1.1)  # never sure
    close = race({"slow": slow, "a": lambda y: (y + 1,), "b": lambda y: (y + 1,)}, x, frozenset(), False)
    assert close.num_rounds == races._MOST_ROUNDS and len(close.secs["slow"]) < races._MOST_ROUNDS


def test_an_interval_of_pairs_says_how_much_faster():
    machine = np.exp(np.random.default_rng(3).uniform(0, 2.3, 21))
    noise = np.exp(0.01 * np.random.default_rng(4).standard_normal(21))
    result = RaceResult({"slower": list(1.2 * machine * noise), "faster": list(machine), "slowest": [99.0] * 5})
    low, high = result.gain("faster", result.best_but("faster"))
    assert 1.15 < low < 1.2 < high < 1.25
    assert result.gain("slower", "faster") == pytest.approx((1 / high, 1 / low))
    assert result.gain("faster", "slowest")[0] > 9  # in the rounds that both ran in
    assert RaceResult({"alone": [1.0]}).best_but("alone") == ""


def test_another_one_takes_over_only_if_it_is_surely_faster():
    numbers = np.random.default_rng(5)
    secs = {name: list(1 + 0.1 * numbers.standard_normal(21)) for name in "ab"}
    close = RaceResult(secs)
    assert close.successor("a") == "a" and close.successor("b") == "b"
    later = RaceResult({"a": [1.0] * 21, "b": [0.8] * 21})
    assert close.followed_by(later).num_rounds == 42 and later.successor("a") == "b"
    assert RaceResult({"a": [1.0] * 7, "b": [0.9] * 9}).successor("a") == "b"  # who fell behind
