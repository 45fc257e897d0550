"""The SQLite file behind the database: opening, versions, hashes of rows, and damage."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretune.errors import DatabaseError
from foretune.support.scratch import ScratchFolder

SCHEMA_VERSION = 2  # version 1 has no digests; it is read, and made version 2 when it is opened for writing

_TABLES = """
CREATE TABLE IF NOT EXISTS workloads (
    hash TEXT PRIMARY KEY, name TEXT NOT NULL, family TEXT NOT NULL, program TEXT NOT NULL, graph TEXT NOT NULL,
        digest TEXT
);
CREATE TABLE IF NOT EXISTS targets (key TEXT PRIMARY KEY, json TEXT NOT NULL, digest TEXT);
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
    digest TEXT,
    UNIQUE (target, workload, trace_key)
);
"""
_LATER_TABLES = """
CREATE TABLE IF NOT EXISTS promises (target TEXT NOT NULL, workload TEXT NOT NULL, log_gain REAL NOT NULL,
    PRIMARY KEY (target, workload))
"""
COLUMNS = {  # what a digest is of
    "workloads": ("hash", "name", "family", "program", "graph"),
    "targets": ("key", "json"),
    "records": (
        "target",
        "workload",
        "trace_key",
        "trace",
        "status",
        "run_secs",
        "error",
        "program_hash",
        "environment",
        "settings",
        "timestamp",
        "max_rel_error",
    ),
}
_TIMEOUT_SECS = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DamagedRow:
    """A row that does not say what was written: it is left out, by its number, until `prune` drops it."""

    file: Path
    table: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row} of {self.table}: {self.reason}"


class RecordsFile:
    """A file of workloads, targets and records, whose rows have hashes.

    Args:
        path: the file; made with its folder if missing.
        read_only: only look at it; it must be there, and is not changed.

    Attributes:
        damaged: rows that were met and left out, each told once in the log.

    Raises:
        DatabaseError: the path cannot be written, the file is not a Foretune database or is corrupt, or
            it has another schema version. The file is left as it is.
    """

    def __init__(self, path: Path | str, read_only: bool = False) -> None:
        self.path = Path(path).expanduser()
        self.damaged: list[DamagedRow] = []
        self._lock = threading.Lock()
        self._whole: set[tuple[str, str]] = set()  # (table, key) of rows that were looked at
        self._copy: ScratchFolder | None = None
        try:
            if read_only:
                self._connection = self._connect_read_only()
            else:
                self._check_writable()
                self._connection = sqlite3.connect(self.path, timeout=_TIMEOUT_SECS, check_same_thread=False)
                self._set_up()
            self._check()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise DatabaseError(
                f"{self.path} cannot be used as a database: {error}. It was left as it is; move it away or choose"
                " another path"
            ) from error

    def _connect_read_only(self) -> sqlite3.Connection:
        """The file as it is; a copy of it where SQLite cannot even lock it, as on a read-only medium."""
        if not self.path.is_file():
            raise DatabaseError(f"there is no database {self.path}")
        try:
            connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=ro", timeout=_TIMEOUT_SECS, check_same_thread=False, uri=True
            )
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.OperationalError:
            self._copy = ScratchFolder("foretune-database-")
        try:
            for suffix in ("", "-wal"):
                if (file := self.path.with_name(self.path.name + suffix)).is_file():
                    shutil.copyfile(file, self._copy.path / f"copy.db{suffix}")
        except OSError as error:
            raise DatabaseError(f"{self.path} cannot be read: {error.strerror}") from error
        return sqlite3.connect(self._copy.path / "copy.db", timeout=_TIMEOUT_SECS, check_same_thread=False)

    def _set_up(self) -> None:
        deadline = time.monotonic() + 30.0
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # another process is switching the new file to WAL; SQLite does not wait for that
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            tables = self._tables()
            if not tables:
                for statement in _TABLES.split(";"):
                    self._connection.execute(statement)
            elif self._version() == 1:
                self._add_digests()
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._connection.execute(_LATER_TABLES)

    def _tables(self) -> set[str]:
        """Names of the tables there are.

        Raises:
            DatabaseError: they are not Foretune's, or of another version.
        """
        tables = {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and "records" not in tables:
            raise DatabaseError(
                f"{self.path} is an SQLite file of another program (its tables: {sorted(tables)[:5]}); choose another"
                " path"
            )
        if tables and self._version() not in (1, SCHEMA_VERSION):
            raise DatabaseError(
                f"{self.path} has schema version {self._version()}, but this release reads version {SCHEMA_VERSION}"
            )
        return tables

    def _version(self) -> int:
        return self._connection.execute("PRAGMA user_version").fetchone()[0]

    def _add_digests(self) -> None:
        """Makes version 2 of version 1: each row as it is now counts as whole."""
        for table, columns in COLUMNS.items():
            self._connection.execute(f"ALTER TABLE {table} ADD COLUMN digest TEXT")
            rows = self._connection.execute(f"SELECT rowid, {', '.join(columns)} FROM {table}").fetchall()
            self._connection.executemany(
                f"UPDATE {table} SET digest = ? WHERE rowid = ?", [(digest_of(row), number) for number, *row in rows]
            )

    def _check(self) -> None:
        self._connection.text_factory = lambda text: text.decode(
            errors="surrogateescape"
        )  # or one damaged row would hide the others
        self._has_promises = "promises" in self._tables()
        found = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise DatabaseError(
                f"{self.path} is corrupt ({found}); it was left as it is. Move it away, or recover it with sqlite3's"
                " .recover"
            )
        has = {table: {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")} for table in COLUMNS}
        missing = [
            f"{table}.{name}" for table, columns in COLUMNS.items() for name in columns if name not in has[table]
        ]
        if missing:
            raise DatabaseError(f"{self.path} is corrupt: it has no column {missing[0]}; it was left as it is")
        self._hashed = all("digest" in names for names in has.values())

    def _check_writable(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"the database folder {self.path.parent} cannot be made: {error.strerror}; choose another path"
            ) from error
        if self.path.is_dir():
            raise DatabaseError(f"the database path {self.path} is a folder; name a file in it")
        if not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            raise DatabaseError(f"the database path {self.path} is not writable; choose another path")

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
        if self._copy is not None:
            self._copy.close()

    def _rows(
        self, table: str, where: str = "", values: Sequence[Any] = (), order: str = "rowid"
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, columns) of the rows that are whole, of those that a condition chooses."""
        columns = COLUMNS[table]
        digest = "digest" if self._hashed else "NULL"
        with self._lock, self._guard():
            rows = self._connection.execute(
                f"SELECT rowid, {digest}, {', '.join(columns)} FROM {table} {where} ORDER BY {order}", values
            ).fetchall()
        for number, stated, *row in rows:
            if self._hashed and stated != digest_of(row):
                self._note(table, number, "its content does not have the hash that was written with it")
            else:
                yield number, dict(zip(columns, row))

    def _note(self, table: str, row: int, reason: str) -> None:
        if all((d.table, d.row) != (table, row) for d in self.damaged):
            self.damaged.append(DamagedRow(self.path, table, row, reason))
            _log.warning("%s; it is left out, and `foretune database prune` drops it", self.damaged[-1])

    def _insert(self, table: str, rows: Iterable[tuple]) -> None:
        columns = (*COLUMNS[table], "digest")
        marks = ", ".join("?" * len(columns))
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})",
            [(*row, digest_of(row)) for row in rows],
        )

    def _keep(self, table: str, row: tuple) -> None:
        """Inserts a row unless there is a whole one of its key."""
        if (table, row[0]) not in self._whole:
            columns = COLUMNS[table]
            found = self._connection.execute(
                f"SELECT digest, {', '.join(columns)} FROM {table} WHERE {columns[0]} = ?", row[:1]
            ).fetchone()
            if found is None or found[0] != digest_of(found[1:]):
                self._insert(table, [row])
            self._whole.add((table, row[0]))

    def _guard(self):
        return _SqliteErrors(self.path)


class _SqliteErrors:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type, error, _traceback) -> None:
        if isinstance(error, (sqlite3.Error, UnicodeDecodeError)):
            raise DatabaseError(f"{self._path}: {error}") from error


def digest_of(row: Iterable[Any]) -> str:
    return hashlib.sha256(repr(tuple(row)).encode(errors="surrogatepass")).hexdigest()[:32]
