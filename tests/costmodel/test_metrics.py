"""Metrics: worked examples, chance levels, and ties that favour nobody."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foretune.costmodel import metrics
from foretune.costmodel.metrics import RankedTask

SECS = np.array([4.0, 1.0, 2.0])


def test_top_k_and_regret():
    scores = np.array([3.0, 1.0, 2.0])  # ranks 4 s, then 2 s, then 1 s
    assert metrics.top_k_score(scores, SECS, 1) == 0.25
    assert metrics.top_k_score(scores, SECS, 2) == 0.5
    assert metrics.top_k_score(scores, SECS, 5) == 1.0
    assert metrics.regret(scores, SECS, 1) == 3.0
    assert metrics.regret(scores, SECS, 3) == 0.0


def test_pairs():
    assert metrics.pairwise_accuracy(-SECS, SECS) == 1.0
    assert metrics.pairwise_accuracy(SECS, SECS) == 0.0
    assert metrics.pairwise_accuracy(np.array([0.0, 1.0, 1.0]), SECS) == pytest.approx(2.5 / 3)  # one tie counts half
    assert math.isnan(metrics.pairwise_accuracy(np.array([0.0, 1.0]), np.array([1.0, 1.005])))  # within 1 %: equal


def test_spearman():
    assert metrics.spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 300.0])) == pytest.approx(1.0)
    assert metrics.spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)
    assert metrics.spearman(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(
        0.9486832980505138
    )
    assert metrics.spearman(np.ones(4), np.arange(4.0)) == 0.0


def test_unbuildable_candidates_rank_last():
    scores = np.array([-np.inf, 1.0, 0.0, -np.inf])
    assert set(metrics.ranking(scores)[2:]) == {0, 3}
    assert metrics.pairwise_accuracy(scores, np.array([9.0, 1.0, 2.0, 9.0])) == 1.0


def test_constant_scores_get_chance_level():
    rng = np.random.default_rng(0)
    constant, drawn = [], []
    for num in range(20, 400):
        # listed from fastest to slowest: whoever breaks ties by position gets full marks
        secs = np.sort(np.exp(rng.normal(size=num)))
        constant.append(metrics.top_k_score(np.zeros(num), secs, 5))
        drawn.append(np.mean([metrics.top_k_score(rng.random(num), secs, 5) for _ in range(4)]))
    assert np.mean(constant) == pytest.approx(np.mean(drawn), abs=0.03)
    secs = np.sort(np.exp(rng.normal(size=50)))
    assert metrics.pairwise_accuracy(np.zeros(50), secs) == 0.5
    assert metrics.spearman(np.zeros(50), -secs) == 0.0


def test_the_order_of_ties_is_fixed():
    assert (metrics.ranking(np.zeros(30)) == metrics.ranking(np.ones(30))).all()
    assert not (metrics.ranking(np.zeros(30)) == np.arange(30)).all()


def test_networks_in_both_averagings():
    good, bad = np.array([0.0, 1.0]), np.array([1.0, 0.0])  # choose the second, the first
    tasks = [
        RankedTask("a", good, np.array([4.0, 2.0]), (("net", 3.0),)),
        RankedTask("b", bad, np.array([4.0, 2.0]), (("net", 1.0), ("other", 2.0))),
        RankedTask("c", bad, np.array([20.0, 10.0])),
    ]
    best, chosen = {"net": 3 * 2 + 2, "other": 4, "c": 10}, {"net": 3 * 2 + 4, "other": 8, "c": 20}
    score = metrics.network_top_k(tasks, 1)
    assert score["mean"] == pytest.approx(np.mean([best[n] / chosen[n] for n in best]))
    assert score["sum"] == pytest.approx(sum(best.values()) / sum(chosen.values()))
    assert metrics.network_top_k(tasks, 2) == {"mean": 1.0, "sum": 1.0}
    assert math.isnan(metrics.network_top_k([], 1)["mean"])


def test_calibration():
    rng = np.random.default_rng(0)

    def task(factor: float, stated: float | None = None):
        spread = rng.uniform(0.1, 1.0, 400)
        secs = np.exp(rng.normal(size=400))
        return (
            -np.log(secs) + factor * spread * rng.normal(size=400),
            spread if stated is None else np.full(400, stated),
            secs,
        )

    honest = metrics.calibration([task(1.0) for _ in range(5)])
    assert honest["scale"] == pytest.approx(1.0, abs=0.1)
    assert honest["within_1"] == pytest.approx(0.683, abs=0.03)
    assert honest["within_2"] == pytest.approx(0.954, abs=0.03)
    assert honest["error_spread_spearman"] > 0.3
    assert metrics.calibration([task(3.0)])["scale"] == pytest.approx(3.0, rel=0.2)
    assert metrics.calibration([task(1.0, stated=0.5)])["error_spread_spearman"] == 0.0
    assert metrics.calibration([]) is None
    assert metrics.calibration([task(1.0, stated=0.0)]) is None


def test_legality():
    legal = np.array([True, True, False, False])
    assert metrics.area_under_curve(np.array([0.9, 0.8, 0.2, 0.1]), legal) == 1.0
    assert metrics.area_under_curve(np.array([0.9, 0.1, 0.5, 0.2]), legal) == 0.5
    assert metrics.area_under_curve(np.ones(4), legal) == 0.5
    assert metrics.area_under_curve(np.ones(4), np.ones(4)) is None


def test_ties_are_left_out():
    runs = [(1.0, 1.02, 0.98), (1.01, 1.03, 0.99), (2.0,), (0.5, 0.51)]
    tie = metrics.tie_of(runs)
    assert 0.02 < tie < 0.05 and metrics.tie_of([(1.0,), (2.0,)]) == 0.0
    assert metrics.tie_of([(1.0, 4.0, 0.2)]) == 0.1  # of a task on a noisy machine some pairs are left
    secs = np.array([1.0, 1.015, 1.3])
    assert metrics.pairwise_accuracy(np.array([1.0, 2.0, 0.0]), secs) == pytest.approx(2 / 3)
    assert metrics.pairwise_accuracy(np.array([1.0, 2.0, 0.0]), secs, tie) == 1.0
