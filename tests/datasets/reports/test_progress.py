"""Best-so-far curves do not depend on the order of the shards."""

from __future__ import annotations

import numpy as np

from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.progress import read_progress
from tests.datasets.small_data import DENSE, measured, write_collected, write_imported


def test_measurements_are_ordered_by_time(tmp_path):
    progress = {key[0]: p for key, p in read_progress(RecordStore(write_collected(tmp_path))).items()}
    assert progress["d0d0"].num_records == 4
    assert progress["d0d0"].positions.tolist() == [1, 3] and progress["d0d0"].secs.tolist() == [4e-3, 1e-3]
    assert progress["d0d0"].quality(np.array([1, 2, 3, 4, 99])).tolist() == [0.25, 0.25, 1.0, 1.0, 1.0]


def test_equal_times_keep_the_order_of_the_store(tmp_path):
    progress = read_progress(RecordStore(write_imported(tmp_path)))
    assert sorted((p.num_records, p.positions.tolist()) for p in progress.values()) == [(1, [1]), (2, [1])]


def test_failures_count_as_measurements(tmp_path):
    with RecordStore(tmp_path, writable=True) as store:
        store.append_workloads([DENSE])
        store.append([measured(DENSE, 1, timestamp=1.0, error="x"), measured(DENSE, 2, 1.0, timestamp=2.0)])
    (progress,) = read_progress(RecordStore(tmp_path)).values()
    assert progress.quality(np.array([1, 2])).tolist() == [0.0, 1.0]


def test_a_task_that_never_succeeded(tmp_path):
    with RecordStore(tmp_path, writable=True) as store:
        store.append_workloads([DENSE])
        store.append([measured(DENSE, 1, timestamp=1.0, error="x")])
    (progress,) = read_progress(RecordStore(tmp_path)).values()
    assert progress.num_records == 1 and progress.quality(np.array([1, 2])).tolist() == [0.0, 0.0]


def test_against_a_plain_computation_on_random_records(tmp_path):
    rng = np.random.default_rng(0)
    times, secs = rng.permutation(200).astype(float) // 2 + 1, rng.random(200) + 0.1
    with RecordStore(tmp_path, writable=True) as store:
        store.append_workloads([DENSE])
        for start in range(0, 200, 40):
            store.append([measured(DENSE, i, secs[i], timestamp=times[i]) for i in range(start, start + 40)])
    (progress,) = read_progress(RecordStore(tmp_path)).values()
    best = np.minimum.accumulate(secs[np.argsort(times, kind="stable")])
    np.testing.assert_allclose(progress.quality(np.arange(1, 201)), best[-1] / best)
