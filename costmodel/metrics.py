"""Scores of a ranking, in plain numpy.

Every function takes the scores that a model gave (higher is better) and the seconds that hardware
measured. Equal scores say nothing, so they must not gain from the order in which candidates happen to
be listed: ties are broken by a fixed random permutation, and pairs of equal score count half.

Dimension letters: N candidates, K tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_TIMED = 8
"""A task with fewer timed schedules says little of a ranking: it is left out, for every model alike."""

_MIN_DIFFERENCE = 0.01  # run times closer than this are equal as far as a clock can tell
_LARGEST_TIE = 0.1  # of a task on a noisy machine


def ranking(scores: np.ndarray) -> np.ndarray:
    """Positions of candidates from the highest score to the lowest, ties in a fixed random order; [N] int64."""
    shuffled = np.random.default_rng([0x5EED, len(scores)]).permutation(len(scores))
    return shuffled[np.argsort(-np.asarray(scores, np.float64)[shuffled], kind="stable")]


def best_of_top(scores: np.ndarray, secs: np.ndarray, k: int) -> float:
    """Seconds of the fastest among the k candidates ranked highest; lower is better."""
    return float(secs[ranking(scores)[:k]].min())


def top_k_score(scores: np.ndarray, secs: np.ndarray, k: int) -> float:
    """Best seconds over best seconds among the k ranked highest; 1 is perfect, higher is better."""
    return float(secs.min()) / best_of_top(scores, secs, k)


def regret(scores: np.ndarray, secs: np.ndarray, k: int) -> float:
    """How much slower the best of the k ranked highest is than the best of all: a ratio minus 1; lower is better."""
    return best_of_top(scores, secs, k) / float(secs.min()) - 1.0


def pairwise_accuracy(scores: np.ndarray, secs: np.ndarray, tie: float = 0.0) -> float:
    """Share of pairs in the right order, among pairs that differ by more than 1 % in time; NaN if there are none.

    0.5 is chance; higher is better.

    Args:
        scores, secs: [N] of the candidates.
        tie: logarithm of the ratio below which two times are equal, where that is more than 1 %; see `tie_of`.
    """
    faster = secs[:, None] * max(1 + _MIN_DIFFERENCE, math.exp(tie)) < secs[None, :]  # [N, N]
    if not faster.any():
        return float("nan")
    above = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    return float(above[faster].mean())


def tie_of(runs: Iterable[Sequence[float]]) -> float:
    """Logarithm of the ratio below which two candidates of one task are equally fast, as far as their repeats tell: two
    deviations of the difference of their times. 0 where nothing was run twice.

    Args:
        runs: seconds of each candidate's repeats.
    """
    deviations = [np.log(row).std(ddof=1) / math.sqrt(len(row)) for row in runs if len(row) > 1 and min(row) > 0]
    return min(_LARGEST_TIE, 2 * math.sqrt(2) * float(np.median(deviations))) if deviations else 0.0


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two arrays, ties at their mean rank; 0 where one of them is constant."""
    a, b = _mean_ranks(np.asarray(a, np.float64)), _mean_ranks(np.asarray(b, np.float64))
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


# -- networks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankedTask:
    """The timed candidates of one task as a model ranked them.

    Attributes:
        task: identity of the task.
        scores: [N] higher is better.
        secs: [N] measured.
        networks: (network, calls in one run of it); if empty, the task is a network of its own.
        calls: what the task weighs in the ratio of sums if it is a network of its own.
        tie: see `pairwise_accuracy`.
    """

    task: str
    scores: np.ndarray
    secs: np.ndarray
    networks: tuple[tuple[str, float], ...] = ()
    calls: float = 1.0
    tie: float = 0.0


def network_top_k(tasks: Sequence[RankedTask], k: int) -> dict[str, float]:
    """TenSet's top-k score over networks, in both averagings that are in use; 1 is perfect, higher is better.

    For one network: the sum over its tasks of calls x best seconds, over the sum of calls x best seconds among the k
    candidates ranked highest.

    Returns:
        `mean`: the mean of the networks' ratios (Zheng et al., TenSet: A Large-scale Program Performance Dataset for
        Learned Tensor Compilers, 2021). `sum`: both sums taken over all networks before dividing (Zhai et al., TLP:
        A Deep Learning-based Cost Model for Tensor Program Tuning, 2023). NaN without tasks.
    """
    best: dict[str, float] = {}
    chosen: dict[str, float] = {}
    for task in tasks:
        fastest, top = float(task.secs.min()), best_of_top(task.scores, task.secs, k)
        for network, calls in task.networks or ((f"task {task.task}", task.calls),):
            best[network] = best.get(network, 0.0) + calls * fastest
            chosen[network] = chosen.get(network, 0.0) + calls * top
    if not best:
        return {"mean": float("nan"), "sum": float("nan")}
    return {
        "mean": float(np.mean([best[n] / chosen[n] for n in best])),
        "sum": sum(best.values()) / sum(chosen.values()),
    }


# -- uncertainty and legality --------------------------------------------------------------------


def calibration(tasks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float] | None:
    """Whether stated spreads tell how large errors are.

    Scores are comparable within a task only, so the error of a candidate is taken between its score and minus the
    logarithm of its seconds, both relative to the task's mean. One factor for all tasks scales the spreads so that half
    of the errors are within 0.674 of them, as for a normal distribution.

    Args:
        tasks: (scores [N], spreads [N], seconds [N]) of each task.

    Returns:
        `scale`: that factor, 1 if spreads are right as stated. `within_1`, `within_2`: share of errors within one and
        two scaled spreads (normal: 0.683 and 0.954). `error_spread_spearman`: rank correlation of size of error and
        spread, higher is better. None without candidates or where every spread is 0.
    """
    errors, spreads = [], []
    for scores, spread, secs in tasks:
        truth = -np.log(secs)
        errors.append(np.abs((scores - scores.mean()) - (truth - truth.mean())))
        spreads.append(spread)
    if not errors or not (np.concatenate(spreads) > 0).any():
        return None
    error, spread = np.concatenate(errors), np.maximum(np.concatenate(spreads), 1e-12)
    scale = float(np.median(error / spread)) / 0.6745
    scaled = error / (spread * max(scale, 1e-12))
    return {
        "scale": scale, "within_1": float((scaled <= 1).mean()), "within_2": float((scaled <= 2).mean()),
        "error_spread_spearman": spearman(error, spread),
    }  # fmt: skip


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Probability that a positive scores higher than a negative, ties half; None if one of the two is missing.

    0.5 is chance; higher is better.
    """
    positive = np.asarray(positive, bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return None
    ranks = _mean_ranks(np.asarray(scores, np.float64)) + 1  # [N] from 1
    return float((ranks[positive].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def mean_or_none(values: Iterable[float]) -> float | None:
    """Mean of the numbers that are not NaN; None if there are none."""
    kept = [v for v in values if not np.isnan(v)]
    return float(np.mean(kept)) if kept else None
