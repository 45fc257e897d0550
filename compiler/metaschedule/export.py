"""`foretune export`: records of a data set as MetaSchedule's JSON database."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import meta_schedule
from foretune.compiler.tir.space import ScheduleContext
from foretune.compiler.tir.target import tvm_target
from foretune.compiler.tir.workload import module_from_program
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.record import MeasureRecord, Status

_SOURCES = ("foretune", "metaschedule")


@dataclass(frozen=True)
class ExportReport:
    """Counts of an export.

    Attributes:
        num_records, num_workloads: written.
        skipped: reason -> records that were left out.
    """

    num_records: int
    num_workloads: int
    skipped: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return asdict(self)


def export_database(data: Path, out: Path, best: int | None = None) -> ExportReport:
    """Writes `database_workload.json` and `database_tuning_record.json`, both whole or not at all.

    Each trace is replayed and post-processed, because TVM's database holds traces with their post-processing.

    Args:
        data: folder of a data set.
        out: folder for the two files.
        best: how many records of each task to write, the fastest first; all by default.

    Raises:
        DataError: the files are there already, or no record could be written.
    """
    if best is not None and best < 1:
        raise OptionError(f"`best >= 1` must hold, but got {best}")
    names = ("database_workload.json", "database_tuning_record.json")
    for name in names:
        if (out / name).exists():
            raise DataError(f"{out / name} is there already; choose another folder")
    skipped: Counter[str] = Counter()
    records, workloads = 0, 0
    with RecordStore(data) as store:
        tasks = _chosen(store, best, skipped)
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    try:
        database = meta_schedule.database.JSONDatabase(*(str(folder / name) for name in names))
        for chosen in tasks.values():
            written = _write_task(database, chosen, skipped)
            records, workloads = records + written, workloads + bool(written)
        if not records:
            raise DataError(f"{data} has no record that can be written as a MetaSchedule trace: {dict(skipped)}")
        for name in names:
            (folder / name).rename(out / name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            out.rmdir()  # if nothing was written
    return ExportReport(records, workloads, dict(skipped))


def _chosen(store: RecordStore, best: int | None, skipped: Counter[str]) -> dict[tuple[str, str], list[MeasureRecord]]:
    ours = {
        (row["workload"], row["trace_key"])
        for row in store.rows(["workload", "trace_key", "source"])
        if row["source"] in _SOURCES
    }
    tasks: dict[tuple[str, str], list[MeasureRecord]] = defaultdict(list)
    for trajectory in store.trajectories():
        record = trajectory.record
        if record.status is not Status.OK:
            skipped[record.status.value] += 1
        elif (record.candidate.task.workload.hash, record.trace.key) not in ours:
            skipped["not a MetaSchedule trace"] += 1
        else:
            tasks[record.candidate.task.key].append(record)
            if best is not None and len(tasks[record.candidate.task.key]) > 4 * best:
                _keep_fastest(tasks[record.candidate.task.key], best)
    for records in tasks.values():
        _keep_fastest(records, best)
    return tasks


def _keep_fastest(records: list[MeasureRecord], best: int | None) -> None:
    records.sort(key=lambda r: r.best_secs)
    if best is not None:
        del records[best:]


def _write_task(database: meta_schedule.database.Database, records: list[MeasureRecord], skipped: Counter[str]) -> int:
    task = records[0].candidate.task
    try:
        mod = module_from_program(task.workload.program)
    except DataError:
        skipped["the program was written by another TVM"] += len(records)
        return 0
    context = ScheduleContext(mod, task.target)
    arguments = meta_schedule.arg_info.ArgInfo.from_prim_func(mod["main"])
    workload = database.commit_workload(mod)
    written = 0
    for record in records:
        try:
            schedule = traces.replay(mod, record.trace)
            if len(record.trace) and not context.post_process(schedule):
                raise IllegalActionError("a post-processor rejects the schedule")
        except IllegalActionError:
            skipped["does not replay"] += 1
            continue
        secs = [float(s) for s in record.run_secs]
        database.commit_tuning_record(
            meta_schedule.database.TuningRecord(
                traces.tvm_trace(schedule), workload, secs, tvm_target(task.target), arguments
            )
        )
        written += 1
    return written
