"""Database: tuned records in one SQLite file (WAL mode), keyed by target and workload."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foretune.datasets.records.database_file import COLUMNS, RecordsFile, digest_of
from foretune.datasets.records.tuned_task import TunedTask
from foretune.errors import DatabaseError, ForetuneError, OptionError
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status, fastest
from foretune.target import Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace

_UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
    ForetuneError,
)  # what the nouns raise of damaged data


def default_path() -> Path:
    """Where the database is unless told otherwise: the user's cache folder."""
    return Path.home() / ".cache" / "foretune" / "records.db"


class Database(RecordsFile):
    """Tuned records of this user.

    Several processes may use one file at the same time. A record is on disk when `add` returns.

    Args:
        path: the file; made with its folder if missing.
        read_only: only look at it; it must be there, and is not changed.

    Attributes:
        damaged: rows that were met and left out, each told once in the log.

    Raises:
        DatabaseError: the path cannot be written, the file is not a Foretune database or is corrupt, or
            it has another schema version. The file is left as it is.
    """

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, records: Iterable[MeasureRecord]) -> None:
        """Stores records in one transaction; a candidate's newer record replaces its older one."""
        records = list(records)
        with self._lock, self._guard(), self._connection:
            for task in {id(r.candidate.task): r.candidate.task for r in records}.values():
                w = task.workload
                self._keep(
                    "workloads",
                    (w.hash, w.name, w.family, w.program, json.dumps(w.graph.to_json(), separators=(",", ":"))),
                )
                self._insert("targets", [(task.target.key, json.dumps(task.target.to_json()))])
            self._insert("records", [_row(record) for record in records])

    def records(self, task: Task) -> list[MeasureRecord]:
        """All records of a task, oldest first."""
        found = []
        for number, row in self._rows("records", "WHERE target = ? AND workload = ?", task.key):
            try:
                found.append(_record(task, row))
            except _UNREADABLE as error:
                self._note("records", number, f"it cannot be read: {type(error).__name__}: {str(error)[:120]}")
        return found

    def tasks(self) -> list[Task]:
        """All tasks that there are records of, by name."""
        workloads = self._read("workloads", _workload)
        targets = self._read("targets", lambda r: Target.from_json(json.loads(r["json"])))
        with self._lock, self._guard():
            pairs = self._connection.execute(
                "SELECT MIN(rowid), workload, target FROM records GROUP BY workload, target"
            ).fetchall()
        found = []
        for number, workload, target in pairs:
            if workload in workloads and target in targets:
                found.append(Task(workloads[workload], targets[target]))
            else:
                self._note(
                    "records", number, "its workload or target is missing or damaged, as may be those of the same task"
                )
        return sorted(found, key=lambda task: (task.workload.name, *reversed(task.key)))

    def task(self, target: Target, workload: str) -> Task | None:
        """The task of a program on a target; None if nothing is known of the program.

        Args:
            target: where it runs.
            workload: hash of the program.
        """
        for number, row in self._rows("workloads", "WHERE hash = ?", (workload,)):
            try:
                return Task(_workload(row), target)
            except _UNREADABLE as error:
                self._note("workloads", number, f"it cannot be read: {type(error).__name__}: {str(error)[:120]}")
        return None

    def _read(self, table: str, make: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """What the whole rows of a table say, by key."""
        found = {}
        for number, row in self._rows(table):
            try:
                found[row[COLUMNS[table][0]]] = make(row)
            except _UNREADABLE as error:
                self._note(table, number, f"it cannot be read: {type(error).__name__}: {str(error)[:120]}")
        return found

    def merge(self, path: Path | str, workloads: Collection[str] | None = None) -> int:
        """Takes over the records of another database; of a candidate that both measured, the newer record stays.

        Args:
            path: the other file; it is not changed.
            workloads: hashes of those to take over, by default all.

        Returns:
            Number of records taken over.

        Raises:
            DatabaseError: the other file is missing, no database, or of another version.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise DatabaseError(f"there is no database {path}")
        with Database(path, read_only=True) as other:
            num_taken = 0
            for task in other.tasks():
                if workloads is None or task.workload.hash in workloads:
                    num_taken += self.take_over(other.tuned(task))
        return num_taken

    def tuned(self, task: Task) -> TunedTask:
        """All that is known of a task."""
        rows = self._rows("records", "WHERE target = ? AND workload = ?", task.key)
        errors = {row["trace_key"]: row["max_rel_error"] for _, row in rows if row["max_rel_error"] is not None}
        return TunedTask(task, tuple(self.records(task)), errors, self.promise(task))

    def take_over(self, found: TunedTask) -> int:
        """Takes over what another database knows of a task; of a candidate that both measured, the newer record stays.

        Returns:
            Number of records taken over.
        """
        task, known = found.task, {r.trace.key: r.timestamp for r in self.records(found.task)}
        newer = [r for r in found.records if r.timestamp > known.get(r.trace.key, -1.0)]
        self.add(newer)
        for record in newer:
            if (error := found.errors.get(record.trace.key)) is not None:
                self.set_checked(record, error, math.inf)
        if found.promise is not None and not known:
            self.set_promise(task, found.promise)
        return len(newer)

    def prune(self, keep: int) -> int:
        """Drops all but the fastest records of each task, what failed, and damaged rows; the checked ones and the
        default schedule's stay.

        Args:
            keep: how many of each task stay, at least 1.

        Returns:
            Number of records dropped.
        """
        if keep < 1:
            raise OptionError(f"`keep >= 1` must hold, but got {keep}")
        tasks = self.tasks()
        for task in tasks:
            self.records(task)
        dropped = self._drop_damaged()
        for task in tasks:
            stays = {r.trace.key for r in fastest(self.records(task), keep)} | {Trace(()).key}
            with self._lock, self._guard(), self._connection:
                marks = ", ".join("?" * len(stays))
                cursor = self._connection.execute(
                    "DELETE FROM records WHERE target = ? AND workload = ? AND max_rel_error IS NULL AND trace_key NOT"
                    f" IN ({marks})",
                    (*task.key, *sorted(stays)),
                )
                dropped += cursor.rowcount
        with self._lock, self._guard():
            self._connection.execute("VACUUM")
        return dropped

    def _drop_damaged(self) -> int:
        """Drops the rows that were found damaged, and records without a workload or target; how many records that
        were.
        """
        orphans = "workload NOT IN (SELECT hash FROM workloads) OR target NOT IN (SELECT key FROM targets)"
        with self._lock, self._guard(), self._connection:
            before = self._connection.execute("SELECT COUNT(*) FROM records").fetchone()[0]
            for found in self.damaged:
                self._connection.execute(f"DELETE FROM {found.table} WHERE rowid = ?", (found.row,))
            self._connection.execute(f"DELETE FROM records WHERE {orphans}")
            left = self._connection.execute("SELECT COUNT(*) FROM records").fetchone()[0]
        self.damaged.clear()
        return before - left

    def num_records(self, task: Task | None = None) -> int:
        """Number of records of a task, or of all."""
        where, values = ("WHERE target = ? AND workload = ?", task.key) if task is not None else ("", ())
        with self._lock, self._guard():
            return self._connection.execute(f"SELECT COUNT(*) FROM records {where}", values).fetchone()[0]

    def best(self, task: Task) -> MeasureRecord | None:
        """The fastest record with status ok, or None."""
        return next(iter(fastest(self.records(task), 1)), None)

    def max_rel_error(self, record: MeasureRecord) -> float | None:
        """The error found when the record's candidate was checked against the reference, or None if it was not."""
        rows = self._rows("records", "WHERE target = ? AND workload = ? AND trace_key = ?", record.candidate.key)
        return next((row["max_rel_error"] for _, row in rows), None)

    def set_checked(self, record: MeasureRecord, max_rel_error: float, tolerance: float) -> None:
        """Notes a check against the reference output; an error above the tolerance turns the status into
        wrong_output.
        """
        status = record.status if max_rel_error <= tolerance else Status.WRONG_OUTPUT
        where = "WHERE target = ? AND workload = ? AND trace_key = ?"
        for number, row in self._rows("records", where, record.candidate.key):
            row.update(max_rel_error=float(min(max_rel_error, 1e300)), status=status.value)
            with self._lock, self._guard(), self._connection:
                values = (row["max_rel_error"], row["status"], digest_of(row.values()), number)
                self._connection.execute(
                    "UPDATE records SET max_rel_error = ?, status = ?, digest = ? WHERE rowid = ?", values
                )

    def promise(self, task: Task) -> float | None:
        """What was expected of measuring more of a task, where a tuning run ended it for that; None elsewhere."""
        if not self._has_promises:
            return None
        with self._lock, self._guard():
            row = self._connection.execute(
                "SELECT log_gain FROM promises WHERE target = ? AND workload = ?", task.key
            ).fetchone()
        return row[0] if row and isinstance(row[0], float) and math.isfinite(row[0]) else None

    def set_promise(self, task: Task, log_gain: float | None) -> None:
        """Notes how much the next batch of a task would decrease the logarithm of its best time, for which a run ended
        it; None if none did.
        """
        with self._lock, self._guard(), self._connection:
            self._connection.execute("DELETE FROM promises WHERE target = ? AND workload = ?", task.key)
            if log_gain is not None:
                self._connection.execute("INSERT INTO promises VALUES (?, ?, ?)", (*task.key, log_gain))


def _workload(row: dict[str, Any]) -> Workload:
    graph = ProgramGraph.from_json(json.loads(row["graph"]))
    return Workload(row["hash"], row["program"], graph, row["name"], row["family"])


def _row(record: MeasureRecord) -> tuple:
    """A record as its columns."""
    target, workload, trace_key = record.candidate.key
    return (
        target, workload, trace_key, json.dumps(record.trace.to_json(), separators=(",", ":")), record.status.value,
        json.dumps(record.run_secs), record.error, record.program_hash, json.dumps(dict(record.environment)),
        json.dumps(asdict(record.settings)) if record.settings is not None else "null", float(record.timestamp), None,
    )  # fmt: skip


def _record(task: Task, row: dict[str, Any]) -> MeasureRecord:
    settings = json.loads(row["settings"])
    return MeasureRecord(
        Candidate(task, Trace.from_json(json.loads(row["trace"]))),
        Status(row["status"]),
        tuple(json.loads(row["run_secs"])),
        row["error"],
        row["program_hash"],
        tuple(sorted(json.loads(row["environment"]).items())),
        MeasureSettings(**settings) if settings is not None else None,
        row["timestamp"],
    )
