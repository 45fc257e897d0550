"""What was measured, where it is used: a call under the conditions of a measurement, and the winner in this process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from foretune.compiler import as_measured, fastest_in_use
from foretune.compiler.tir._tvm import meta_schedule, set_num_threads, tvm
from foretune.compiler.tir.target import tvm_target
from foretune.errors import OptionError
from foretune.record import Status
from foretune.target import num_usable_cores
from tests.programs import matmul_module


@pytest.fixture(scope="module")
def mod():
    return matmul_module(96)


@pytest.fixture(scope="module")
def tvm_cpu(target):
    return tvm_target(target)


def scheduled(mod, is_fast: bool) -> tvm.s_tir.Schedule:
    """A product whose innermost loop is a vector of columns, or one that jumps through memory."""
    schedule = tvm.s_tir.Schedule(mod)
    block = schedule.get_sblock("C")
    i, j, k = schedule.get_loops(block)
    if is_fast:
        outer, lanes = schedule.split(j, [None, 32])
        schedule.reorder(i, outer, k, lanes)
        schedule.vectorize(lanes)
    else:
        schedule.reorder(k, j, i)
    return schedule


def database_of(mod, target, *schedules) -> meta_schedule.database.Database:
    database = meta_schedule.database.MemoryDatabase()
    workload = database.commit_workload(mod)
    for i, schedule in enumerate(schedules):  # as if each were measured to be faster than the last
        record = meta_schedule.database.TuningRecord(schedule.trace, workload, [1e-3 / (i + 1)], target)
        database.commit_tuning_record(record)
    return database


def times_are(monkeypatch, **secs: float) -> None:
    """The runs are real; of their times, which no test may rest on, only the order in which they are asked stays."""
    from foretune.compiler.metaschedule import use

    in_turns = use._in_turns

    def fixed(executables, inputs, turns):
        assert all(len(own) == turns and np.all(own > 0) for own in in_turns(executables, inputs, turns))
        return [np.full(turns, value) * (1 + 0.01 * (np.arange(turns) % 2)) for value in secs.values()][
            : len(executables)
        ]

    monkeypatch.setattr(use, "_in_turns", fixed)


def test_the_fastest_here_wins_whatever_was_measured(mod, tvm_cpu, monkeypatch):
    times_are(monkeypatch, default=3e-3, slow=3.1e-3, fast=1e-3)
    database = database_of(mod, tvm_cpu, scheduled(mod, True), scheduled(mod, False))
    found = fastest_in_use(mod, tvm_cpu, database, turns=7)
    slow, fast = found.comparisons  # the slow one was said to be faster
    assert (slow.status, fast.status) == (Status.OK, Status.OK) and fast.gain > 1 > slow.gain
    assert found.record is not None and list(map(float, found.record.run_secs)) == [1e-3]
    a, b, c = (tvm.runtime.tensor(np.random.rand(96, 96).astype("float32")) for _ in range(3))
    found.executable["main"](a, b, c)
    np.testing.assert_allclose(c.numpy(), a.numpy() @ b.numpy(), rtol=1e-4)


@pytest.mark.parametrize("records", [0, 1])
def test_the_default_schedule_stays_where_nothing_is_faster(mod, tvm_cpu, records, monkeypatch):
    times_are(monkeypatch, default=3e-3, record=2.99e-3)
    database = database_of(mod, tvm_cpu, *[scheduled(mod, False)][:records])
    found = fastest_in_use(mod, tvm_cpu, database, turns=5)
    assert found.record is None and len(found.comparisons) == records
    assert fastest_in_use(matmul_module(32), tvm_cpu, database, turns=5).comparisons == ()


def test_a_wrong_output_never_wins(mod, tvm_cpu, monkeypatch):
    from foretune.compiler.metaschedule import use

    monkeypatch.setattr(use, "_compiled", lambda record, target: tvm.compile(matmul_of_twice(mod), target=target))
    found = fastest_in_use(mod, tvm_cpu, database_of(mod, tvm_cpu, scheduled(mod, True)), turns=5)
    assert found.record is None and found.comparisons[0].status is Status.WRONG_OUTPUT


def matmul_of_twice(mod):
    """A program of the same form that computes something else."""
    from tvm import te

    a, b = te.placeholder((96, 96), name="A"), te.placeholder((96, 96), name="B")
    return tvm.IRModule(
        {"main": te.create_prim_func([a, b, te.compute((96, 96), lambda i, j: a[i, j] + b[i, j], name="C")])}
    )


def test_wrong_use(mod, tvm_cpu):
    with pytest.raises(OptionError, match="`finalists >= 1` and `turns >= 3` must hold, but got 0 and 15"):
        fastest_in_use(mod, tvm_cpu, database_of(mod, tvm_cpu), finalists=0)


def cores_of_threads() -> set[str]:
    """The one core of each thread of this process that has only one."""
    texts = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    found = [line.split()[1] for text in texts for line in text.splitlines() if line.startswith("Cpus_allowed_list")]
    return {cores for cores in found if cores.isdigit()}


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core")
def test_a_call_as_it_was_measured(mod, tvm_cpu):
    before = os.sched_getaffinity(0)
    function = tvm.compile(mod, target=tvm_cpu)["main"]
    tensors = [tvm.runtime.tensor(np.zeros((96, 96), "float32")) for _ in range(3)]
    try:
        with as_measured():
            function(*tensors)
            assert len(os.sched_getaffinity(0)) == 1 and cores_of_threads()
        assert os.sched_getaffinity(0) == before and not cores_of_threads()
    finally:
        set_num_threads()
