"""Evaluation: trains cost models on one part of a data set and scores them on workloads that none of them has seen.

Each model is fitted on the training workloads, may use the validation workloads to stop early, and is scored on the
test workloads. What a trained model scored is written to a folder as soon as it is known and is not computed again for
the same data and settings, so that a run that was stopped goes on.

`candidates_per_sec` counts scoring alone, in one thread pool of `num_threads`, with nothing cached before a task's
first candidate. Models that look at the finished program need every candidate replayed and its features extracted
before they can score it; that time is not counted here, and `needs_final_program` says for which models it comes on
top.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from foretune.costmodel import metrics
from foretune.costmodel.base import CostModel, PredictsLegality, PredictsSpread, StaticCostModel
from foretune.costmodel.evaluation import registry
from foretune.costmodel.rivals.groups import Group, labelled_groups, recorded_features
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, ModelError, OptionError
from foretune.record import Status, Trajectory
from foretune.support.files import write_text_atomically
from foretune.task import Task

_ROW_SCHEMA = 2


@dataclass(frozen=True)
class EvaluationConfig:
    """What to evaluate.

    Attributes:
        models: names, see `foretune.costmodel.evaluation.registry`.
        seed: of every model, and of the subsets of learning curves.
        shares: shares of the training data to train on, for learning curves; the whole is always among them.
        unit: what a share is of: `tasks` (whole tasks) or `records` (of each task).
        out: folder for results and trained models; None to keep nothing.
        weights: model -> file of weights that are already trained; used instead of training on the whole.
        calls: hash of a workload -> calls in one run of the network that it is a part of, where the data does not say;
            its weight in the ratio of sums.
        keeps_tasks: whether a model's figures have those of each test task, as `tasks`.
        ties: whether pairs whose times differ by no more than the noise of their repeats are left out.
    """

    models: tuple[str, ...]
    seed: int = 0
    shares: tuple[float, ...] = (1.0,)
    unit: str = "tasks"
    out: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    calls: Mapping[str, float] = field(default_factory=dict)
    keeps_tasks: bool = False
    ties: bool = False

    def __post_init__(self) -> None:
        for name in (*self.models, *self.weights):
            registry.model_class(name)
        if not self.models or len(set(self.models)) < len(self.models):
            raise OptionError(f"models must be named, each once, but got {list(self.models)}")
        if any(not 0 < share <= 1 for share in self.shares):
            raise OptionError(f"`0 < share <= 1` must hold, but got {list(self.shares)}")
        if any(not 0 < calls < math.inf for calls in self.calls.values()):
            raise OptionError("`calls > 0` must hold for each workload, and be finite")
        if self.unit not in ("tasks", "records"):
            raise OptionError(f"unit must be 'tasks' or 'records', but got {self.unit!r}")


@dataclass(frozen=True)
class EvaluationReport:
    """What was found.

    Attributes:
        models: model -> its figures on the test tasks after training on the whole.
        skipped: model -> why it could not take part.
        curves: model -> figures for each share of the training data, ascending, if more than one was asked for.
        data: counts and hash of the data.
        settings: seed, threads and the like.
    """

    models: dict[str, dict[str, Any]]
    skipped: dict[str, str]
    curves: dict[str, list[dict[str, Any]]]
    data: dict[str, Any]
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data; figures that do not exist are null."""
        return asdict(self)


@dataclass(frozen=True)
class _Parts:
    train: list[Trajectory]
    validation: list[Trajectory]
    test: list[Trajectory]


def evaluate(
    data: RecordStore | Sequence[Trajectory],
    split: Split | None,
    config: EvaluationConfig,
    report: Callable[[str], None] = lambda line: None,
) -> EvaluationReport:
    """Trains and scores models.

    Args:
        data: a data set, or its trajectories.
        split: by workload; None for the one beside the data.
        config: what to evaluate.
        report: called with a line for each trained model.

    Raises:
        DataError: there is no split, or its test part has no task that can be ranked.
        UnsupportedError: a model needs a package that is not installed.
    """
    parts = _parts(data, split)
    groups = labelled_groups(parts.test, metrics.MIN_TIMED)
    if not groups:
        raise DataError(f"no test task has {metrics.MIN_TIMED} timed schedules: there is nothing to score a ranking on")
    found: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    curves: dict[str, list[dict[str, Any]]] = {}
    shares = sorted({1.0, *config.shares}, reverse=True)
    hashes = {"validation": _data_hash(parts.validation), "test": _data_hash(parts.test)}
    for name in config.models:
        rows = []
        for share in shares:
            subset = _subset(parts.train, share, config.unit, config.seed)
            try:
                row = _row(name, share, _Parts(subset, parts.validation, parts.test), groups, hashes, config)
            except ModelError as error:
                if name in config.weights and share == 1.0:
                    raise  # the user's file, not the data, is at fault
                skipped[name] = str(error)
                report(f"{name}: skipped: {error}")
                break
            rows.append(row)
            report(
                f"{name}, {share:.0%} of the {config.unit}: top-1 {row['top1_mean']:.3f}, top-5 {row['top5_mean']:.3f},"
                f" pairs {row['pairwise']:.3f}"
            )
        if rows and name not in skipped:
            found[name] = rows[0]
            if len(shares) > 1:
                curves[name] = rows[::-1]
    counts = {f"num_{part}_records": len(getattr(parts, part)) for part in ("train", "validation", "test")}
    data_figures = {
        **counts,
        "num_train_tasks": _num_tasks(parts.train),
        "num_test_tasks": _num_tasks(parts.test),
        "num_ranked_test_tasks": len(groups),
        "min_timed": metrics.MIN_TIMED,
        "hash": _hash([_data_hash(parts.train), hashes]),
    }
    settings = {
        "seed": config.seed,
        "unit": config.unit,
        "shares": shares[::-1],
        "num_threads": torch.get_num_threads(),
    }
    return EvaluationReport(found, skipped, curves, data_figures, settings)


# -- one model -----------------------------------------------------------------------------------


def _row(
    name: str, share: float, parts: _Parts, groups: Sequence[Group], hashes: Mapping[str, str], config: EvaluationConfig
) -> dict[str, Any]:
    weights = config.weights.get(name) if share == 1.0 else None

    def path_of(model_name: str) -> Path | None:
        settings = registry.make(model_name, config.seed).settings
        data = [config.unit if share < 1 else "", config.seed, _data_hash(parts.train), hashes, _file_hash(weights)]
        asked = [sorted(config.calls.items()), config.keeps_tasks] if config.calls or config.keeps_tasks else []
        asked += ["ties"] if config.ties else []
        identity = [_ROW_SCHEMA, model_name, share, *data, *([settings] if settings else []), *asked]
        return config.out / f"{model_name}-{share:g}-{_hash(identity)}.json" if config.out else None

    path = path_of(name)
    if path is not None and path.exists():
        return _read_row(path)
    twin = path_of(registry.model_class(name).trained_as or name)
    start = time.perf_counter()
    if weights is not None:
        model, train_secs = registry.load(name, weights), None
    elif twin is not None and twin != path and twin.exists() and twin.with_suffix(".safetensors").exists():
        model, train_secs = registry.load(name, twin.with_suffix(".safetensors")), _read_row(twin)["train_secs"]
    else:
        model = registry.make(name, config.seed)
        model.fit(parts.train, parts.validation)
        train_secs = time.perf_counter() - start
    row = {
        "share": share,
        "num_train_tasks": _num_tasks(parts.train),
        "num_train_records": len(parts.train),
        "train_secs": train_secs,
        **score_model(model, groups, parts.test, config.calls, config.ties),
    }
    if not config.keeps_tasks:
        del row["tasks"]
    if path is not None:
        if weights is None and share == 1.0:
            model.save(path.with_suffix(".safetensors"))
        write_text_atomically(path, json.dumps(row, indent=1) + "\n")
    return row


def _read_row(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is damaged: {error}; delete it to have it computed again") from error


def score_model(
    model: CostModel,
    groups: Sequence[Group],
    trajectories: Sequence[Trajectory],
    calls: Mapping[str, float] = MappingProxyType({}),
    ties: bool = False,
) -> dict[str, Any]:
    """Figures of a trained model on the measured candidates of some tasks.

    Args:
        model: trained.
        groups: what to rank; each with at least `metrics.MIN_TIMED` timed schedules.
        trajectories: those that the groups were made of.
        calls, ties: see `EvaluationConfig`.

    Returns:
        `top1_mean, top1_sum, top5_mean, top5_sum, pairwise, spearman` (higher is better), `regret1, regret5, regret10`
        (lower is better), `calibration`, `legality_auc` (None where the model or the data has none),
        `candidates_per_sec`, `needs_final_program`, `families` and `targets`, the same for each operator family and
        each target, and `tasks`, a row for each.
    """
    if isinstance(model, StaticCostModel):
        model.bind(recorded_features(trajectories))
    start = time.perf_counter()
    scores = [_scores_and_spreads(model, group) for group in groups]
    secs = time.perf_counter() - start
    records = {t.record.candidate.key: t.record for t in trajectories}
    ranked, everything, families, targets, spreads = [], [], defaultdict(list), defaultdict(list), []
    for group, (all_scores, all_spreads) in zip(groups, scores):
        timed = np.flatnonzero(group.throughput)
        task = group.task
        measured = np.array([records[group.candidates[i].key].best_secs for i in timed])
        weight = calls.get(task.workload.hash, 1.0)
        tie = metrics.tie_of(records[group.candidates[i].key].run_secs for i in timed) if ties else 0.0
        ranked.append(metrics.RankedTask("/".join(task.key), all_scores[timed], measured, task.networks, weight, tie))
        everything.append(_task_figures(ranked[-1]))
        families[task.workload.family].append(everything[-1])
        targets[str(task.target)].append(everything[-1])
        if all_spreads is not None:
            spreads.append((all_scores[timed], all_spreads[timed], measured))
    networks = {k: metrics.network_top_k(ranked, k) for k in (1, 5)}
    means = _means(everything)
    return {
        "top1_mean": networks[1]["mean"],
        "top1_sum": networks[1]["sum"],
        "top5_mean": networks[5]["mean"],
        "top5_sum": networks[5]["sum"],
        **{name: means[name] for name in ("pairwise", "spearman", "regret1", "regret5", "regret10")},
        "calibration": metrics.calibration(spreads),
        "legality_auc": _legality_auc(model, groups, records),
        "candidates_per_sec": sum(len(g.candidates) for g in groups) / max(secs, 1e-9),
        "needs_final_program": isinstance(model, StaticCostModel),
        "families": _means_by_name(families),
        "targets": _means_by_name(targets),
        "tasks": [_task_row(g.task, task, row) for g, task, row in zip(groups, ranked, everything)],
    }


def _scores_and_spreads(model: CostModel, group: Group) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(model, PredictsSpread):
        return model.predict_with_spread(group.task, group.candidates)
    return model.predict(group.task, group.candidates), None


def _means_by_name(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, Any]]:
    return {name: {"num_tasks": len(members), **_means(members)} for name, members in sorted(rows.items())}


def _task_figures(task: metrics.RankedTask) -> dict[str, float]:
    figures = {f"top{k}": metrics.top_k_score(task.scores, task.secs, k) for k in (1, 5)}
    figures |= {f"regret{k}": metrics.regret(task.scores, task.secs, k) for k in (1, 5, 10)}
    return {
        **figures,
        "pairwise": metrics.pairwise_accuracy(task.scores, task.secs, task.tie),
        "spearman": metrics.spearman(task.scores, -task.secs),
    }


def _task_row(task: Task, ranked: metrics.RankedTask, figures: Mapping[str, float]) -> dict[str, Any]:
    return {
        "workload": task.workload.hash,
        "name": task.workload.name,
        "target": str(task.target),
        "calls": ranked.calls,
        "networks": [list(network) for network in ranked.networks],
        "best_secs": float(ranked.secs.min()),
        **{f"top{k}_secs": metrics.best_of_top(ranked.scores, ranked.secs, k) for k in (1, 5)},
        **{name: None if math.isnan(value) else value for name, value in figures.items()},
    }


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    return {name: metrics.mean_or_none(row[name] for row in rows) for name in rows[0]}


def _legality_auc(model: CostModel, groups: Sequence[Group], records: Mapping[tuple, Any]) -> float | None:
    if not isinstance(model, PredictsLegality):
        return None
    legal = np.array([records[c.key].status in (Status.OK, Status.WRONG_OUTPUT) for g in groups for c in g.candidates])
    return metrics.area_under_curve(
        np.concatenate([model.predict_legality(g.task, g.candidates) for g in groups]), legal
    )


# -- data ----------------------------------------------------------------------------------------


def _parts(data: RecordStore | Sequence[Trajectory], split: Split | None) -> _Parts:
    if split is None:
        split = data.split() if isinstance(data, RecordStore) else None
        if split is None:
            raise DataError(
                "the data has no split: pass one, or write it beside the data with `make_split(...).save(folder)`"
            )
    trajectories = list(data.trajectories()) if isinstance(data, RecordStore) else data
    members: dict[str, list[Trajectory]] = {"train": [], "validation": [], "test": []}
    part_of = {workload: part for part in members for workload in getattr(split, part)}
    for trajectory in trajectories:
        part = part_of.get(trajectory.record.candidate.task.workload.hash)
        if part is not None and len(trajectory.record.trace):
            members[part].append(trajectory)
    return _Parts(**members)


def _subset(trajectories: list[Trajectory], share: float, unit: str, seed: int) -> list[Trajectory]:
    """A share of the data; smaller shares are parts of larger ones, and at least two tasks or two records of each task
    stay.
    """
    if share >= 1:
        return trajectories
    by_task: dict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        by_task[trajectory.record.candidate.task.key].append(trajectory)
    if unit == "tasks":
        kept = set(_first(by_task, share, seed, lambda key: "/".join(key)))
        return [t for t in trajectories if t.record.candidate.task.key in kept]
    return [t for members in by_task.values() for t in _first(members, share, seed, lambda t: t.record.trace.key)]


def _first(items: Any, share: float, seed: int, name: Callable[[Any], str]) -> list[Any]:
    ordered = sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{name(item)}".encode()).digest())
    return ordered[: max(2, math.ceil(share * len(ordered)))]


def _num_tasks(trajectories: Sequence[Trajectory]) -> int:
    return len({t.record.candidate.task.key for t in trajectories})


def _data_hash(trajectories: Sequence[Trajectory]) -> str:
    return _hash(sorted([*t.record.candidate.key, t.record.status.value, *t.record.run_secs] for t in trajectories))


def _file_hash(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
