"""Comparing two programs by runs that were taken in turns."""

from __future__ import annotations

import numpy as np

_RESAMPLES = 2000


def ratio_of_medians(baseline: np.ndarray, own: np.ndarray) -> tuple[float, tuple[float, float]]:
    """How many times as fast as the baseline, and the 95 % interval of that by bootstrap, resampling turns in pairs, as
    they were taken.

    Args:
        baseline, own: [N] seconds of each turn.
    """
    rng = np.random.default_rng(0)
    rows = rng.integers(len(own), size=(_RESAMPLES, len(own)))
    ratios = np.median(baseline[: len(own)][rows], 1) / np.median(own[rows], 1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(baseline) / np.median(own)), (float(low), float(high))
