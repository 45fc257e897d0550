"""The tuner's budget: real design spaces, made-up clocks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from foretune import MeasureRecord, OptionError, Status
from foretune.compiler.metaschedule.task_search import TuningProgram
from foretune.compiler.metaschedule.tuner import DEFAULT_TRACE, Tuner
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.tir.space import ScheduleContext
from foretune.compiler.tir.workload import module_from_program, module_hash, task_from_module
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.planning.planner import Planner
from foretune.datasets.records.database import Database
from foretune.tuning.callback import SECONDS
from foretune.tuning.task_scheduler import SchedulerConfig
from tests.foretune.tuning.test_callback import Kept
from tests.programs import matmul_module


@cache
def program_of(task) -> TuningProgram:
    context = ScheduleContext(module_from_program(task.workload.program), task.target)
    return TuningProgram(context.mod, context.context.target, "", tuple(context.context.space_generator.postprocs), 0)


def program_hash(candidate) -> str:
    return module_hash(
        (
            program_of(candidate.task).schedule(candidate.trace) if len(candidate.trace) else program_of(candidate.task)
        ).mod
    )


class Clock:
    """A measurer whose kernels are the faster the nearer their innermost tiles are to 8; it can break off after some
    candidates.
    """

    def __init__(self, unit_secs=None, limit: int | None = None) -> None:
        self.unit_secs = unit_secs or {}
        self.limit = limit
        self.measured: list = []

    def measure(self, candidates):
        self.measured += candidates
        if self.limit is not None and len(self.measured) > self.limit:
            raise KeyboardInterrupt
        return [MeasureRecord(c, Status.OK, (self.secs(c),), program_hash=program_hash(c)) for c in candidates]

    def secs(self, candidate) -> float:
        widths = [a.decision[-1] for a in candidate.trace.actions if a.op == "SamplePerfectTile"]
        units = 1.0 + sum(abs(math.log2(w) - 3) for w in widths) if widths else 8.0
        return self.unit_secs.get(candidate.task.workload.name, 1e-4) * (
            units + 1e-9 * int(candidate.trace.key[:4], 16)
        )  # no two are equal

    def max_rel_error(self, candidate) -> float:
        return 0.0

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def network(trajectories):
    return train(
        trajectories,
        TrainConfig(epochs=4, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2)),
    ).network


@pytest.fixture(scope="module")
def tasks(target):
    return [task_from_module(matmul_module(n), target, f"matmul{n}", "dense") for n in (16, 32, 64)]


@pytest.fixture
def tune(network, tmp_path):
    """Tunes tasks with a clock and one database; gives the report and how many candidates of each task were timed."""

    def run(tasks, clock, trials=16, **options):
        with Database(tmp_path / "records.db") as database:
            config = TunerConfig(trials, **{"looks": 0, **options})  # looks have tests of their own
            tuner = Tuner(LatentCostModel(network), database, config, clock)
            report = tuner.tune(tasks)
            return report, Counter({t.workload.name: database.num_records(t) for t in tasks})

    return run


@pytest.fixture
def hopeful(monkeypatch):
    """A model that always expects a tenth of each task's next batch."""
    monkeypatch.setattr("foretune.compiler.metaschedule.tuner.expected_improvement", lambda score, spread, best: 0.1)


def test_trials_are_an_average_and_the_heavy_task_gets_more(tasks, tune, hopeful):
    weighted = [replace(task, weight=weight) for task, weight in zip(tasks, (1.0, 1.0, 40.0))]
    report, counts = tune(weighted, Clock())
    assert report.num_trials == sum(counts.values()) == 48
    assert counts["matmul64"] > 24 and min(counts.values()) >= 4


def test_the_default_and_a_first_batch_come_first(tasks, tune):
    clock = Clock()
    tune(tasks, clock)
    first = [c.task.workload.name for c in clock.measured[:12]]
    assert Counter(first) == {"matmul16": 4, "matmul32": 4, "matmul64": 4}
    assert [c.trace == DEFAULT_TRACE for c in clock.measured[:12:4]] == [True] * 3


def test_callbacks_hear_of_each_measurement(tasks, network, tmp_path):
    kept, clock = Kept(), Clock()
    with Database(tmp_path / "records.db") as database:
        tuner = Tuner(LatentCostModel(network), database, TunerConfig(4, looks=0), clock, callbacks=[kept])
        report = tuner.tune(tasks[:1])
        tuner.close()
    assert len(kept.events) == len(clock.measured) > report.num_trials  # the finalists are measured again
    assert kept.num_ends == 1 and {(e.task, e.unit) for e in kept.events} == {("matmul16", SECONDS)}
    assert [e.value for e in kept.events] == [clock.secs(c) for c in clock.measured]


def test_identical_tasks_are_one(tasks, tune):
    report, _ = tune([replace(tasks[0], weight=2.0), tasks[0], tasks[1]], Clock(), trials=8)
    assert report.num_tasks == 2 and report.num_trials == 16 and len(report.chosen) == 2


def test_a_second_run_measures_nothing_and_a_larger_budget_goes_on(tasks, tune):
    tune(tasks, Clock(), trials=8)
    clock = Clock()
    report, _ = tune(tasks, clock, trials=8)
    assert report.num_trials == 0 and not clock.measured and report.num_reused == 24
    report, counts = tune(tasks, Clock(), trials=16)
    assert report.num_trials == 24 and sum(counts.values()) == 48


def test_a_run_that_broke_off_goes_on(tasks, tune):
    with pytest.raises(KeyboardInterrupt):
        tune(tasks, Clock(limit=20))
    report, counts = tune(tasks, Clock())
    assert report.num_reused >= 16 and report.num_reused + report.num_trials == 48 == sum(counts.values())


def test_the_budget_of_an_exhausted_task_is_not_spent_on_others(tasks, target, tune):
    from tvm import te

    from foretune.compiler.tir._tvm import tvm

    x = te.placeholder((7,), name="X")
    y = te.compute((7,), lambda i: x[i] + 1.0, name="Y")
    tiny = task_from_module(tvm.IRModule({"main": te.create_prim_func([x, y])}), target, "tiny", "elementwise")
    report, counts = tune([tiny, tasks[2]], Clock(), trials=24)
    assert counts["tiny"] < 24 and counts["matmul64"] <= 24 and len(report.secs) == 2
    again, same = tune([tiny, tasks[2]], Clock(), trials=24)
    assert again.num_trials == 0 and same == counts


def test_a_task_of_no_weight_gets_its_least_share(tasks, tune, hopeful):
    """It is a thousandth of the model's latency."""
    _, counts = tune([tasks[0], tasks[2]], Clock({"matmul16": 1e-7}), trials=24)
    assert counts == {"matmul16": 6, "matmul64": 42}


def test_a_second_run_after_an_early_end_measures_nothing_and_plans_nothing(target, tune, hopeful, monkeypatch):
    """Of one task all is measured that one task may have, and of the others nothing is expected."""
    tasks = [task_from_module(matmul_module(n), target, f"matmul{n}", "dense") for n in (64, 16, 24, 32, 40, 48)]
    secs = {task.workload.name: 1e-8 for task in tasks[1:]}
    monkeypatch.setattr(
        TunerConfig, "scheduler", lambda self, num_tasks: SchedulerConfig(4, 16 * num_tasks, 4, 48, sure_after=4)
    )
    report, counts = tune(tasks, Clock(secs), trials=16)
    assert counts["matmul64"] == 48 and report.num_trials < 96 and set(counts.values()) <= {8, 48}
    monkeypatch.setattr(Planner, "propose", lambda *_, **__: pytest.fail("nothing is to be planned"))
    again, _ = tune(tasks, Clock(secs), trials=16)
    assert again.num_trials == 0 and again.num_reused == sum(counts.values())


def test_no_program_is_measured_twice(tasks, tune, network, tmp_path, measurer):
    tune(tasks[:1], measurer, trials=24)
    with Database(tmp_path / "records.db") as database:
        records = database.records(tasks[0])
    assert len({r.program_hash for r in records}) == len(records) >= 12
    assert Status.ILLEGAL not in {r.status for r in records}


def test_the_winner_is_the_best(tasks, tune):
    clock = Clock()
    report, _ = tune(tasks[2:], clock, trials=32)
    best = min(clock.secs(c) for c in clock.measured)
    assert report.secs[tasks[2].workload.hash] == best < clock.secs(clock.measured[0])


def test_bad_budgets():
    with pytest.raises(OptionError, match="`trials >= 0` and `batch_size >= 1` must hold"):
        TunerConfig(-1)


def test_only_chosen_operators_are_measured(tasks, tune):
    report, counts = tune(tasks, Clock(), trials=8, ops=("matmul16", "conv2d"))
    assert counts["matmul16"] >= 8 and counts["matmul32"] == counts["matmul64"] == 0
    assert all(len(report.chosen[t.workload.hash]) for t in tasks[1:])  # the model picked


def test_a_time_budget_ends_measuring_but_each_task_gets_a_schedule(tasks, tune):
    report, counts = tune(tasks, Clock(), secs=1e-6)
    assert report.num_trials == 0 and not +counts and len(report.chosen) == 3


def test_what_was_measured_counts_even_if_the_operator_is_not_chosen_now(tasks, tune):
    first, _ = tune(tasks[:1], Clock(), trials=8)
    second, _ = tune(tasks[:1], Clock(), trials=8, ops=("softmax",))
    assert second.num_trials == 0 and second.chosen == first.chosen
