"""Figures of a data set: counts, noise, spread, split. One pass over the records, in constant memory."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from foretune.datasets.records import schema
from foretune.datasets.records.manifest import FILE_NAME as MANIFEST_FILE
from foretune.datasets.records.reservoir import Reservoir
from foretune.datasets.records.split import FILE_NAME as SPLIT_FILE
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.measurements import COLUMNS, Measurements, TaskKey, encode, large_batches, measurements
from foretune.errors import DataError
from foretune.record import Status

UNKNOWN = "unknown"
_TIMES_OF_A_TASK = 512  # kept for its median
_NOISE_ROWS = 1 << 16


class _Counted:
    """What follows from the counts of statuses."""

    statuses: dict[str, int]

    @property
    def num_records(self) -> int:
        """Records that can be read, failed ones too."""
        return sum(self.statuses.values())

    @property
    def num_ok(self) -> int:
        """Records that have run times."""
        return self.statuses.get(Status.OK.value, 0)


@dataclass(frozen=True)
class TaskFigures(_Counted):
    """What was measured of one task: a workload on a target.

    Attributes:
        workload: hash of the workload.
        target: the target's text.
        name, family: of the workload.
        statuses: status -> records.
        best_secs, median_secs, worst_secs: over the best run times of its ok records; None if it has none. Lower is
        better.
        default_secs: of the untouched program; None if that was not measured.
    """

    workload: str
    target: str
    name: str
    family: str
    statuses: dict[str, int]
    best_secs: float | None
    median_secs: float | None
    worst_secs: float | None
    default_secs: float | None

    @property
    def spread(self) -> float | None:
        """Worst time over best time: how much there is to rank; None with fewer than two ok records."""
        return self.worst_secs / self.best_secs if self.best_secs and self.worst_secs and self.num_ok > 1 else None

    @property
    def speedup(self) -> float | None:
        """Default time over best time; higher is better."""
        return self.default_secs / self.best_secs if self.best_secs and self.default_secs else None

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON data."""
        return {
            "workload": self.workload,
            "name": self.name,
            "family": self.family,
            "target": self.target,
            "num_records": self.num_records,
            "num_ok": self.num_ok,
            "statuses": self.statuses,
            "best_secs": self.best_secs,
            "median_secs": self.median_secs,
            "worst_secs": self.worst_secs,
            "default_secs": self.default_secs,
            "speedup": self.speedup,
            "spread": self.spread,
        }


@dataclass(frozen=True)
class Summary(_Counted):
    """Figures of a whole data set.

    Attributes:
        path: the folder.
        content_hash: of its files.
        bytes: size of its files.
        tasks: figures of each task, sorted by family, name and hash.
        sources: where records came from -> records.
        tools: name -> versions.
        settings: how run times were taken (JSON data, or None where unknown), and the number of records.
        first_timestamp, last_timestamp: seconds since the epoch; None where no record has one.
        num_repeated: ok records with two or more run times.
        noise: [M, 2] (best seconds, coefficient of variation) of those; a sample of them if there are very many.
        imported: logs of other tools that were imported, as the manifest lists them.
        split: the split beside the data, if there is one.
        damaged: a message for each thing that could not be read.
    """

    path: str
    content_hash: str
    bytes: int
    tasks: tuple[TaskFigures, ...]
    sources: dict[str, int]
    tools: dict[str, list[str]]
    settings: tuple[tuple[dict[str, Any] | None, int], ...]
    first_timestamp: float | None
    last_timestamp: float | None
    num_repeated: int
    noise: np.ndarray
    imported: tuple[dict[str, Any], ...]
    split: Split | None
    damaged: tuple[str, ...]

    @cached_property
    def statuses(self) -> dict[str, int]:
        """Status -> records, most frequent first."""
        return dict(sum((Counter(t.statuses) for t in self.tasks), Counter[str]()).most_common())

    @cached_property
    def families(self) -> dict[str, list[TaskFigures]]:
        """Family -> its tasks, by name of the family."""
        found: dict[str, list[TaskFigures]] = defaultdict(list)
        for task in self.tasks:
            found[task.family].append(task)
        return dict(sorted(found.items()))

    @cached_property
    def targets(self) -> dict[str, int]:
        """Target -> records."""
        found: Counter[str] = Counter()
        for task in self.tasks:
            found[task.target] += task.num_records
        return dict(found.most_common())

    def noise_quantile(self, q: float) -> float | None:
        """A quantile of the coefficient of variation of repeated run times; None if nothing was repeated. Lower is
        better.
        """
        return float(np.quantile(self.noise[:, 1], q)) if len(self.noise) else None

    @cached_property
    def split_counts(self) -> dict[str, dict[str, int]] | None:
        """Part of the split -> tasks and records; None without a split. `none` holds what the split does not place."""
        if self.split is None:
            return None
        counts = {part: {"tasks": 0, "records": 0} for part in ("train", "validation", "test", "none")}
        for task in self.tasks:
            part = next((p for p in ("train", "validation", "test") if task.workload in getattr(self.split, p)), "none")
            counts[part]["tasks"] += 1
            counts[part]["records"] += task.num_records
        if not counts["none"]["tasks"]:
            del counts["none"]
        return counts

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON data, without the tasks."""
        return {
            "path": self.path,
            "schema": schema.SCHEMA_VERSION,
            "content_hash": self.content_hash,
            "bytes": self.bytes,
            "num_records": self.num_records,
            "num_ok": self.num_ok,
            "num_tasks": len(self.tasks),
            "num_workloads": len({t.workload for t in self.tasks}),
            "num_families": len(self.families),
            "num_tasks_with_default": sum(t.default_secs is not None for t in self.tasks),
            "statuses": self.statuses,
            "families": {
                name: {
                    "tasks": len(tasks),
                    "records": sum(t.num_records for t in tasks),
                    "ok": sum(t.num_ok for t in tasks),
                    "median_spread": median_spread(tasks),
                    "median_speedup": median_speedup(tasks),
                }
                for name, tasks in self.families.items()
            },
            "targets": self.targets,
            "tools": self.tools,
            "sources": self.sources,
            "settings": [{"settings": settings, "records": count} for settings, count in self.settings],
            "num_repeated": self.num_repeated,
            "median_noise_cv": self.noise_quantile(0.5),
            "p95_noise_cv": self.noise_quantile(0.95),
            "median_spread": median_spread(self.tasks),
            "median_speedup": median_speedup(self.tasks),
            "first_timestamp": self.first_timestamp,
            "last_timestamp": self.last_timestamp,
            "imported": list(self.imported),
            "split": self.split_counts,
            "damaged": list(self.damaged),
        }


def median_spread(tasks: list[TaskFigures] | tuple[TaskFigures, ...]) -> float | None:
    """Median over tasks of worst time over best time."""
    return statistics.median(spreads) if (spreads := [t.spread for t in tasks if t.spread is not None]) else None


def median_speedup(tasks: list[TaskFigures] | tuple[TaskFigures, ...]) -> float | None:
    """Median over tasks of default time over best time."""
    return statistics.median(speedups) if (speedups := [t.speedup for t in tasks if t.speedup is not None]) else None


def summarize(store: RecordStore) -> Summary:
    """Reads all records once.

    Args:
        store: with `skip_damaged`, what can be read is summarised, and the rest is listed in the summary.
    """
    scan = _Scan()
    for batch in large_batches(store, [*COLUMNS, "environment", "settings", "source"]):
        scan.add(batch)
    entries = store.entries()
    try:
        split, messages = store.split(), []
    except DataError as error:
        split, messages = None, [str(error)]
    lost = {workload for workload, _ in scan.tasks if workload not in entries} - set(store.manifest.lost)
    if lost:
        messages.append(
            f"{store.path} has records of {len(lost)} workloads whose programs are missing, such as {min(lost)}"
        )
    tasks = [
        state.figures(
            key, *((e.workload.name, e.workload.family or UNKNOWN) if (e := entries.get(key[0])) else ("", UNKNOWN))
        )
        for key, state in scan.tasks.items()
    ]
    names = [MANIFEST_FILE, SPLIT_FILE, *store.manifest.shards, *store.manifest.workloads]
    return Summary(
        path=str(store.path),
        content_hash=store.manifest.content_hash,
        bytes=sum(p.stat().st_size for p in (store.path / n for n in names) if p.is_file()),
        tasks=tuple(sorted(tasks, key=lambda t: (t.family, t.name, t.workload, t.target))),
        sources=dict(scan.sources.most_common()),
        tools={name: sorted(versions) for name, versions in sorted(scan.tools.items())},
        settings=tuple((_object(text), count) for text, count in scan.settings.most_common()),
        first_timestamp=scan.first if scan.last else None,
        last_timestamp=scan.last or None,
        num_repeated=scan.num_repeated,
        noise=scan.noise.rows,
        imported=tuple(store.manifest.sources.values()),
        split=split,
        damaged=(*store.damaged, *messages),
    )


@dataclass
class _TaskState:
    statuses: Counter[str] = field(default_factory=Counter)
    best: float = float("inf")
    worst: float = 0.0
    default: float = float("inf")
    times: Reservoir = field(default_factory=lambda: Reservoir(_TIMES_OF_A_TASK))

    def add(self, batch: Measurements, rows: np.ndarray) -> None:
        for status, count in enumerate(np.bincount(batch.status[rows], minlength=len(batch.statuses)).tolist()):
            if count:
                self.statuses[batch.statuses[status] or UNKNOWN] += count
        secs, default = batch.best_secs[rows], batch.default[rows]
        measured = ~np.isnan(secs)
        self.times.add(secs[measured])
        self.best = min(self.best, secs[measured].min(initial=np.inf))
        self.worst = max(self.worst, secs[measured].max(initial=0.0))
        self.default = min(self.default, secs[measured & default].min(initial=np.inf))

    def figures(self, key: TaskKey, name: str, family: str) -> TaskFigures:
        any_ok = self.worst > 0
        return TaskFigures(
            *key,
            name,
            family,
            dict(self.statuses.most_common()),
            float(self.best) if any_ok else None,
            self.times.quantile(0.5),
            float(self.worst) if any_ok else None,
            float(self.default) if np.isfinite(self.default) else None,
        )


class _Scan:
    def __init__(self) -> None:
        self.tasks: dict[TaskKey, _TaskState] = {}
        self.sources: Counter[str] = Counter()
        self.settings: Counter[str] = Counter()
        self.tools: dict[str, set[str]] = defaultdict(set)
        self.noise = Reservoir(_NOISE_ROWS, width=2)
        self.num_repeated = 0
        self.first, self.last = float("inf"), 0.0

    def add(self, batch: pa.RecordBatch) -> None:
        found = measurements(batch)
        for key, rows in found.by_task():
            self.tasks.setdefault(key, _TaskState()).add(found, rows)
        repeated = ~np.isnan(found.variation)
        self.num_repeated += int(repeated.sum())
        self.noise.add(np.stack([found.best_secs[repeated], found.variation[repeated]], 1))
        dated = found.timestamp[np.isfinite(found.timestamp) & (found.timestamp > 0)]
        self.first, self.last = float(dated.min(initial=self.first)), float(dated.max(initial=self.last))
        for column, counter in (("source", self.sources), ("settings", self.settings)):
            texts, codes = encode(batch[column])
            counter.update(dict(zip(texts, np.bincount(codes, minlength=len(texts)).tolist())))
        for text in encode(batch["environment"])[0]:
            for tool, version in (_object(text) or {}).items():
                if tool not in schema.OF_ONE_RECORD:
                    self.tools[tool].add(str(version))


def _object(text: str) -> dict[str, Any] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) else None
