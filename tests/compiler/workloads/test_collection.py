"""`foretune collect`: wrong options, signals, and kills of the real command."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from foretune import DataError, ModelError, OptionError, TargetError
from foretune.compiler.workloads.collection import CollectionConfig, run
from foretune.datasets.records.store import RecordStore


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_records": 0}, OptionError, "`num_records >= 1`"),
        ({"families": ("dense", "cats")}, OptionError, r"unknown workload families \['cats'\]"),
        ({"ray": "local", "rpc": "h:1:k"}, OptionError, "only one of --ray and --rpc"),
        ({"ray": "local", "target": '{"kind": "llvm"}'}, OptionError, "every node detects its own target"),
        ({"rpc": "localhost"}, OptionError, "expected HOST:PORT:KEY"),
        ({"target": "cuda"}, TargetError, "only CPU targets"),
        ({"cost_model": "/nowhere/w.safetensors"}, ModelError, "/nowhere/w.safetensors cannot be read"),
        ({"out": Path("/proc/nothing/data")}, DataError, "cannot write to the data folder /proc/nothing/data"),
    ],
)
def test_wrong_options(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        run(CollectionConfig(**{"out": tmp_path / "data", "num_records": 5, "progress": False, **options}))
    assert not (tmp_path / "data").exists()


def collecting(folder: Path, records: int) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "foretune",
        "collect",
        "--out",
        str(folder),
        "--records",
        str(records),
        "--workloads",
        "softmax",
        "--cost-model",
        "none",
    ]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_files(
    process: subprocess.Popen, folder: Path, pattern: str, more_than: int, timeout_secs: float = 120
) -> None:
    deadline = time.monotonic() + timeout_secs
    while len(list(folder.glob(pattern))) <= more_than and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly(number, tmp_path):
    with collecting(tmp_path, 100_000) as process:
        wait_for_files(process, tmp_path, "batch-*", 0)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 1, errors
        assert "Traceback" not in errors
        assert (
            errors.splitlines()[-1]
            == f"foretune: stopped; what was measured is in {tmp_path}, and the same command goes on from there"
        )
    assert len(children) >= 1 and not any(
        child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children
    )
    assert keys(tmp_path)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    """The whole process group, at random moments, then while batches are written, then while they are merged."""
    rng = random.Random(0)
    whole: set[tuple] = set()
    for kill in range(20):
        wanted = 10_000 if kill < 15 else len(whole) + 5
        with collecting(tmp_path, wanted) as process:
            if kill < 10:
                wait_for_files(process, tmp_path, "batch-*", len(list(tmp_path.glob("batch-*"))) + kill % 2)
                time.sleep(rng.uniform(0, 2.0))
            else:
                wait_for_files(process, tmp_path, ".batch-*.tmp" if kill < 15 else ".shard-*.tmp", 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path in tmp_path.glob("*.parquet"):
            pq.read_table(path)
        rows = keys(tmp_path)
        assert len(set(rows)) == len(rows)
        assert whole <= set(rows)
        whole = set(rows)
    with collecting(tmp_path, len(whole) + 20) as process:
        assert process.wait(timeout=300) == 0
    assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == len(whole) + 20


def keys(folder: Path) -> list[tuple]:
    """(workload, target, trace) of every record in a whole batch, listed or not."""
    with RecordStore(folder, writable=True) as store:
        return [tuple(row.values()) for row in store.rows(["workload", "target", "trace_key"])]
