"""`kill -9` at any moment costs no record that was written, and damages nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from foretune.datasets.records.store import RecordStore
from tests.appending import BATCH

ROOT = Path(__file__).parents[3]


def killed_while(doing: str, after_secs: float, folder: Path, log: Path, generation: int) -> None:
    command = [sys.executable, "-m", "tests.appending", str(folder), str(log), str(generation)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(1 + generation % 3):
            while process.stdout.readline().strip() != doing:
                assert process.poll() is None
        time.sleep(after_secs)
        process.kill()


@pytest.mark.parametrize("doing", ["append", "compact"])
def test_ten_kills_while_it(doing, tmp_path):
    rng = random.Random(0)
    folder, log = tmp_path / "data", tmp_path / "log"
    whole: set[str] = set()
    for generation in range(10):
        killed_while(doing, rng.uniform(0, 0.02), folder, log, generation)
        for path in folder.glob("*.parquet"):
            pq.read_table(path)
        with RecordStore(folder, writable=True) as store:
            keys = [row["trace_key"] for row in store.rows(["trace_key"])]
            assert len(keys) == store.manifest.num_records and len(keys) % BATCH == 0
            assert not list(folder.glob(".*.tmp"))
        assert len(set(keys)) == len(keys)
        assert whole | set(log.read_text().split()) <= set(keys)
        whole = set(keys)
    assert len(list(RecordStore(folder).trajectories())) == len(whole)
    if doing == "compact":
        assert list(folder.glob("shard-*"))
