"""Figures of a data set, against figures worked out by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

import foretune.datasets
from foretune.datasets.records.reservoir import Reservoir
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.measurements import large_batches, measurements
from foretune.datasets.reports.summary import summarize
from tests.datasets.small_data import DENSE, write_collected, write_imported

BUNDLED = Path(foretune.datasets.__file__).parent / "bundled" / "cpu"


def test_a_collected_data_set(tmp_path):
    summary = summarize(RecordStore(write_collected(tmp_path)))
    figures = summary.to_json()
    assert (summary.num_records, summary.num_ok, len(summary.tasks), len(summary.families)) == (8, 6, 3, 2)
    assert summary.statuses == {"ok": 6, "run_error": 1, "build_timeout": 1}
    dense = next(t for t in summary.tasks if t.workload == "d0d0")
    assert (dense.best_secs, dense.median_secs, dense.worst_secs, dense.default_secs) == (1e-3, 4e-3, 8e-3, 4e-3)
    assert (dense.spread, dense.speedup) == (8.0, 4.0)
    assert figures["families"]["dense"] == {
        "tasks": 2,
        "records": 5,
        "ok": 4,
        "median_spread": 8.0,
        "median_speedup": 4.0,
    }
    assert figures["median_spread"] == pytest.approx(statistics.median([8.0, 2.5]))
    variations = [
        statistics.stdev(s) / statistics.fmean(s)
        for s in ((1e-3, 1.1e-3), (8e-3, 8.8e-3), (4e-3, 4e-3), (2e-6, 2.2e-6), (6e-6, 5e-6))
    ]
    assert figures["median_noise_cv"] == pytest.approx(statistics.median(variations))
    assert figures["num_repeated"] == 5 and figures["num_tasks_with_default"] == 2
    assert (figures["first_timestamp"], figures["last_timestamp"]) == (10.0, 40.0)
    assert figures["tools"] == {"cpu": ["one"], "tvm": ["0.27"]} and figures["sources"] == {"foretune": 8}
    assert figures["bytes"] == sum(p.stat().st_size for p in tmp_path.iterdir() if p.suffix in (".parquet", ".json"))
    assert figures["split"] is None and figures["damaged"] == []
    json.dumps(figures, allow_nan=False)


def test_an_imported_data_set_lacks_much(tmp_path):
    figures = summarize(RecordStore(write_imported(tmp_path))).to_json()
    assert figures["num_tasks"] == 2 and figures["num_workloads"] == 1, "a task is a workload on a target"
    assert figures["median_spread"] == 3.0, "times on different targets are not compared"
    assert (
        figures["median_noise_cv"] is None and figures["median_speedup"] is None and figures["first_timestamp"] is None
    )
    assert list(figures["families"]) == ["unknown"] and figures["settings"] == [{"settings": None, "records": 3}]


def test_an_empty_data_set(tmp_path):
    with RecordStore(tmp_path, writable=True) as store:
        store.append_workloads([DENSE])
    figures = summarize(RecordStore(tmp_path)).to_json()
    assert figures["num_records"] == figures["num_tasks"] == 0 and figures["median_spread"] is None


def test_split_counts(tmp_path):
    write_collected(tmp_path)
    Split(frozenset({"d0d0"}), frozenset({"elsewhere"}), frozenset({"a1a1"})).save(tmp_path)
    counts = summarize(RecordStore(tmp_path)).split_counts
    assert counts == {
        "train": {"tasks": 1, "records": 4},
        "validation": {"tasks": 0, "records": 0},
        "test": {"tasks": 1, "records": 3},
        "none": {"tasks": 1, "records": 1},
    }


def test_damage_is_listed_and_the_rest_is_read(tmp_path):
    bad = sorted(write_collected(tmp_path).glob("batch-*"))[0]
    bad.write_bytes(bad.read_bytes()[:-30])
    (tmp_path / "split.json").write_text("{")
    summary = summarize(RecordStore(tmp_path, skip_damaged=True))
    assert summary.num_records == 6
    assert bad.name in summary.damaged[0] and "split.json" in summary.damaged[1]


def test_records_without_their_program_are_named(tmp_path):
    write_collected(tmp_path)
    next(tmp_path.glob("workloads-*")).unlink()
    summary = summarize(RecordStore(tmp_path, skip_damaged=True))
    assert summary.num_records == 8 and "workloads whose programs are missing, such as a1a1" in summary.damaged[-1]


def test_the_bundled_data_agree_with_rows_read_one_by_one():
    store = RecordStore(BUNDLED)
    rows = list(store.rows(["workload", "status", "run_secs"]))
    summary = summarize(store)
    assert summary.num_records == len(rows) == store.manifest.num_records
    best: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == "ok":
            best.setdefault(row["workload"], []).append(min(row["run_secs"]))
    assert {t.workload: (t.best_secs, t.worst_secs) for t in summary.tasks if t.num_ok} == {
        w: (min(s), max(s)) for w, s in best.items()
    }
    assert {t.workload: t.median_secs for t in summary.tasks if t.num_ok} == pytest.approx(
        {w: statistics.median(s) for w, s in best.items()}
    )
    variations = [
        statistics.stdev(r["run_secs"]) / statistics.fmean(r["run_secs"])
        for r in rows
        if r["status"] == "ok" and len(r["run_secs"]) > 1
    ]
    if len(variations) <= 1 << 16:
        assert summary.noise_quantile(0.5) == pytest.approx(statistics.median(variations))


def test_large_batches_hold_every_record_once(tmp_path, monkeypatch):
    monkeypatch.setattr("foretune.datasets.reports.measurements._ROWS_PER_BATCH", 3)
    store = RecordStore(write_collected(tmp_path))
    batches = list(large_batches(store, ["trace_key"]))
    assert [b.num_rows for b in batches] == [4, 4]
    assert [k for b in batches for k in b["trace_key"].to_pylist()] == [
        r["trace_key"] for r in store.rows(["trace_key"])
    ]


def test_missing_and_impossible_run_times(tmp_path):
    store = RecordStore(write_collected(tmp_path))
    batch = next(iter(store.batches()))
    nulls = batch.set_column(
        batch.schema.names.index("run_secs"),
        "run_secs",
        batch["run_secs"].__class__.from_pandas([None, [float("nan"), -1.0, 2.0]]),
    )
    found = measurements(nulls)
    assert np.isnan(found.best_secs[0]) and found.best_secs[1] == 2.0 and np.isnan(found.variation).all()


def test_a_reservoir_is_exact_until_it_is_full():
    reservoir = Reservoir(100)
    for start in range(0, 100, 7):
        reservoir.add(np.arange(start, min(start + 7, 100)))
    assert sorted(reservoir.rows[:, 0]) == list(range(100)) and reservoir.quantile(0.5) == 49.5
    assert Reservoir(4).quantile(0.5) is None


def test_a_full_reservoir_is_an_even_sample():
    reservoir = Reservoir(2000)
    for start in range(0, 100_000, 777):
        reservoir.add(np.arange(start, min(start + 777, 100_000)))
    assert len(reservoir.rows) == 2000
    assert reservoir.quantile(0.5) == pytest.approx(50_000, rel=0.05) and reservoir.quantile(0.1) == pytest.approx(
        10_000, rel=0.15
    )
