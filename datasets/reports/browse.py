"""Finding tasks and records of a data set by what people type: the start of a hash, or a name."""

from __future__ import annotations

import difflib
import heapq
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow.compute

from foretune.datasets.records import schema
from foretune.datasets.records.features import store_figures
from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.measurements import COLUMNS, DEFAULT_KEY, encode, measurements
from foretune.datasets.reports.summary import TaskFigures
from foretune.errors import DataError
from foretune.record import Trajectory
from foretune.target import Target

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers see none

_NUM_NAMED, _NUM_NEAR, _MAX_FOUND = 12, 5, 1000


@dataclass(frozen=True)
class RecordLine:
    """One record of a task, in short.

    Attributes:
        trace_key: hash of its trace.
        space_id: hash of the design space that the trace is a point of.
        target: the target's text.
        status: how the measurement ended.
        best_secs: smallest run time, None unless the status is ok. Lower is better.
        variation: coefficient of variation of the run times; None with fewer than two.
        timestamp: seconds since the epoch.
        source: where the record came from.
    """

    trace_key: str
    space_id: str
    target: str
    status: str
    best_secs: float | None
    variation: float | None
    timestamp: float
    source: str

    @property
    def is_default(self) -> bool:
        """Whether the program was left untouched."""
        return self.trace_key == DEFAULT_KEY

    def to_json(self) -> dict[str, Any]:
        """The line as JSON data."""
        return {**asdict(self), "default": self.is_default}


@dataclass(frozen=True)
class RecordView:
    """All of one record.

    Attributes:
        trajectory: the record with the static features of its initial and final program.
        source: where the record came from.
    """

    trajectory: Trajectory
    source: str

    def to_json(self) -> dict[str, Any]:
        """The record as JSON data."""
        record = self.trajectory.record
        workload = record.candidate.task.workload
        return {
            "workload": workload.hash,
            "name": workload.name,
            "family": workload.family,
            "source": self.source,
            "target": record.candidate.task.target.to_json(),
            "trace_key": record.trace.key,
            "space_id": record.trace.space_id,
            **record.to_json(),
            "trace_text": str(record.trace),
            "initial": [figures.to_json() for figures in store_figures(self.trajectory.initial)],
            "final": [figures.to_json() for figures in store_figures(self.trajectory.final)],
        }


def find_workload(tasks: Iterable[TaskFigures], text: str) -> str:
    """The hash of the one workload that a text stands for.

    Args:
        tasks: to search in.
        text: a workload's name, its hash or the first digits of it.

    Raises:
        DataError: no workload or more than one fits; the message lists what comes near.
    """
    known = {task.workload: task for task in tasks}
    if text in known:
        return text
    found = [t for t in known.values() if t.name == text] or [t for t in known.values() if t.workload.startswith(text)]
    if len(found) == 1:
        return found[0].workload
    if found:
        raise DataError(
            f"{text!r} stands for {len(found)} tasks; give more of the hash of one of"
            f" them:\n{_listed(_line(t) for t in found)}"
        )
    names = difflib.get_close_matches(text, sorted({t.name for t in known.values()} | set(known)), _NUM_NEAR, 0.4)
    near = [t for name in names for t in known.values() if name in (t.name, t.workload)]
    raise DataError(
        f"no task has the name or hash {text!r}; "
        + (f"the nearest are:\n{_listed(_line(t) for t in near)}" if near else "none comes near")
    )


def find_record(store: RecordStore, text: str, workload: str = "") -> tuple[str, str]:
    """The workload hash and the trace key of the one candidate that a text stands for.

    Args:
        store: to search in.
        text: a trace key or the first digits of it.
        workload: hash of the workload to search in; all by default.

    Raises:
        DataError: no candidate or more than one fits; the message lists what comes near.
    """
    found: dict[tuple[str, str], None] = {}
    near: list[tuple[int, str, str]] = []
    for batch in store.batches(["workload", "trace_key"]):
        if workload:
            batch = batch.filter(pc.equal(batch["workload"], workload))
        fitting = batch.filter(pc.starts_with(batch["trace_key"], text))
        found.update(dict.fromkeys(zip(*(fitting[c].to_pylist() for c in ("workload", "trace_key")))))
        if not found:
            keys = set(zip(batch["trace_key"].to_pylist(), batch["workload"].to_pylist()))
            near = heapq.nlargest(
                _NUM_NEAR, {*near, *((_num_shared(key, text), key, task) for key, task in keys if key and task)}
            )
        if len(found) > _MAX_FOUND:
            break
    if len(found) == 1:
        return next(iter(found))
    if found:
        lines = (f"  {key}  of task {task}" for task, key in found)
        count = len(found) if len(found) <= _MAX_FOUND else f"more than {_MAX_FOUND}"
        raise DataError(f"{text!r} stands for {count} records; give more of the key, or the task:\n{_listed(lines)}")
    where = f" of task {workload}" if workload else ""
    lines = [f"  {key}  of task {task}" for shared, key, task in near if shared]
    raise DataError(
        f"no record{where} has a key that starts with {text!r}; "
        + (f"the nearest are:\n{_listed(lines)}" if lines else "none comes near")
    )


def list_records(store: RecordStore, workload: str) -> list[RecordLine]:
    """The records of a workload, fastest first, failed ones at the end."""
    lines = []
    for batch in store.batches([*COLUMNS, "space_id", "source"]):
        batch = batch.filter(pc.equal(batch["workload"], workload))
        found = measurements(batch)
        columns = []
        for name in ("trace_key", "space_id", "source"):
            texts, codes = encode(batch[name])
            columns.append([texts[code] for code in codes])
        for i, (key, space, source) in enumerate(zip(*columns)):
            lines.append(
                RecordLine(
                    key,
                    space,
                    found.tasks[found.task[i]][1],
                    found.statuses[found.status[i]],
                    _or_none(found.best_secs[i]),
                    _or_none(found.variation[i]),
                    float(found.timestamp[i]),
                    source,
                )
            )
    return sorted(lines, key=lambda line: (line.best_secs is None, line.best_secs or 0.0, line.status, line.timestamp))


def read_records(store: RecordStore, workload: str, trace_key: str) -> list[RecordView]:
    """All records of one candidate, in full: as many as there are measurements of it, on any target.

    Raises:
        DataError: a record is damaged, or its program is missing.
    """
    entry = store.entries().get(workload)
    if entry is None:
        raise DataError(f"{store.path} has records of workload {workload}, whose program is missing")
    views = []
    for batch in store.batches():
        batch = batch.filter(pc.and_(pc.equal(batch["workload"], workload), pc.equal(batch["trace_key"], trace_key)))
        for row in batch.to_pylist():
            trajectory = schema.trajectory_from_row(row, entry.task(_target(store, row)), entry.initial)
            views.append(RecordView(trajectory, row["source"] or ""))
    return views


def _target(store: RecordStore, row: dict[str, Any]) -> Target:
    try:
        return Target.from_json(json.loads(row["target"]))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{store.path}: the target of record {row['trace_key']} is damaged: {error}") from error


def _or_none(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _num_shared(key: str, text: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(key, text)) if a != b), min(len(key), len(text)))


def _line(task: TaskFigures) -> str:
    return f"  {task.workload}  {task.family}  {task.name}"


def _listed(lines: Iterable[str]) -> str:
    shown: Sequence[str] = list(lines)
    rest = [f"  … and {len(shown) - _NUM_NAMED} more"] if len(shown) > _NUM_NAMED else []
    return "\n".join([*shown[:_NUM_NAMED], *rest])
