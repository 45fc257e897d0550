"""Finding tasks and records by what people type."""

from __future__ import annotations

import pytest

from foretune import DataError
from foretune.datasets.records.features import store_figures
from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.browse import find_record, find_workload, list_records, read_records
from foretune.datasets.reports.measurements import DEFAULT_KEY
from foretune.datasets.reports.summary import summarize
from tests.datasets.small_data import FEATURES, HOSTILE, trace, write_collected, write_imported


@pytest.fixture
def store(tmp_path):
    return RecordStore(write_collected(tmp_path))


@pytest.mark.parametrize(("text", "found"), [("d0d0", "d0d0"), ("d0e", "d0e1"), ("a", "a1a1"), (HOSTILE, "a1a1")])
def test_tasks_are_found_by_hash_prefix_and_name(store, text, found):
    assert find_workload(summarize(store).tasks, text) == found


@pytest.mark.parametrize("text", ["matmul", "d0"])
def test_ambiguous_tasks_are_listed(store, text):
    with pytest.raises(
        DataError,
        match=rf"'{text}' stands for 2 tasks; give more of the hash of one of them:\n  d0d0  dense  matmul\n  d0e1",
    ):
        find_workload(summarize(store).tasks, text)


def test_the_nearest_names_are_listed(store):
    with pytest.raises(
        DataError, match=r"no task has the name or hash 'matmull'; the nearest are:\n  d0d0  dense  matmul"
    ):
        find_workload(summarize(store).tasks, "matmull")
    with pytest.raises(DataError, match="none comes near"):
        find_workload(summarize(store).tasks, "????????")


def test_records_are_found_by_prefix(store):
    key = trace(2).key
    assert find_record(store, key[:10]) == ("d0d0", key)
    assert find_record(store, DEFAULT_KEY, "a1a1") == ("a1a1", DEFAULT_KEY)
    with pytest.raises(DataError, match=rf"stands for 2 records(.|\n)*{DEFAULT_KEY}  of task a1a1"):
        find_record(store, DEFAULT_KEY)
    with pytest.raises(
        DataError, match=rf"no record of task d0d0 has a key that starts with '{key[:8]}x'; the nearest are:\n  {key}"
    ):
        find_record(store, key[:8] + "x", "d0d0")
    with pytest.raises(DataError, match="none comes near"):
        find_record(store, "???")


def test_records_of_a_task_are_sorted_by_time(store):
    lines = list_records(store, "d0d0")
    assert [line.best_secs for line in lines] == [1e-3, 4e-3, 8e-3, None]
    assert [line.is_default for line in lines] == [False, True, False, False]
    assert lines[0].variation == pytest.approx(0.0673, rel=1e-2) and lines[-1].status == "run_error"


def test_a_whole_record(store):
    (view,) = read_records(store, "d0d0", trace(2).key)
    document = view.to_json()
    assert (
        document["trace_text"] == str(trace(2))
        and document["run_secs"] == [1e-3, 1.1e-3]
        and document["source"] == "foretune"
    )
    assert len(document["initial"]) == 1 and len(document["final"]) == 2


def test_imported_records_lack_much(tmp_path):
    store = RecordStore(write_imported(tmp_path))
    (view,) = read_records(store, "d0d0", trace(1).key)
    assert view.to_json()["settings"] is None and view.to_json()["final"] == []


def test_features_in_words():
    first, second = store_figures(FEATURES)
    assert (first.float_ops, first.int_ops, first.vectorized, first.bytes) == (7, 7, 1, 5)
    assert (second.float_ops, second.parallel, second.unique_bytes) == (21, 3, 15)
    assert store_figures(()) == [] and store_figures(((1.0, 2.0),)) == []


def test_features_of_the_bundled_data():
    from tests.datasets.reports.test_summary import BUNDLED

    store = RecordStore(BUNDLED)
    dense = next(t for t in summarize(store).tasks if t.family == "dense" and t.default_secs)
    (view,) = read_records(store, dense.workload, DEFAULT_KEY)
    figures = store_figures(view.trajectory.final)
    assert (
        figures
        and max(f.float_ops for f in figures) > 1000
        and all(f.vectorized == f.unrolled == f.parallel == 0 for f in figures)
    )
