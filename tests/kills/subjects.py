"""What is killed: the five commands that store something, on inputs that take seconds."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.store import RecordStore

Kept = dict[str, str]
"""Key of a record, or name of a result -> what it says."""

_SOURCE = """#include <stdio.h>
static float a[4096], b[4096];
int main(void) {
  float sum = 0;
  for (int i = 0; i < 4096; i++) { a[i] = i % 7; b[i] = i % 5; }
  for (int n = 0; n < 300; n++)
    for (int i = 0; i < 4096; i++) sum += a[i] * b[i] + n;
  printf("%.1f\\n", sum);
  return 0;
}
"""
_MODEL = """import torch
def model():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(48, 32), torch.nn.ReLU())
    return layer, (torch.randn(8, 48),)
"""


class Doubled(Exception):
    """A record is there twice."""


@dataclass(frozen=True)
class Subject:
    """A command to kill.

    Attributes:
        name: for people.
        prepare: makes its inputs in a folder.
        arguments: given the folder of the inputs and that of the results.
        kept: what there is of records in the folder of the results.
        repeats: whether two whole runs keep the same; else what a killed run kept must still be there in the end, and
            be as much.
        module: that is run with the arguments.
    """

    name: str
    prepare: Callable[[Path], None]
    arguments: Callable[[Path, Path], Sequence[object]]
    kept: Callable[[Path], Kept]
    repeats: bool = False
    module: str = "foretune"


def of_store(folder: Path) -> Kept:
    """Records of a data set, with those of whole batches that are not listed yet.

    Raises:
        Doubled: one is there twice.
    """
    found: Kept = {}
    if not folder.is_dir():
        return found
    with RecordStore(folder, writable=True) as store:
        columns = ["workload", "target", "trace_key", "source", "status", "run_secs", "timestamp"]
        for row in store.rows(columns):
            key = json.dumps([row[name] for name in columns[:4]])
            if key in found:
                raise Doubled(key)
            found[key] = json.dumps(row, sort_keys=True)
    return found


def of_database(path: Path) -> Kept:
    """Records of a database; how often each was read says nothing, so checks against the reference are left out."""
    if not path.is_file():
        return {}
    with sqlite3.connect(path) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "records" not in tables:
            return {}
        rows = connection.execute("SELECT target, workload, trace_key, run_secs, timestamp FROM records").fetchall()
    found = {json.dumps(row[:3]): json.dumps(row[3:]) for row in rows}
    if len(found) < len(rows):
        raise Doubled(f"{len(rows)} rows of {len(found)} candidates")
    return found


def of_weights(path: Path) -> Kept:
    """The fingerprint of a file of weights, if it is there; entries of the file's header come in any order."""
    return {path.name: LatentCostModel.load(path).fingerprint} if path.is_file() else {}


def _write_log(folder: Path, num_records: int) -> None:
    rng = np.random.default_rng(0)
    with open(folder / "autotvm.log", "w") as file:
        for number in range(num_records):
            rows, columns, size = (int(n) for n in (2 ** rng.integers(0, 6), 2 ** rng.integers(0, 6), number % 9))
            arguments = [["TENSOR", [64 + size, 128], "float32"], ["TENSOR", [64, 128], "float32"], None, "float32"]
            entity = [["tile_y", "sp", [-1, rows]], ["tile_x", "sp", [-1, columns]]]
            line = {
                "input": ["llvm -mcpu=core-avx2", "dense_nopack.x86", arguments, {}],
                "config": {"index": number, "code_hash": None, "entity": entity},
                "result": [[1e-5 * (64 + size) * (1 + abs(columns - 16) + number * 1e-7)], 0, 1.0, 1.7e9 + number],
                "version": 0.2,
                "tvm_version": "0.19.0",
            }
            file.write(json.dumps(line) + "\n")


def _prepare_import(folder: Path) -> None:
    _write_log(folder, 40_000)  # several batches


def _import_keys(folder: Path) -> Kept:
    """By time stamp, which each line of the log has one of its own of."""
    found: Kept = {}
    if folder.is_dir():
        with RecordStore(folder, writable=True) as store:
            for row in store.rows(["timestamp", "trace_key", "run_secs"]):
                if str(row["timestamp"]) in found:
                    raise Doubled(str(row["timestamp"]))
                found[str(row["timestamp"])] = json.dumps(row, sort_keys=True)
    return found


def _prepare_train(folder: Path) -> None:
    from foretune.datasets.importers import import_logs

    _write_log(folder, 240)
    with RecordStore(folder / "data", writable=True) as store:
        import_logs([folder / "autotvm.log"], store)


SUBJECTS = (
    Subject(
        "import",
        _prepare_import,
        lambda inputs, out: ("import", inputs / "autotvm.log", "--out", out / "data"),
        lambda out: _import_keys(out / "data"),
        repeats=True,
    ),
    Subject(
        "train",
        _prepare_train,
        lambda inputs, out: (
            "train", "--data", inputs / "data", "--out", out / "weights.safetensors", "--epochs", 3, "--checkpoint",
            out / "state.checkpoint",
        ),
        lambda out: of_weights(out / "weights.safetensors"),
        repeats=True,
    ),
    Subject(
        "passes tune",
        lambda folder: (folder / "program.c").write_text(_SOURCE) and None,
        lambda inputs, out: (
            "passes", "tune", inputs / "program.c", "--budget", 8, "--search", "random", "--no-skills",
            "--no-screening", "--store", out / "records", "--out", out / "results.json",
        ),
        lambda out: of_store(out / "records"),
    ),
    Subject(
        "collect",
        lambda folder: None,
        lambda inputs, out: (
            "--out", out / "data", "--records", 12, "--workloads", "softmax", "--random-workloads", 1,
            "--cost-model", "none",
        ),
        lambda out: of_store(out / "data"),
        module="tests.kills.collecting",
    ),
    Subject(
        "tune",
        lambda folder: (folder / "small_model.py").write_text(_MODEL) and None,
        lambda inputs, out: (
            "tune", "small_model:model", "--out", out / "program.ft", "--trials", 6, "--database", out / "records.db",
        ),
        lambda out: of_database(out / "records.db"),
    ),
)  # fmt: skip


def emptied(folder: Path) -> Path:
    """A folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
