"""Comparing two programs by runs that were taken in turns."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np

from foretune.record import MeasureRecord, Status

_RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """A candidate beside the baseline.

    Attributes:
        status, error: how its runs ended, and why.
        gain: the baseline's time over the candidate's, a ratio of medians; higher is better, 0 if it failed.
        interval: 95 % of it, by bootstrap over the turns; empty if it failed.
        baseline_secs, best_secs: medians; `fastest_secs` is the candidate's fastest turn. None if it failed.
    """

    status: Status
    error: str = ""
    gain: float = 0.0
    interval: tuple[float, ...] = ()
    baseline_secs: float | None = None
    best_secs: float | None = None
    fastest_secs: float | None = None

    @classmethod
    def of(cls, record: MeasureRecord, baseline_secs: Many[float]) -> Comparison:
        """From a candidate's record and the baseline's runs in turns with it."""
        if record.status is not Status.OK:
            return cls(record.status, record.error)
        own, baseline = np.array(record.run_secs), np.array(baseline_secs)
        gain, interval = ratio_of_medians(baseline, own)
        return cls(Status.OK, "", gain, interval, float(np.median(baseline)), float(np.median(own)), float(own.min()))


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
