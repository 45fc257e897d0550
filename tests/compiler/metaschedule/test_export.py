"""Data set -> MetaSchedule's JSON database -> data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from foretune import DataError, OptionError
from foretune.compiler.metaschedule.export import export_database
from foretune.datasets.importers import import_logs
from foretune.datasets.records.store import RecordStore

BUNDLED = Path(__file__).parents[3] / "datasets" / "bundled" / "cpu"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A data set of two of the bundled workloads."""
    folder = tmp_path_factory.mktemp("small")
    with RecordStore(BUNDLED) as bundled, RecordStore(folder, writable=True) as store:
        few = sorted(bundled.workloads().values(), key=lambda w: len(w.program))[:2]
        chosen = list(bundled.trajectories({w.hash for w in few}))
        store.append_workloads(t.record.candidate.task for t in chosen)
        store.append(chosen)
    return folder


def test_round_trip(small, tmp_path):
    report = export_database(small, tmp_path / "db", best=3)
    assert report.num_workloads == 2 and report.num_records == 6
    with RecordStore(tmp_path / "back", writable=True) as store:
        imported = import_logs([tmp_path / "db"], store)
        assert imported.num_records == 6 and imported.num_bad == 0
        originals = {(r["workload"], r["trace_key"]): r["run_secs"] for r in RecordStore(small).rows()}
        for trajectory in store.trajectories():
            record = trajectory.record
            assert record.run_secs == pytest.approx(
                originals[record.candidate.task.workload.hash, record.trace.key], rel=1e-6
            )


def test_tvm_reads_it(small, tmp_path):
    from foretune.compiler.tir._tvm import meta_schedule, tvm

    export_database(small, tmp_path, best=1)
    database = meta_schedule.database.JSONDatabase(
        str(tmp_path / "database_workload.json"), str(tmp_path / "database_tuning_record.json")
    )
    for record in database.get_all_tuning_records():
        schedule = tvm.s_tir.Schedule(record.workload.mod)
        record.trace.apply_to_schedule(schedule, remove_postproc=False)


def test_wrong_use(small, tmp_path):
    with pytest.raises(OptionError, match="best >= 1"):
        export_database(small, tmp_path, best=0)
    (tmp_path / "database_workload.json").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        export_database(small, tmp_path)
    with RecordStore(tmp_path / "ansor", writable=True) as store:
        import_logs([Path(__file__).parents[2] / "datasets" / "logs" / "ansor.json"], store)
    with pytest.raises(DataError, match="no record that can be written"):
        export_database(tmp_path / "ansor", tmp_path / "out")
    assert not (tmp_path / "out").exists()
