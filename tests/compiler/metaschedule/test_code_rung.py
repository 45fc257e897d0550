"""The middle rung: real compilations decide between schedules that the model ranks first."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from foretune import Candidate, Target
from foretune.compiler.measure.looker import Looker, LookSettings
from foretune.compiler.metaschedule.code_rung import CodeRung, work_of
from foretune.compiler.metaschedule.tuner import DEFAULT_TRACE, Tuner
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.tir.space import design_spaces
from foretune.compiler.tir.workload import task_from_module
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.machine_code.counters import NAMES
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.datasets.records.database import Database
from foretune.errors import WorkerError
from tests.programs import matmul_module


@pytest.fixture(scope="module")
def looker():
    with Looker(num_workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def model():
    return LatentCostModel.bundled()


@pytest.fixture
def rung(model, looker):
    return CodeRung(model, CodeRanker.bundled(), looker)


@pytest.fixture(scope="module")
def candidates(matmul_task):
    rng = np.random.default_rng(1)
    return [Candidate(matmul_task, s.decode(p)) for s in design_spaces(matmul_task)[:3] for p in s.sample(rng, 3)]


def test_a_look_finds_good_code_whatever_the_order(rung, looker, candidates):
    cycles = [look.counters[NAMES.index("run_log_cycles_per_lane")] for look in looker.look(candidates)]
    worst_first = [candidates[i] for i in np.argsort(cycles)[::-1]]
    chosen = rung.choose(rung.submit(worst_first))
    assert len(chosen) == len(candidates) == rung.num_looks and rung.num_failed == 0
    middle = len(chosen) // 2
    assert worst_first.index(chosen[0]) > middle > worst_first.index(chosen[-1])


def test_what_does_not_compile_comes_last_and_what_was_not_looked_at_before_it(rung, candidates, matmul_task):
    foreign = replace(matmul_task, target=Target.from_dict({"kind": "llvm", "mcpu": "no such processor"}))
    broken = Candidate(foreign, candidates[0].trace)
    chosen = rung.choose(rung.submit([broken, *candidates[1:4]]))
    assert chosen[-1] is broken and rung.num_failed == 1
    late = rung.choose(rung.submit(candidates[:4]), until=time.monotonic())
    assert late == candidates[:4]


def test_without_processes_the_models_order_stays_and_that_is_said(model, candidates, caplog, monkeypatch):
    def refuse(*_):
        raise WorkerError("no process today")

    monkeypatch.setattr("foretune.workers.process.WorkerProcess.start", refuse)
    with Looker(LookSettings(), num_workers=1) as looker:
        rung = CodeRung(model, CodeRanker.bundled(), looker)
        assert rung.choose(rung.submit(candidates[:3])) == candidates[:3]
    assert "without a look at their machine code: no process today" in caplog.text


def test_only_x86_is_looked_at(rung, matmul_task):
    assert rung.serves(matmul_task) == (matmul_task.target.kind == "llvm")
    arm = Target.from_dict({"kind": "llvm", "mtriple": "aarch64-linux-gnu"})
    assert not rung.serves(replace(matmul_task, target=arm))


def pick(model, looker, tmp_path, tasks, **options):
    with Database(tmp_path / "records.db") as database:
        tuner = Tuner(model, database, TunerConfig(trials=0, **options), looker=looker)
        return tuner.tune(tasks)


def test_without_trials_each_task_is_looked_at(model, looker, tmp_path, target):
    tasks = [task_from_module(matmul_module(n), target, f"matmul{n}", "dense") for n in (48, 64)]
    report = pick(model, looker, tmp_path, tasks, look_secs=60.0)
    assert report.looked.num == 16 and report.ranked.num > 1000 and report.measured.num == report.num_trials == 0
    again = pick(model, looker, tmp_path, tasks, look_secs=60.0)
    assert again.chosen == report.chosen and DEFAULT_TRACE not in report.chosen.values()
    assert pick(model, looker, tmp_path, tasks, looks=0).looked.num == 0


def test_no_time_for_looks_leaves_it_to_the_model(model, looker, tmp_path, matmul_task):
    by_model = pick(model, looker, tmp_path, [matmul_task], looks=0).chosen
    start = time.monotonic()
    report = pick(model, looker, tmp_path, [matmul_task], look_secs=0.0)
    assert report.chosen == by_model or report.looked.num > 0
    assert time.monotonic() - start < 60


def test_light_tasks_are_left_to_the_model(model, looker, tmp_path, target):
    heavy, light = (task_from_module(matmul_module(n), target, f"matmul{n}", "dense") for n in (128, 16))
    assert work_of(replace(heavy, weight=2.0)) == 2 * work_of(heavy) > 100 * work_of(light)
    report = pick(model, looker, tmp_path, [light, heavy], look_secs=60.0)
    assert report.looked.num == 8 and len(report.chosen) == 2


def test_a_first_batch_is_chosen_by_looks(model, looker, tmp_path, matmul_task, measurer):
    with Database(tmp_path / "records.db") as database:
        tuner = Tuner(model, database, TunerConfig(trials=8, looks=4), measurer, looker=looker)
        report = tuner.tune([matmul_task])
    assert report.looked.num == 7 and report.num_trials == report.measured.num == 8
    assert report.measured.secs > 0 and math.isfinite(report.looked.secs)
