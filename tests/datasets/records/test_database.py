"""The SQLite database: round trip, concurrency, and files that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from foretune import Candidate, DatabaseError, MeasureRecord, Status, Trace
from foretune.datasets.records.database import Database
from tests.foretune.test_nouns import TASK, TRACE


def record(secs: float | None, factor: int = 8) -> MeasureRecord:
    candidate = Candidate(TASK, TRACE.with_decisions([(1, (1, factor))]))
    return (
        MeasureRecord(candidate, Status.OK, (secs, secs * 1.1))
        if secs
        else MeasureRecord(candidate, Status.RUN_ERROR, error="boom")
    )


def test_records_come_back(tmp_path):
    with Database(tmp_path / "a.db") as database:
        database.add([record(2.0), record(1.0, 4), record(None, 2)])
    with Database(tmp_path / "a.db") as database:
        assert database.records(TASK) == [record(2.0), record(1.0, 4), record(None, 2)]
        assert database.best(TASK) == record(1.0, 4)
        assert database.num_records() == database.num_records(TASK) == 3


def test_wrong_output_is_never_best(tmp_path):
    with Database(tmp_path / "a.db") as database:
        database.add([record(2.0), record(1.0, 4)])
        database.set_checked(record(1.0, 4), float("inf"), 1e-3)
        database.set_checked(record(2.0), 1e-6, 1e-3)
        assert database.best(TASK) == record(2.0)
        assert database.max_rel_error(record(2.0)) == 1e-6
        assert [r.status for r in database.records(TASK)] == [Status.OK, Status.WRONG_OUTPUT]


def test_another_target_sees_nothing(tmp_path):
    from dataclasses import replace

    from foretune import Target

    with Database(tmp_path / "a.db") as database:
        database.add([record(2.0)])
        assert database.records(replace(TASK, target=Target("llvm"))) == []


def test_several_writers(tmp_path):
    def write(worker: int) -> None:
        with Database(tmp_path / "a.db") as database:
            for i in range(10):
                trace = Trace(TRACE.actions[:1]) if i < 0 else TRACE.with_decisions([(1, (worker, i))])
                database.add([MeasureRecord(Candidate(TASK, trace), Status.OK, (1.0,))])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with Database(tmp_path / "a.db") as database:
        assert database.num_records() == 40


def test_corrupt_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(DatabaseError, match="cannot be used as a database"):
        Database(path)
    assert path.read_bytes() == b"this is not a database" * 100


def test_half_overwritten_file(tmp_path):
    path = tmp_path / "a.db"
    with Database(path) as database:
        database.add([record(1.0, i) for i in range(300)])
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(DatabaseError, match="left as it is"):
        Database(path)


def test_database_of_another_program(tmp_path):
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("CREATE TABLE cats (name)")
    connection.commit()
    with pytest.raises(DatabaseError, match="of another program"):
        Database(tmp_path / "a.db")


def test_newer_schema(tmp_path):
    Database(tmp_path / "a.db").close()
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseError, match="schema version 99"):
        Database(tmp_path / "a.db")


@pytest.mark.parametrize("path", ["/proc/nothing/a.db", "/dev/null/a.db"])
def test_unwritable_path(path):
    with pytest.raises(DatabaseError, match="choose another path"):
        Database(path)


def test_folder_as_path(tmp_path):
    with pytest.raises(DatabaseError, match="is a folder"):
        Database(tmp_path)


def test_kill_loses_nothing_that_was_added(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from tests.datasets.records.test_database import record\n"
        "from foretune.datasets.records.database import Database\n"
        "database = Database(sys.argv[1])\n"
        "for i in range(1, 8): database.add([record(1.0, i)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], check=False, cwd=root)
    assert result.returncode == -9
    with Database(tmp_path / "a.db") as database:
        assert database.num_records() == 7
