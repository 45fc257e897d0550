"""Measurements: a batch of the record table as arrays, so that figures over millions of records stream.

N records of K tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from foretune.datasets.records.store import RecordStore
from foretune.record import Status
from foretune.trace import Trace

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers see none

TaskKey = tuple[str, str]  # workload hash, target without its hardware features

COLUMNS = ["workload", "target", "trace_key", "status", "run_secs", "timestamp"]
_ROWS_PER_BATCH = 1 << 15
DEFAULT_KEY = Trace(()).key
"""Trace key of the untouched program."""


@dataclass(frozen=True)
class Measurements:
    """One batch.

    Attributes:
        tasks: keys of the tasks in the batch, K of them.
        task: [N] int64, index into `tasks`.
        statuses: names of the statuses in the batch.
        status: [N] int64, index into `statuses`.
        best_secs: [N] float64, smallest run time; NaN unless the status is ok. Lower is better.
        variation: [N] float64, coefficient of variation of the run times; NaN with fewer than two.
        default: [N] bool, whether the trace is empty.
        timestamp: [N] float64.
    """

    tasks: list[TaskKey]
    task: np.ndarray
    statuses: list[str]
    status: np.ndarray
    best_secs: np.ndarray
    variation: np.ndarray
    default: np.ndarray
    timestamp: np.ndarray

    def by_task(self) -> Iterator[tuple[TaskKey, np.ndarray]]:
        """(task, indices of its records in order) of every task in the batch."""
        order = np.argsort(self.task, kind="stable")
        bounds = np.searchsorted(self.task[order], np.arange(len(self.tasks) + 1))
        for k, key in enumerate(self.tasks):
            yield key, order[bounds[k] : bounds[k + 1]]


def large_batches(store: RecordStore, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Streams a store's records in batches of many rows: what is done once for each task of a batch is then done
    rarely.
    """
    held: list[pa.RecordBatch] = []
    for batch in store.batches(columns):
        held.append(batch)
        if sum(b.num_rows for b in held) >= _ROWS_PER_BATCH:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


def measurements(batch: pa.RecordBatch) -> Measurements:
    """Reads a batch that has at least the columns `COLUMNS`."""
    workloads, workload = encode(batch["workload"])
    targets, target = encode(batch["target"])
    labels = [target_text(text) for text in targets]
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    target = np.array([number[label] for label in labels], np.int64)[target]
    pairs, task = np.unique(workload * len(number) + target, return_inverse=True)
    names = list(number)
    tasks = [(workloads[pair // len(names)], names[pair % len(names)]) for pair in pairs.tolist()]
    statuses, status = encode(batch["status"])
    ok = np.array([s == Status.OK.value for s in statuses], bool)[status]
    best_secs, variation = _run_times(batch["run_secs"])
    return Measurements(
        tasks, task, statuses, status, np.where(ok, best_secs, np.nan), np.where(ok, variation, np.nan),
        pc.equal(pc.fill_null(batch["trace_key"], ""), DEFAULT_KEY).to_numpy(zero_copy_only=False),
        pc.fill_null(batch["timestamp"], 0.0).to_numpy(zero_copy_only=False),
    )  # fmt: skip


def encode(column: pa.Array) -> tuple[list[str], np.ndarray]:
    """The distinct texts of a column, and for each row the index of its text, [N] int64. A missing text is empty."""
    encoded = pc.dictionary_encode(pc.fill_null(column, ""))
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


@lru_cache(maxsize=1024)
def target_text(text: str) -> str:
    """A target column's text without the hardware features, which may be measured anew in every run."""
    try:
        return json.dumps(json.loads(text)["target"], sort_keys=True)
    except (ValueError, KeyError, TypeError):
        return text


def _run_times(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(smallest time, coefficient of variation) of each row, [N] float64 each; NaN where there is none."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lengths)), lengths)
    usable = np.isfinite(flat) & (flat > 0)
    flat, row = flat[usable], row[usable]
    counts = np.bincount(row, minlength=len(lengths))
    best = np.full(len(lengths), np.inf)
    np.minimum.at(best, row, flat)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(row, flat, len(lengths)) / counts
        deviation = np.sqrt(np.bincount(row, (flat - mean[row]) ** 2, len(lengths)) / (counts - 1))
        variation = np.where(counts > 1, deviation / mean, np.nan)
    return np.where(counts > 0, best, np.nan), variation
