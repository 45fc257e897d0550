"""K-fold evaluation over workloads, for data sets too small for one test part: each workload is tested once.

Folds are dealt family by family, so that each family is trained on, too. A fold is tested, the next one chooses the
epoch, the others train. All test tasks together give the figures, and resampling them gives intervals (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993): with few workloads these are wide, and say so.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from foretune.costmodel import metrics
from foretune.costmodel.evaluation.evaluation import EvaluationConfig, EvaluationReport, evaluate
from foretune.costmodel.rivals.groups import labelled_groups
from foretune.datasets.records.split import Split
from foretune.errors import DataError, OptionError
from foretune.record import Trajectory

_RESAMPLES = 2000
_FIGURES = ("top1", "top5", "pairwise", "spearman")


def evaluate_folds(
    trajectories: Sequence[Trajectory],
    num_folds: int,
    config: EvaluationConfig,
    report: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Trains and scores models once for each fold.

    Args:
        trajectories: of all workloads; a split beside the data says nothing here.
        num_folds: at least 3; as many as there are workloads to rank, if these are fewer.
        config: models and settings, without learning curves and trained weights.
        report: called with a line for each trained model.

    Returns:
        For each model `top1_mean, top1_sum, top5_mean, top5_sum, pairwise, spearman` over all workloads, and
        `intervals`: 95 % of each, by bootstrap over workloads; and `tasks`, the rows of all.

    Raises:
        OptionError: fewer than three folds, or learning curves or weights are asked for.
        DataError: fewer than three workloads can be ranked.
    """
    if num_folds < 3:
        raise OptionError(
            f"`folds >= 3` must hold, for one to test, one to choose and others to train, but got {num_folds}"
        )
    if config.weights or config.shares != (1.0,):
        raise OptionError("with folds every model is trained on all other folds: leave --weights and --shares out")
    folds = make_folds(trajectories, num_folds, config.seed)
    everything = frozenset(t.record.candidate.task.workload.hash for t in trajectories)
    reports = []
    for i, tested in enumerate(folds):
        chosen = folds[(i + 1) % len(folds)]
        split = Split(everything - tested - chosen, chosen, tested)
        report(f"fold {i + 1} of {len(folds)}")
        reports.append(evaluate(trajectories, split, replace(config, keeps_tasks=True), report))
    skipped = {name: reason for one in reports for name, reason in one.skipped.items()}
    models = {
        name: _together([one.models[name] for one in reports], config.seed)
        for name in config.models
        if name not in skipped
    }
    data = {
        "num_records": len(trajectories),
        "num_folds": len(folds),
        "num_ranked_test_tasks": sum(one.data["num_ranked_test_tasks"] for one in reports),
        "min_timed": metrics.MIN_TIMED,
        "hash": reports[0].data["hash"],
    }
    return EvaluationReport(models, skipped, {}, data, {**reports[0].settings, "folds": len(folds)})


def make_folds(trajectories: Sequence[Trajectory], num_folds: int, seed: int) -> list[frozenset[str]]:
    """Hashes of the workloads of each fold; those that cannot be ranked are in none.

    Raises:
        DataError: fewer than three workloads can be ranked.
    """
    families: dict[str, set[str]] = defaultdict(set)
    for group in labelled_groups(trajectories, metrics.MIN_TIMED):
        families[group.task.workload.family].add(group.task.workload.hash)
    dealt = [workload for _, members in sorted(families.items()) for workload in _shuffled(members, seed)]
    if len(dealt) < 3:
        raise DataError(
            f"folds need three workloads with {metrics.MIN_TIMED} timed schedules each, but there are {len(dealt)}"
        )
    num_folds = min(num_folds, len(dealt))
    return [frozenset(dealt[i::num_folds]) for i in range(num_folds)]


def _shuffled(workloads: set[str], seed: int) -> list[str]:
    return sorted(workloads, key=lambda workload: hashlib.sha256(f"{seed}/{workload}".encode()).digest())


def _together(rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
    """Figures of one model over the test tasks of all folds."""
    tasks = [task for row in rows for task in row["tasks"]]
    by_workload: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for task in tasks:
        by_workload[task["workload"]].append(task)
    members, rng = [*by_workload.values()], np.random.default_rng(seed)
    drawn = [
        _figures([task for i in rng.integers(0, len(members), len(members)) for task in members[i]])
        for _ in range(_RESAMPLES)
    ]
    found = _figures(tasks)
    intervals = {
        name: np.percentile(
            [value for figures in drawn if (value := figures[name]) is not None] or [np.nan], [2.5, 97.5]
        )
        for name in found
    }
    return {
        **found,
        "intervals": {
            name: [None if np.isnan(end) else float(end) for end in ends] for name, ends in intervals.items()
        },
        "candidates_per_sec": float(np.mean([row["candidates_per_sec"] for row in rows])),
        "train_secs": float(sum(row["train_secs"] or 0.0 for row in rows)),
        "needs_final_program": rows[0]["needs_final_program"],
        "tasks": tasks,
    }


def _figures(tasks: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over tasks, and ratios of sums weighted by calls."""
    found: dict[str, float | None] = {}
    for name in _FIGURES:
        mean = metrics.mean_or_none(task[name] for task in tasks if task[name] is not None)
        found[f"{name}_mean" if name.startswith("top") else name] = mean
    best = sum(task["calls"] * task["best_secs"] for task in tasks)
    for k in (1, 5):
        found[f"top{k}_sum"] = best / sum(task["calls"] * task[f"top{k}_secs"] for task in tasks)
    return found
