"""Damaged rows of a database: each is named, left out by every verb, and dropped by `prune`."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foretune import DatabaseError
from foretune.cli.app import app
from foretune.datasets.records import database_file
from foretune.datasets.records.database import Database
from tests.datasets.records.test_database import TASK, record

RUNNER = CliRunner()
RECORDS = [record(2.0), record(1.0, 4), record(None, 2)]
DAMAGE = [
    ("records", "trace = '[['"),
    ("records", "trace = '" + "[" * 5000 + "'"),
    ("records", "run_secs = '[1e-9]'"),
    ("records", "status = 'fine'"),
    ("records", "status = 'wrong_output'"),
    ("records", "settings = '{\"repeat\": 0}'"),
    ("records", "environment = '3'"),
    ("records", "timestamp = 'now'"),
    ("records", "max_rel_error = 0.5"),
    ("records", "error = CAST(x'fffe41' AS TEXT)"),
    ("records", "digest = NULL"),
]
FAR_REACHING = [
    ("workloads", "graph = 'x'"),
    ("workloads", "name = 'another'"),
    ("targets", "json = '{}'"),
]


def made(path: Path) -> Path:
    with Database(path) as database:
        database.add(RECORDS)
    return path


def damage(path: Path, table: str, change: str, where: str = "rowid = 1") -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE {table} SET {change} WHERE {where}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(("table", "change"), DAMAGE, ids=[f"{i}" for i in range(len(DAMAGE))])
def test_a_damaged_record_is_named_and_left_out(tmp_path, caplog, table, change):
    damage(made(tmp_path / "a.db"), table, change)
    with Database(tmp_path / "a.db") as database:
        with caplog.at_level(logging.WARNING):
            assert database.records(TASK) == RECORDS[1:]
            assert database.best(TASK) == RECORDS[1]
        assert [(found.table, found.row) for found in database.damaged] == [("records", 1)]
        assert caplog.text.count(f"{tmp_path / 'a.db'}, row 1 of records: its content does not have the hash") == 1
        assert database.prune(9) == 2  # the damaged one, and the one that failed
        assert database.damaged == [] and database.records(TASK) == [RECORDS[1]]
        database.add([RECORDS[0]])
        assert database.records(TASK) == [RECORDS[1], RECORDS[0]]


@pytest.mark.parametrize(("table", "change"), FAR_REACHING)
def test_a_damaged_workload_or_target(tmp_path, table, change):
    damage(made(tmp_path / "a.db"), table, change)
    with Database(tmp_path / "a.db") as database:
        assert database.tasks() == []
        assert (table, 1) in [(found.table, found.row) for found in database.damaged]
        database.add([record(3.0, 8)])  # a new record of the task writes both anew
    with Database(tmp_path / "a.db") as database:
        assert [task.key for task in database.tasks()] == [TASK.key] and database.num_records() == 3
    damage(tmp_path / "a.db", table, change, "1")
    with Database(tmp_path / "a.db") as database:
        assert database.prune(9) == 3 and database.num_records() == 0


def run(*arguments: object) -> tuple[int, str]:
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout


def test_every_verb_passes_over_a_damaged_row(tmp_path):
    path = made(tmp_path / "a.db")
    damage(path, *DAMAGE[0])
    code, text = run("database", "info", path, "--json")
    assert code == 0 and json.loads(text)["tasks"][0]["num_records"] == 2
    assert json.loads(text)["damaged"] == [
        f"{path}, row 1 of records: its content does not have the hash that was written with it"
    ]
    code, text = run("database", "merge", tmp_path / "new.db", path, "--json")
    assert code == 0 and json.loads(text)["taken"] == {str(path): 2}
    code, text = run("report", path, "--out", tmp_path / "report.html")
    assert code == 0, text
    code, text = run("database", "prune", path, "--keep", 3, "--json")
    assert code == 0 and json.loads(text) == {"database": str(path), "dropped": 2, "left": 1}
    assert json.loads(run("database", "info", path, "--json")[1])["damaged"] == []


OLD_TABLES = """
CREATE TABLE workloads (hash TEXT PRIMARY KEY, name TEXT NOT NULL, family TEXT NOT NULL, program TEXT NOT NULL, graph TEXT NOT NULL);
CREATE TABLE targets (key TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE records (
    id INTEGER PRIMARY KEY, target TEXT NOT NULL, workload TEXT NOT NULL, trace_key TEXT NOT NULL, trace TEXT NOT NULL, status TEXT NOT NULL,
    run_secs TEXT NOT NULL, error TEXT NOT NULL, program_hash TEXT NOT NULL, environment TEXT NOT NULL, settings TEXT NOT NULL,
    timestamp REAL NOT NULL, max_rel_error REAL, UNIQUE (target, workload, trace_key)
);
PRAGMA user_version = 1;
"""  # noqa: E501


def made_by_the_release_before(path: Path) -> Path:
    made(path.with_suffix(".new"))
    connection = sqlite3.connect(path)
    connection.executescript(OLD_TABLES)
    connection.execute("ATTACH ? AS new", (str(path.with_suffix(".new")),))
    for table, columns in database_file.COLUMNS.items():
        names = ", ".join(columns)
        connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new.{table} ORDER BY rowid")
    connection.commit()
    connection.close()
    return path


def test_files_of_the_release_before_are_read_and_get_hashes(tmp_path):
    path = made_by_the_release_before(tmp_path / "old.db")
    damage(path, "records", "trace = '[['", "rowid = 2")
    before = path.read_bytes()
    with Database(path, read_only=True) as database:
        assert database.records(TASK) == [RECORDS[0], RECORDS[2]] and database.promise(TASK) is None
    assert path.read_bytes() == before
    with Database(tmp_path / "other.db") as other:
        assert other.merge(path) == 2
    with Database(path) as database:
        assert database.records(TASK) == [RECORDS[0], RECORDS[2]]
        assert [found.row for found in database.damaged] == [2]
    damage(path, "records", "run_secs = '[9.0]'")
    with Database(path) as database:
        assert database.records(TASK) == [RECORDS[2]]


def test_a_read_only_file_can_be_looked_at(tmp_path, monkeypatch):
    path = made(tmp_path / "a.db")
    before = path.read_bytes()
    with Database(path, read_only=True) as database:
        assert database.records(TASK) == RECORDS
        with pytest.raises(DatabaseError, match="readonly"):
            database.add([record(5.0, 1)])
    assert path.read_bytes() == before
    with pytest.raises(DatabaseError, match="there is no database"):
        Database(tmp_path / "none.db", read_only=True)


def test_a_file_in_a_read_only_folder_can_be_looked_at(tmp_path, monkeypatch):
    """SQLite cannot make its lock files there; a user with all rights cannot set that up, so SQLite's refusal is made
    here.
    """
    path, connect = made(tmp_path / "a.db"), sqlite3.connect

    def refuse(name, **options):
        if options.get("uri"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with Database(path, read_only=True) as database:
        assert database.records(TASK) == RECORDS
        copy = database._copy.path
        assert copy.is_dir()
    assert not copy.exists()


def test_a_check_is_part_of_the_hash(tmp_path):
    path = made(tmp_path / "a.db")
    with Database(path) as database:
        database.set_checked(RECORDS[0], 1e-6, 1e-3)
        assert database.max_rel_error(RECORDS[0]) == 1e-6
    damage(path, "records", "max_rel_error = 1e-9", "max_rel_error IS NOT NULL")
    with Database(path) as database:
        assert database.max_rel_error(RECORDS[0]) is None and database.records(TASK) == RECORDS[1:]
