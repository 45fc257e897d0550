"""Training on collected sequences: units, splits, merging, and the command."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from foretune import (
    Candidate,
    DataError,
    HardwareFeatures,
    MeasureRecord,
    Node,
    ProgramGraph,
    Status,
    Target,
    Task,
    Trajectory,
    Workload,
)
from foretune.cli.app import app
from foretune.costmodel.passes.model import PassCostModel
from foretune.datasets.records.merge import merge
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.passes.llvm.actions import Flag, PassSequence
from foretune.passes.llvm.suite import held_out, training
from foretune.passes.llvm.tuning.moves import BASE
from foretune.passes.llvm.tuning.training import (
    _softened,
    read_data,
    relative_to_baseline,
    split_programs,
    train_model,
)


def task(name: str, loads: float) -> Task:
    nodes = (Node("function", "f0", (1.0, 8.0, 1.0, 0.0)), Node("block", "f0b0", (1.0, 0.0, loads, *([1.0] * 13))))
    return Task(
        Workload(name, "", ProgramGraph(nodes, ()), name, "llvm"), Target("llvm", (), HardwareFeatures(cores=2))
    )


def trajectory(
    of: Task, count: int, secs: float, baseline: tuple[float, ...], status=Status.OK, stamp=0.0
) -> Trajectory:
    sequence = PassSequence(BASE.passes, (Flag("unroll-count", count),))
    environment = (("baseline_secs", json.dumps(baseline)),)
    record = MeasureRecord(
        Candidate(of, sequence.trace()),
        status,
        (secs,) if status is Status.OK else (),
        "",
        "",
        environment,
        None,
        stamp,
    )
    return Trajectory(record, ((1.0, 2.0),), ((secs, float(count)),))


def collected(folder, names):
    with RecordStore(folder, writable=True) as store:
        for number, name in enumerate(names):
            of = task(name, 1.0 + number % 5)
            store.append_workloads([of])
            store.append([trajectory(of, count, 0.03 / count, (0.031, 0.03), stamp=count) for count in (2, 4, 8)])
    return folder


def test_times_are_in_units_of_the_baseline():
    of = task("p", 1.0)
    slow_day = trajectory(of, 4, 0.06, (0.09, 0.08))
    failed, unpaired = trajectory(of, 8, 0.0, (), Status.RUN_ERROR), trajectory(of, 2, 0.05, ())
    found = relative_to_baseline([slow_day, failed, unpaired])
    assert [t.record.status for t in found] == [Status.OK, Status.RUN_ERROR] and found[
        0
    ].record.best_secs == pytest.approx(0.75)


def test_jackpots_stay_ahead():
    of = task("p", 1.0)
    times = (0.1, 0.5, 0.7, 1.0, 1.4, 3.0)
    found = [t.record.best_secs for t in _softened([trajectory(of, 2, secs, (1.0,)) for secs in times])]
    assert found == sorted(found) and len(set(found)) == len(times)
    assert found[2:5] == pytest.approx(times[2:5]) and found[0] > 0.4 and found[-1] < 1.8
    twice = trajectory(of, 2, 0.1, (1.0,))
    twice = dataclasses.replace(twice, record=dataclasses.replace(twice.record, run_secs=(0.1, 0.11)))
    [again] = _softened([twice])
    assert again.record.run_secs[1] / again.record.run_secs[0] == pytest.approx(1.1)  # its noise is what it was


def test_programs_that_are_held_out_never_train():
    split = split_programs({name: name for name in (*training(), *held_out())})
    assert (
        split.test == frozenset(held_out())
        and not split.test & (split.train | split.validation)
        and split.validation
        and split.train
    )
    other = split_programs({f"h{i}": f"own{i}" for i in range(20)})
    assert other.train and other.validation and other.test


def test_merging(tmp_path):
    one, other = collected(tmp_path / "one", ["a", "b"]), collected(tmp_path / "other", ["b", "c"])
    Split(frozenset("a"), frozenset("b"), frozenset()).save(one)
    Split(frozenset(), frozenset("b"), frozenset("c")).save(other)
    assert merge([one, other], tmp_path / "all") == 9  # b's records are the same in both
    with RecordStore(tmp_path / "all") as store:
        assert set(store.workloads()) == {"a", "b", "c"} and store.split().test == frozenset("c")
        assert {t.initial for t in store.trajectories()} == {()}
    with pytest.raises(DataError, match="holds a data set already"):
        merge([one], tmp_path / "all")
    Split(frozenset("b"), frozenset("a"), frozenset()).save(one)
    with pytest.raises(DataError, match="two parts"):
        merge([one, other], tmp_path / "again")


def test_the_command_trains_what_ranks(tmp_path):
    data = collected(tmp_path / "data", [*training()[:12], *held_out()[:2]])
    done = CliRunner().invoke(
        app,
        ["passes", "train", "--data", str(data), "--out", str(tmp_path / "w.safetensors"), "--epochs", "2", "--json"],
    )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (
        report["num_programs"] + report["num_validation_records"] // 3 == 12
        and report["num_records"] == 3 * report["num_programs"]
    )
    model = PassCostModel.load(tmp_path / "w.safetensors")
    of = task("new", 2.0)
    scores = model.predict(of, [trajectory(of, count, 1.0, ()).record.candidate for count in (2, 8)])
    assert np.isfinite(scores).all() and scores[1] > scores[0]


def test_nothing_to_train_on_is_told(tmp_path):
    with RecordStore(tmp_path / "unpaired", writable=True) as store:
        store.append_workloads([task("p", 1.0)])
        store.append([trajectory(task("p", 1.0), 2, 0.05, ())])
    with pytest.raises(DataError, match="collect some"):
        read_data([tmp_path / "unpaired"])
    with pytest.raises(DataError, match="no data folder"):
        train_model([tmp_path / "missing"], tmp_path / "w")
