"""Database: tuned records in one SQLite file (WAL mode), keyed by target and workload."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path

from foretune.errors import DatabaseError, OptionError
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status, fastest
from foretune.target import Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS workloads (
    hash TEXT PRIMARY KEY, name TEXT NOT NULL, family TEXT NOT NULL, program TEXT NOT NULL, graph TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS targets (key TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    target TEXT NOT NULL REFERENCES targets(key),
    workload TEXT NOT NULL REFERENCES workloads(hash),
    trace_key TEXT NOT NULL,
    trace TEXT NOT NULL,
    status TEXT NOT NULL,
    run_secs TEXT NOT NULL,
    error TEXT NOT NULL,
    program_hash TEXT NOT NULL,
    environment TEXT NOT NULL,
    settings TEXT NOT NULL,
    timestamp REAL NOT NULL,
    max_rel_error REAL,
    UNIQUE (target, workload, trace_key)
);
"""
_LATER_TABLES = """
CREATE TABLE IF NOT EXISTS promises (target TEXT NOT NULL, workload TEXT NOT NULL, log_gain REAL NOT NULL, PRIMARY KEY (target, workload))
"""  # older releases leave them alone


def default_path() -> Path:
    """Where the database is unless told otherwise: the user's cache folder."""
    return Path.home() / ".cache" / "foretune" / "records.db"


class Database:
    """Tuned records of this user.

    Several processes may use one file at the same time. A record is on disk when `add` returns.

    Args:
        path: the file; made with its folder if missing.

    Raises:
        DatabaseError: the path cannot be written, the file is not a Foretune database or is corrupt, or
            it has another schema version. The file is left as it is.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._check_writable()
        try:
            self._connection = sqlite3.connect(self.path, timeout=60.0, check_same_thread=False)
            self._set_up()
        except sqlite3.DatabaseError as error:
            raise DatabaseError(f"{self.path} cannot be used as a database: {error}. It was left as it is; move it away or choose another path") from error

    def _set_up(self) -> None:
        deadline = time.monotonic() + 30.0
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # another process is switching the new file to WAL; SQLite does not wait for that
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "records" not in tables:
                raise DatabaseError(f"{self.path} is an SQLite file of another program (its tables: {sorted(tables)[:5]}); choose another path")
            if tables and version != SCHEMA_VERSION:
                raise DatabaseError(f"{self.path} has schema version {version}, but this release reads version {SCHEMA_VERSION}")
            if not tables:
                for statement in _TABLES.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._connection.execute(_LATER_TABLES)
        check = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise DatabaseError(f"{self.path} is corrupt ({check}); it was left as it is. Move it away, or recover it with sqlite3's .recover")

    def _check_writable(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"the database folder {self.path.parent} cannot be made: {error.strerror}; choose another path") from error
        if self.path.is_dir():
            raise DatabaseError(f"the database path {self.path} is a folder; name a file in it")
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise DatabaseError(f"the database path {self.path} is not writable; choose another path")

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def add(self, records: Iterable[MeasureRecord]) -> None:
        """Stores records in one transaction; a candidate's newer record replaces its older one."""
        records = list(records)
        with self._lock, self._guard(), self._connection:
            for task in {id(r.candidate.task): r.candidate.task for r in records}.values():
                w = task.workload
                graph = json.dumps(w.graph.to_json(), separators=(",", ":"))
                self._connection.execute("INSERT OR IGNORE INTO workloads VALUES (?, ?, ?, ?, ?)", (w.hash, w.name, w.family, w.program, graph))
                self._connection.execute("INSERT OR REPLACE INTO targets VALUES (?, ?)", (task.target.key, json.dumps(task.target.to_json())))
            self._connection.executemany(
                "INSERT OR REPLACE INTO records (target, workload, trace_key, trace, status, run_secs, error, program_hash, environment,"
                " settings, timestamp) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(record) for record in records],
            )

    def records(self, task: Task) -> list[MeasureRecord]:
        """All records of a task, oldest first."""
        with self._lock, self._guard():
            rows = self._connection.execute(
                "SELECT trace, status, run_secs, error, program_hash, environment, settings, timestamp FROM records"
                " WHERE target = ? AND workload = ? ORDER BY id",
                task.key,
            ).fetchall()
        return [_record(task, row) for row in rows]

    def tasks(self) -> list[Task]:
        """All tasks that there are records of, by name."""
        with self._lock, self._guard():
            rows = self._connection.execute(
                "SELECT DISTINCT w.hash, w.name, w.family, w.program, w.graph, t.json FROM records r"
                " JOIN workloads w ON w.hash = r.workload JOIN targets t ON t.key = r.target ORDER BY w.name, w.hash, t.key"
            ).fetchall()
        return [
            Task(Workload(hash_, program, ProgramGraph.from_json(json.loads(graph)), name, family), Target.from_json(json.loads(target)))
            for hash_, name, family, program, graph, target in rows
        ]

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
        with Database(path) as other:
            num_taken = 0
            for task in other.tasks():
                if workloads is None or task.workload.hash in workloads:
                    known = {r.trace.key: r.timestamp for r in self.records(task)}
                    newer = [r for r in other.records(task) if r.timestamp > known.get(r.trace.key, -1.0)]
                    self.add(newer)
                    for record in newer:
                        if (error := other.max_rel_error(record)) is not None:
                            self.set_checked(record, error, math.inf)
                    if (promise := other.promise(task)) is not None and not known:
                        self.set_promise(task, promise)
                    num_taken += len(newer)
        return num_taken

    def prune(self, keep: int) -> int:
        """Drops all but the fastest records of each task, and what failed; the checked ones and the default schedule's stay.

        Args:
            keep: how many of each task stay, at least 1.

        Returns:
            Number of records dropped.
        """
        if keep < 1:
            raise OptionError(f"`keep >= 1` must hold, but got {keep}")
        dropped = 0
        for task in self.tasks():
            stays = {r.trace.key for r in fastest(self.records(task), keep)} | {Trace(()).key}
            with self._lock, self._guard(), self._connection:
                marks = ", ".join("?" * len(stays))
                cursor = self._connection.execute(
                    f"DELETE FROM records WHERE target = ? AND workload = ? AND max_rel_error IS NULL AND trace_key NOT IN ({marks})", (*task.key, *sorted(stays))
                )
                dropped += cursor.rowcount
        with self._lock, self._guard():
            self._connection.execute("VACUUM")
        return dropped

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
        with self._lock, self._guard():
            row = self._connection.execute(
                "SELECT max_rel_error FROM records WHERE target = ? AND workload = ? AND trace_key = ?", record.candidate.key
            ).fetchone()
        return row[0] if row else None

    def set_checked(self, record: MeasureRecord, max_rel_error: float, tolerance: float) -> None:
        """Notes a check against the reference output; an error above the tolerance turns the status into wrong_output."""
        status = record.status if max_rel_error <= tolerance else Status.WRONG_OUTPUT
        with self._lock, self._guard(), self._connection:
            self._connection.execute(
                "UPDATE records SET max_rel_error = ?, status = ? WHERE target = ? AND workload = ? AND trace_key = ?",
                (min(max_rel_error, 1e300), status.value, *record.candidate.key),
            )

    def promise(self, task: Task) -> float | None:
        """What was expected of measuring more of a task, where a tuning run ended it for that; None elsewhere."""
        with self._lock, self._guard():
            row = self._connection.execute("SELECT log_gain FROM promises WHERE target = ? AND workload = ?", task.key).fetchone()
        return row[0] if row else None

    def set_promise(self, task: Task, log_gain: float | None) -> None:
        """Notes how much the next batch of a task would decrease the logarithm of its best time, for which a run ended it; None if none did."""
        with self._lock, self._guard(), self._connection:
            self._connection.execute("DELETE FROM promises WHERE target = ? AND workload = ?", task.key)
            if log_gain is not None:
                self._connection.execute("INSERT INTO promises VALUES (?, ?, ?)", (*task.key, log_gain))

    def _guard(self):
        return _SqliteErrors(self.path)


class _SqliteErrors:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type, error, _traceback) -> None:
        if isinstance(error, sqlite3.Error):
            raise DatabaseError(f"{self._path}: {error}") from error


def _row(record: MeasureRecord) -> tuple:
    target, workload, trace_key = record.candidate.key
    return (
        target, workload, trace_key, json.dumps(record.trace.to_json(), separators=(",", ":")), record.status.value,
        json.dumps(record.run_secs), record.error, record.program_hash, json.dumps(dict(record.environment)),
        json.dumps(asdict(record.settings)), record.timestamp,
    )  # fmt: skip


def _record(task: Task, row: tuple) -> MeasureRecord:
    trace, status, run_secs, error, program_hash, environment, settings, timestamp = row
    return MeasureRecord(
        Candidate(task, Trace.from_json(json.loads(trace))), Status(status), tuple(json.loads(run_secs)), error, program_hash,
        tuple(sorted(json.loads(environment).items())), MeasureSettings(**json.loads(settings)), timestamp,
    )  # fmt: skip
