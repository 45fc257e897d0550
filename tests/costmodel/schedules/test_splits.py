"""Splits of schedules written by hand: factors left open, factors chosen among numbers, and what cannot be read."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import tvm
from foretune.costmodel.latent.encoding import observed_space
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.errors import DataError, IllegalActionError
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.task import Candidate
from foretune.trace import Trace
from tests.programs import matmul_module

FACTORS = ([4, 7, 16, 32], [0.25] * 4)


def open_outer(sch, loops):
    i, j, k = loops
    outer, inner = sch.split(j, [None, sch.sample_categorical(*FACTORS)])
    sch.reorder(i, outer, k, inner)


def open_inner(sch, loops):
    i, j, k = loops
    a, b = sch.split(k, [sch.sample_categorical(*FACTORS), None])
    sch.reorder(a, i, j, b)


def open_in_the_middle(sch, loops):
    sch.split(loops[0], [2, None, sch.sample_categorical(*FACTORS)])


def fused_and_split(sch, loops):
    fused = sch.fuse(loops[0], loops[1])
    blocks, threads = sch.split(fused, [None, sch.sample_categorical([32, 100], [0.5, 0.5])])
    sch.split(blocks, [None, 8])
    sch.split(threads, [4, None])


def tiles_and_open(sch, loops):
    i, j, _ = loops
    parts = sch.split(i, sch.sample_perfect_tile(i, 3))
    sch.split(parts[1], [None, sch.sample_categorical([1, 2], [0.5, 0.5])])
    sch.split(j, [None, 16])


def sampled(apply, num: int = 12) -> list[tuple[Trace, tuple[int, ...]]]:
    """Traces of a schedule written by hand, each with the extents of the loops that TVM makes of it."""
    found = []
    for seed in range(1, num + 1):
        schedule = traces.unscheduled(matmul_module(64), seed)
        apply(schedule, schedule.get_loops(schedule.get_sblock("C")))
        loops = schedule.get_loops(schedule.get_sblock("C"))
        found.append((traces.from_tvm(schedule.trace), tuple(int(schedule.get(loop).extent) for loop in loops)))
    return [(Trace(trace.actions[:-2]), extents) for trace, extents in found]  # without the look-ups above


@pytest.mark.parametrize(
    "apply", [open_outer, open_inner, open_in_the_middle, fused_and_split, tiles_and_open], ids=lambda f: f.__name__
)
def test_extents_are_those_of_tvm(matmul_task, apply):
    found = sampled(apply)
    space, points = observed_space([trace for trace, _ in found])
    nest = loop_nest(space, matmul_task.workload.graph)
    assert nest.extents_of(nest.main.loops, points).tolist() == [list(extents) for _, extents in found]
    assert np.isfinite(nest.features(points)).all()


def damaged(trace: Trace) -> Trace:
    """The trace with a split by no number."""
    actions = tuple(replace(a, inputs=(a.inputs[0], "None", ("x",))) if a.op == "Split" else a for a in trace.actions)
    return Trace(actions)


def timed(task, found: list[Trace]) -> list[Trajectory]:
    return [
        Trajectory(MeasureRecord(Candidate(task, trace), Status.OK, (1e-4 + 1e-5 * i,)))
        for i, trace in enumerate(found)
    ]


CONFIG = TrainConfig(epochs=2, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2))


def test_the_latent_model_ranks_open_splits(matmul_task):
    found = list({trace.key: trace for trace, _ in sampled(open_outer)}.values())
    model = LatentCostModel(train(timed(matmul_task, found), CONFIG).network)
    scores = model.predict(matmul_task, [Candidate(matmul_task, trace) for trace in found])
    assert len(set(scores.tolist())) == len(found) == 4


def test_training_leaves_out_what_it_cannot_read(matmul_task, caplog):
    good = [trace for trace, _ in sampled(open_outer)]
    bad = [damaged(trace) for trace, _ in sampled(open_inner)]
    with caplog.at_level(logging.WARNING):
        trained = train(timed(matmul_task, good + bad), CONFIG)
    assert "12 schedules of matmul64 are left out" in caplog.text
    assert trained.figures["pairwise"] >= 0
    with pytest.raises(DataError, match="none of the 1 tasks has schedules that the model can read"):
        train(timed(matmul_task, bad), CONFIG)


def test_an_unreadable_split_is_named(matmul_task):
    space, _ = observed_space([damaged(trace) for trace, _ in sampled(open_inner, 1)])
    with pytest.raises(
        IllegalActionError,
        match=r"action 3 of a trace cannot be followed .*a factor of a split must be a number or a value",
    ):
        loop_nest(space, matmul_task.workload.graph)


def test_tuning_of_a_schedule_function_with_an_open_split(target):
    from foretune.compiler.metaschedule.online_model import OnlineModel
    from foretune.compiler.metaschedule.task_search import SearchConfig, TaskSearch, TuningProgram
    from foretune.compiler.tir.target import tvm_target
    from foretune.costmodel.planning.planner import PlannerConfig

    schedule = traces.unscheduled(matmul_module(64), 1)
    open_outer(schedule, schedule.get_loops(schedule.get_sblock("C")))
    program = TuningProgram(matmul_module(64), tvm_target(target), "by hand", (), 1)
    config = SearchConfig(PlannerConfig(population=64, generations=1), rewrites=False, first_batch=8)
    search = TaskSearch(program, [schedule], OnlineModel(), config, 8)
    assert len(search.next_batch()) == 5  # the default schedule and the four factors
    assert search._planner is not None


def test_tuning_leaves_out_design_spaces_that_the_model_cannot_read(target, caplog):
    from foretune.compiler.metaschedule.online_model import OnlineModel
    from foretune.compiler.metaschedule.task_search import SearchConfig, TaskSearch, TuningProgram
    from foretune.compiler.tir.target import tvm_target

    good, bad = (traces.unscheduled(matmul_module(64), 1) for _ in range(2))
    open_outer(good, good.get_loops(good.get_sblock("C")))
    loop = bad.get_loops(bad.get_sblock("C"))[0]
    bad.split(loop, [None, bad.sample_categorical([2, 4], [0.5, 0.5]) * tvm.tirx.const(2, "int32")])
    program = TuningProgram(matmul_module(64), tvm_target(target), "by hand", (), 1)
    online = OnlineModel()
    with caplog.at_level(logging.WARNING):
        search = TaskSearch(program, [good, bad], online, SearchConfig(rewrites=False), 8)
    assert len(search._spaces) == 1
    assert "a design space of by hand is left out: TVM cannot write a trace" in caplog.text
    unreadable = replace(search._spaces[0], template=damaged(search._spaces[0].template))
    with caplog.at_level(logging.WARNING):
        assert search._ranked([*search._spaces, unreadable]) == search._spaces
        assert search._ranked([unreadable]) == (unreadable,)
    assert "1 of 2 design spaces of by hand are left out, because the model cannot read them" in caplog.text
    assert "by hand is searched at random" in caplog.text
