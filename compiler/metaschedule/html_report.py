"""A page about a database of tuned records: curves, choices, schedules and errors; one file that needs no network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from foretune.compiler.tir import traces
from foretune.compiler.tir.workload import module_from_program
from foretune.datasets.records.database import Database
from foretune.errors import DatabaseError, DataError, IllegalActionError
from foretune.record import MeasureRecord, Status, fastest
from foretune.support.files import write_text_atomically
from foretune.task import Task

_WIDTH, _HEIGHT, _MARGIN = 560, 160, 44
_SHOWN_ERRORS = 5


@dataclass(frozen=True)
class TaskSummary:
    """What a database holds of one task.

    Attributes:
        task: it.
        records: oldest first.
    """

    task: Task
    records: Sequence[MeasureRecord]

    @property
    def best(self) -> MeasureRecord | None:
        """The fastest that worked."""
        return next(iter(fastest(self.records, 1)), None)

    @property
    def default_secs(self) -> float | None:
        """Of the default schedule, if it was measured and worked."""
        return next((r.best_secs for r in self.records if not len(r.trace) and r.status is Status.OK), None)

    @property
    def gain(self) -> float | None:
        """How many times as fast as the default schedule the best one is."""
        return self.default_secs / self.best.best_secs if self.best is not None and self.default_secs else None

    @property
    def statuses(self) -> dict[str, int]:
        """Number of records of each status, the most frequent first."""
        return dict(Counter(r.status.value for r in self.records).most_common())

    @property
    def errors(self) -> list[tuple[str, int]]:
        """The most frequent error messages, with how often they came."""
        return Counter(f"{r.status.value}: {r.error}" for r in self.records if r.status is not Status.OK).most_common(
            _SHOWN_ERRORS
        )

    def schedule(self) -> str:
        """The best schedule as TVM calls that a person would write."""
        if self.best is None or not len(self.best.trace):
            return "the default schedule"
        try:
            return traces.as_python(module_from_program(self.task.workload.program), self.best.trace)
        except (IllegalActionError, DataError) as error:
            return f"cannot be replayed here: {error}"


def write_report(database: Path, out: Path) -> dict[str, Any]:
    """Writes the page.

    Args:
        database: file of records.
        out: file of the page.

    Returns:
        `tasks`, `records` and `failed`: how many there are; `damaged`: rows that were left out, with the reason.

    Raises:
        DatabaseError: there is no such database, or it cannot be read.
    """
    if not database.expanduser().is_file():
        raise DatabaseError(f"there is no database {database}")
    with Database(database, read_only=True) as opened:
        summaries = [TaskSummary(task, opened.records(task)) for task in opened.tasks()]
        damaged = [str(row) for row in opened.damaged]
    summaries.sort(key=lambda s: -(s.best.best_secs if s.best is not None else 0.0))
    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.PackageLoader("foretune.compiler", "templates"), undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        database=database, summaries=[_row(s) for s in summaries], gain=_mean_gain(summaries)
    )
    write_text_atomically(out, page)
    records = [r for s in summaries for r in s.records]
    return {
        "tasks": len(summaries),
        "records": len(records),
        "failed": sum(r.status is not Status.OK for r in records),
        "damaged": damaged,
        "out": str(out),
    }


def _row(summary: TaskSummary) -> dict[str, Any]:
    best = summary.best
    return {
        "name": summary.task.workload.name or "unnamed",
        "family": summary.task.workload.family,
        "hash": summary.task.workload.hash,
        "target": str(summary.task.target.key),
        "num_records": len(summary.records),
        "best": _time(best.best_secs) if best else "none",
        "default": _time(summary.default_secs) if summary.default_secs else "unknown",
        "gain": f"{summary.gain:.2f}" if summary.gain else "",
        "statuses": summary.statuses,
        "errors": summary.errors,
        "schedule": summary.schedule(),
        "curve": _curve(summary),
    }


def _mean_gain(summaries: Sequence[TaskSummary]) -> str:
    gains = [math.log(s.gain) for s in summaries if s.gain]
    return f"{math.exp(sum(gains) / len(gains)):.2f}" if gains else ""


def _time(secs: float) -> str:
    unit, factor = next(
        (u, f) for u, f in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)) if secs >= f or u == "ns"
    )
    return f"{secs / factor:.4g} {unit}"


def _curve(summary: TaskSummary) -> dict[str, Any] | None:
    """The fastest time after each measurement, and each measurement's, on logarithmic axes: points of an SVG
    picture.
    """
    timed = [(i, r.best_secs) for i, r in enumerate(summary.records, 1) if r.status is Status.OK]
    if len(timed) < 2:
        return None
    low, high = min(s for _, s in timed), max(s for _, s in timed)
    span = math.log(high / low) or 1.0

    def place(number: int, secs: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * (number - 1) / max(1, len(summary.records) - 1)
        return round(x, 1), round(_MARGIN / 2 + (_HEIGHT - _MARGIN) * math.log(high / secs) / span, 1)

    best, line = math.inf, []
    for number, secs in timed:
        if secs < best:
            if line:
                line.append(place(number, best))
            best = secs
            line.append(place(number, best))
    line.append(place(len(summary.records), best))
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "margin": _MARGIN,
        "line": " ".join(f"{x},{y}" for x, y in line),
        "points": [place(*t) for t in timed],
        "high": _time(high),
        "low": _time(low),
        "last": len(summary.records),
    }
