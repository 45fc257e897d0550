"""Adaptation to a task: measurements correct scores, and rounding errors of the features change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.latent.adaptation import TaskAdaptation

WIDTHS = (12, 6)


def data(seed: int, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with a column that does not vary but for rounding, and points that come twice; times that follow the
    first column.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num, sum(WIDTHS)))
    features[:, 3] = 0.7
    features[1] = features[0]
    return features, np.exp(-9.0 + 0.5 * features[:, 0])


def predicted(features: np.ndarray, secs: np.ndarray, others: np.ndarray) -> np.ndarray:
    adaptation = TaskAdaptation(WIDTHS)
    adaptation.add(features, np.zeros(len(secs)), secs)
    return np.concatenate(adaptation.predict(others, np.zeros(len(others)), np.ones(len(others))))


@pytest.mark.parametrize("seed", range(20))
def test_rounding_changes_nothing(seed: int):
    """Two processes round otherwise, by the alignment of their arrays: what one has learnt, the other must learn from
    the same records.
    """
    features, secs = data(seed, 7)
    others, _ = data(100 + seed, 40)
    rounded = np.random.default_rng(200 + seed).normal(scale=3e-7, size=features.shape)
    assert predicted(features + rounded, secs, others) == pytest.approx(predicted(features, secs, others), rel=1e-4)


def test_measurements_correct_scores():
    features, secs = data(0, 60)
    others, truth = data(1, 200)
    mean = predicted(features, secs, others)[: len(others)]
    assert np.corrcoef(mean, -np.log(truth))[0, 1] > 0.8
