"""Machine code beside records: real records of a tiny data set, compiled and not run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from foretune import OptionError, Status
from foretune.compiler.workloads.code_collection import CodeCollectionConfig, collect_code, pack_code
from foretune.costmodel.machine_code.training import code_tasks, train_ranker
from foretune.datasets.records.code_table import table_beside
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError


@pytest.fixture(scope="module")
def timed(trajectories):
    return [t for t in trajectories if t.record.status is Status.OK]


@pytest.fixture(scope="module")
def collected(timed, tmp_path_factory):
    """The folder of a data set, with its machine code, collected in two runs."""
    folder = tmp_path_factory.mktemp("data")
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([timed[0].record.candidate.task])
        store.append(timed)
    config = CodeCollectionConfig(folder, folder / "machine_code", 5, (("train", 4),), num_workers=1)
    assert collect_code(config) == 5
    seen = []
    whole = replace(config, num_records=None)
    assert collect_code(whole, lambda done, total: seen.append((done, total))) == len(timed)
    assert seen == [(len(timed), len(timed))] and len(list(whole.parts.glob("part-*.npz"))) == 2
    packed = pack_code(whole)
    assert packed["num_records"] == packed["statuses"]["ok"] == len(timed) and packed["bytes"] < 1 << 16
    return folder


def test_a_run_goes_on_where_the_last_one_stopped_and_finds_nothing_left(collected):
    config = CodeCollectionConfig(collected, collected / "machine_code", secs=60.0)
    assert collect_code(config) == len(table_beside(collected))
    assert len(list(config.parts.glob("part-*.npz"))) == 2


def test_tasks_have_states_and_counters(collected, timed):
    [task] = code_tasks(timed, table_beside(collected))
    assert len(task.candidates) == len(task.states) == len(task.counters) == len(timed)
    assert task.relative.max() == 0 and np.isfinite(task.states).all()
    assert code_tasks(timed, table_beside(collected), fewest=100) == []


def test_a_ranker_is_trained_on_them(collected, timed):
    pytest.importorskip("catboost", reason="trees are grown with CatBoost")
    tasks = code_tasks(timed, table_beside(collected))
    said: list[str] = []
    ranker = train_ranker(tasks, tasks, report=said.append)
    scores = ranker.score_code(tasks[0].counters)
    assert np.corrcoef(scores, tasks[0].relative)[0, 1] > 0.8 and len(said) == 7
    with pytest.raises(DataError, match="foretune data code"):
        train_ranker(tasks, [])


def test_what_is_asked_for_is_checked(tmp_path):
    with pytest.raises(OptionError, match="records >= 1"):
        CodeCollectionConfig(tmp_path, tmp_path, 0)
    with pytest.raises(OptionError, match="secs > 0"):
        CodeCollectionConfig(tmp_path, tmp_path, secs=0)


def test_the_command_collects_and_packs(collected):
    from typer.testing import CliRunner

    from foretune.cli.app import app

    done = CliRunner().invoke(app, ["data", "code", str(collected), "--workers", "1", "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["num_records"] == len(table_beside(collected))
    missing = CliRunner().invoke(app, ["data", "code", "/nowhere"])
    assert missing.exit_code == 1 and "there is no data folder /nowhere" in str(missing.exception)
