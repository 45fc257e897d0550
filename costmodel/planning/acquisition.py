"""Acquisition: what a prediction with its spread says a measurement is worth. Scores are better when higher.

Source of expected improvement: Mockus, Tiesis and Zilinskas, The Application of Bayesian Methods for Seeking the
Extremum, 1978; of optimism: Srinivas et al., Gaussian Process Optimization in the Bandit Setting, ICML 2010.
"""

from __future__ import annotations

import math

import numpy as np

_LEAST_SPREAD = 1e-9
_erf = np.vectorize(math.erf, otypes=[float])


def optimistic(score: np.ndarray, spread: np.ndarray, optimism: float) -> np.ndarray:
    """Scores with so many deviations added, an upper confidence bound; [N].

    Args:
        score: [N] expected scores.
        spread: [N] their standard deviations.
        optimism: how many.
    """
    return score + optimism * spread


def expected_improvements(score: np.ndarray, spread: np.ndarray, best: float) -> np.ndarray:
    """How much each of N candidates is expected to surpass what is known, by itself; [N].

    Args:
        score: [N] expected scores.
        spread: [N] their standard deviations.
        best: score of the best that was measured.
    """
    if not len(score):
        return np.zeros(0)
    spread = np.maximum(spread, _LEAST_SPREAD)
    ahead = (score - best) / spread
    density = np.exp(-0.5 * ahead**2) / math.sqrt(2.0 * math.pi)
    return spread * (density + ahead * 0.5 * (1.0 + _erf(ahead / math.sqrt(2.0))))


def expected_improvement(score: np.ndarray, spread: np.ndarray, best: float) -> float:
    """How much a batch is expected to surpass what is known: as much as its most promising candidate alone.

    Scores of one batch err together. As if they erred apart, twenty times as much was promised as came, and this way
    six times.
    """
    return float(np.max(expected_improvements(score, spread, best), initial=0.0))
