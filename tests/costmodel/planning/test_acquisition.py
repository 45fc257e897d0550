"""What a measurement is worth, against drawing at random."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.planning.acquisition import expected_improvement, expected_improvements, optimistic


def test_expected_improvement_is_that_of_the_most_promising():
    rng = np.random.default_rng(0)
    score, spread = np.array([0.2, 0.0, -0.5, 0.3]), np.array([0.3, 0.5, 1.0, 0.01])
    draws = score + spread * rng.standard_normal((200_000, 4))
    for best in (-1.0, 0.25, 1.0):
        assert expected_improvement(score, spread, best) == pytest.approx(
            np.maximum(draws - best, 0).mean(0).max(), rel=0.03
        )
    assert (
        expected_improvement(np.zeros(0), np.zeros(0), 0.0)
        == 0.0
        == expected_improvement(np.zeros(2), np.zeros(2), 1.0)
    )


def test_each_candidate_has_its_own():
    score, spread = np.array([0.2, 0.0, -0.5]), np.array([0.3, 0.5, 0.0])
    each = expected_improvements(score, spread, 0.1)
    assert each.shape == (3,) and each[2] == 0.0 and each.max() == expected_improvement(score, spread, 0.1)
    assert expected_improvements(np.zeros(0), np.zeros(0), 0.0).shape == (0,)


def test_optimism_counts_deviations():
    assert optimistic(np.array([1.0, 2.0]), np.array([0.5, 0.0]), 2.0).tolist() == [2.0, 2.0]
