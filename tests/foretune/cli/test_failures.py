"""The command line where something is in its way: one line and an exit status, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.importers.test_importers import LOGS, autotvm, write
from tests.datasets.small_data import write_collected


def foretune(*arguments: object, most_bytes: int | None = None) -> subprocess.CompletedProcess:
    """Runs a verb, on request with a limit on the size of files, which is what a full disk looks like."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [sys.executable, "-m", "foretune", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


def assert_one_line(result: subprocess.CompletedProcess, *words: str, status: int = 1) -> None:
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_a_full_disk(tmp_path):
    data, log = write_collected(tmp_path / "data"), write(tmp_path, autotvm())
    assert_one_line(
        foretune("data", "card", data, "--out", tmp_path / "card.md", most_bytes=100), "card.md", "File too large"
    )
    assert_one_line(foretune("import", log, "--out", tmp_path / "imported", most_bytes=100), "File too large")
    assert not (tmp_path / "card.md").exists()


VERBS = [
    ("data", "card", "DATA", "--out"),
    ("data", "plot", "DATA", "--out"),
    ("train", "--data", "DATA", "--out"),
    ("export", "DATA", "--out"),
    ("evaluate", "--data", "DATA", "--out"),
    ("report", "DATABASE", "--out"),
    ("passes", "tune", "program.c", "--out"),
    ("mlir", "train", "--data", "DATA", "--out"),
    ("passes", "collect", "--out"),
    ("tune", "module:function", "--out"),
    ("collect", "--records", "1", "--out"),
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: " ".join(verb[:2]))
def test_an_out_that_cannot_be_written_is_told_before_the_work(tmp_path, verb):
    places = {"DATA": tmp_path / "data", "DATABASE": tmp_path / "records.db"}  # not there: nothing looked at them yet
    result = foretune(*(places.get(word, word) for word in verb), "/proc/nothing/out.html")
    assert_one_line(result, "cannot write /proc/nothing/out.html")


def test_one_line_for_a_missing_file_of_workloads(tmp_path):
    from gzip import decompress

    (tmp_path / "database_tuning_record.json").write_bytes(
        decompress((LOGS / "tvm019_database_tuning_record.json.gz").read_bytes())
    )
    result = foretune("import", tmp_path / "database_tuning_record.json", "--out", tmp_path / "data")
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1 and len(lines) == 2  # what is bad, and that nothing was imported
    assert "their file of workloads is not there; name it with --workload-file" in lines[0]


def test_bad_lines_of_one_kind_are_told_once(tmp_path):
    path = write(tmp_path, *[autotvm(entity=[["a", "zz", 1]])] * 7, "{", autotvm())
    result = foretune("import", path, "--out", tmp_path / "data", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["num_bad"] == 8
    first, second = result.stderr.strip().splitlines()
    assert first.endswith("(and 6 more lines like it)") and "log.json:1:" in first and "log.json:8: not JSON" in second


def test_a_reader_that_has_seen_enough(tmp_path):
    data = write_collected(tmp_path / "data")
    command = f"{sys.executable} -m foretune data show {data} --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_a_card_of_data_with_control_characters(tmp_path):
    data = write_collected(tmp_path / "data")
    (data / "NOTES.md").write_bytes(b"first line\n\x1b[2Jsecond \xff line\n")
    assert foretune("data", "card", data).returncode == 0
    text = (data / "DATA_CARD.md").read_text()
    assert all(c.isprintable() or c in "\n\t" for c in text) and "\\x1b[2Jsecond" in text


def test_records_without_their_programs_are_passed_over_after_a_repair(tmp_path):
    from foretune.datasets.records.store import RecordStore

    log, data = write(tmp_path, autotvm()), write_collected(tmp_path / "data")
    assert foretune("import", log, "--out", data).returncode == 0
    with RecordStore(data) as store:
        lost = next(
            name for name in store.manifest.workloads if "conv2d_NCHWc" in store._read_table(name)["family"].to_pylist()
        )
    path: Path = data / lost
    path.write_bytes(path.read_bytes()[:-5])
    result = foretune("data", "repair", data, "--json")
    assert result.returncode == 0 and json.loads(result.stdout) == {"moved": [lost], "num_records": 9}
    assert foretune("data", "info", data).returncode == 0
    assert foretune("data", "merge", data, "--out", tmp_path / "merged").returncode == 0
    with RecordStore(data) as store:
        assert len(list(store.trajectories())) == 8
    assert foretune("import", log, "--out", data, "--force").returncode == 0
    with RecordStore(data) as store:
        assert len(list(store.trajectories())) == 9
