"""Packed weights: rewritten programs compute the same, are searched beside the program as it is, and are told apart by
the model.
"""

from __future__ import annotations

import numpy as np
import pytest

from foretune import Candidate, MeasureRecord, Status, Task
from foretune.compiler.metaschedule.tuner import Tuner
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.packing import packing
from foretune.compiler.tir.space import design_spaces, rewritten_spaces
from foretune.compiler.tir.workload import module_from_program, module_hash, task_from_module
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.planning.halving import groups_of, in_turn
from foretune.datasets.records.database import Database
from tests.programs import clear_tvm_log_handlers, matmul_module


def conv_module(
    channels: int = 32, size: int = 14, out: int = 32, kernel: int = 3, bias: bool = True, transposed: bool = False
):
    """relu(conv(x, w) + b), or the convolution alone."""
    from tvm import te

    x, w, b = (
        te.placeholder((1, channels, size, size), name="x"),
        te.placeholder((out, channels, kernel, kernel), name="w"),
        te.placeholder((out,), name="b"),
    )
    if transposed:
        w = te.placeholder((channels, out, kernel, kernel), name="w")
    c, i, j = te.reduce_axis((0, channels), "c"), te.reduce_axis((0, kernel), "i"), te.reduce_axis((0, kernel), "j")
    side = size - kernel + 1
    weight = (lambda f: w[c, f, i, j]) if transposed else (lambda f: w[f, c, i, j])
    y = te.compute(
        (1, out, side, side), lambda n, f, h, v: te.sum(x[n, c, h + i, v + j] * weight(f), axis=[c, i, j]), name="conv"
    )
    z = te.compute(y.shape, lambda n, f, h, v: tvm.tirx.max(y[n, f, h, v] + b[f], 0.0), name="relu")
    return tvm.IRModule({"main": te.create_prim_func([x, w, b, z] if bias else [x, w, y])})


def dense_module():
    from tvm import te

    x, w, k = te.placeholder((64, 64), name="x"), te.placeholder((48, 64), name="w"), te.reduce_axis((0, 64), "k")
    y = te.compute((64, 48), lambda i, j: te.sum(x[i, k] * w[j, k], axis=k), name="dense")
    return tvm.IRModule({"main": te.create_prim_func([x, w, y])})


@pytest.fixture(scope="module")
def conv_task(target):
    return task_from_module(conv_module(), target, "conv", "conv2d")


@pytest.fixture(scope="module")
def model():
    return LatentCostModel.bundled()


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"transposed": True}, {"kernel": 1, "channels": 64}, {"size": 13, "out": 48}],
    ids=["bias", "alone", "transposed", "1x1", "odd"],
)
def test_rewritten_schedules_compute_the_same(options, target, measurer):
    task = task_from_module(conv_module(**options), target, "conv", "conv2d")
    assert len(task.workload.rewrites) == 1
    spaces, rng = rewritten_spaces(task), np.random.default_rng(0)
    assert spaces and all(task.workload.rewrite_of(s.template) is task.workload.rewrites[0] for s in spaces)
    candidates = [Candidate(task, space.decode(point)) for space in spaces for point in space.sample(rng, 1)]
    records = measurer.measure(candidates)
    assert {r.status for r in records} <= {Status.OK, Status.ILLEGAL} and sum(
        r.status is Status.OK for r in records
    ) >= 1
    worked = next(r for r in records if r.status is Status.OK)
    assert measurer.max_rel_error(worked.candidate) < 1e-4
    assert task.workload.rewrite_of(worked.trace) is task.workload.rewrites[0]


@pytest.mark.parametrize(
    "mod",
    [
        matmul_module(64),
        dense_module(),
        conv_module(out=24),
        conv_module(size=18),
        conv_module(channels=3, kernel=3),
        conv_module(size=8),
    ],
    ids=["matrix product", "dense layer", "24 channels", "16 wide", "small sums", "few uses"],
)
def test_what_would_not_pay_is_left_alone(mod, target):
    assert packing(mod) is None
    task = task_from_module(mod, target)
    assert task.workload.rewrites == () == rewritten_spaces(task)


def test_the_program_itself_stays(conv_task):
    assert conv_task.workload.hash == module_hash(conv_module())
    assert module_hash(module_from_program(conv_task.workload.program)) == conv_task.workload.hash
    assert {s.space_id for s in design_spaces(conv_task)}.isdisjoint(s.space_id for s in rewritten_spaces(conv_task))
    assert Task.from_json(conv_task.to_json()) == conv_task
    old = conv_task.to_json()
    del old["workload"]["rewrites"]
    assert Task.from_json(old).workload.rewrites == ()


def made_up(task, trace, secs: float) -> MeasureRecord:
    return MeasureRecord(Candidate(task, trace), Status.OK, (secs,))


def test_the_model_keeps_rewrites_apart(conv_task, model):
    rng = np.random.default_rng(0)
    plain, packed = design_spaces(conv_task)[0], rewritten_spaces(conv_task)[0]
    own, other = plain.sample(rng, 16), packed.sample(rng, 16)
    before = model.score(conv_task, packed, other).score
    model.update([made_up(conv_task, plain.decode(p), 1e-4 * (i + 1)) for i, p in enumerate(own)])
    np.testing.assert_array_equal(model.score(conv_task, packed, other).score, before)
    model.update([made_up(conv_task, packed.decode(p), 1e-4 * (i + 1)) for i, p in enumerate(other)])
    after = model.score(conv_task, packed, other).score
    assert np.corrcoef(after, -np.arange(16))[0, 1] > 0.7
    assert model.predict(conv_task, [Candidate(conv_task, packed.decode(other[0]))])[0] == pytest.approx(after[0])


def test_groups_take_turns_and_then_the_best_goes_on(conv_task):
    groups = groups_of(conv_task, [*design_spaces(conv_task), *rewritten_spaces(conv_task)])
    assert len(groups) == 2 and conv_task.workload.rewrite_of(groups[0][0].template) is not None
    rng = np.random.default_rng(0)
    packed, plain = ([group[0].decode(p) for p in group[0].sample(rng, 16)] for group in groups)
    assert in_turn(groups, ()) == groups
    records = [made_up(conv_task, t, 1e-4) for t in packed[:3]]
    assert in_turn(groups, records)[0] is groups[1]
    slow = [made_up(conv_task, t, 2e-4) for t in plain[:3]]
    assert in_turn(groups, records + slow)[0] is groups[0]  # the program as it is falls far behind
    close = [made_up(conv_task, t, 0.99e-4) for t in plain[:8]]
    assert in_turn(groups, records + close)[0] is groups[0]  # which has had few
    assert in_turn(groups, records + close + [made_up(conv_task, t, 1e-4) for t in packed])[0] is groups[1]
    assert in_turn(groups[:1], records) == groups[:1]


def test_tuning_searches_both(conv_task, model, measurer, tmp_path):
    with Database(tmp_path / "records.db") as database:
        report = Tuner(model, database, TunerConfig(trials=24, batch_size=8), measurer).tune([conv_task])
        kinds = [
            conv_task.workload.rewrite_of(r.trace) is not None for r in database.records(conv_task) if len(r.trace)
        ]
    assert any(kinds) and not all(kinds) and report.num_trials >= 24


def test_metaschedule_compiles_a_rewritten_winner(model, target, measurer, tmp_path):
    from tvm.s_tir import meta_schedule as ms

    from foretune.compiler import LatentSearchStrategy, SearchConfig, builder_and_runner
    from foretune.compiler.tir.target import tvm_target
    from foretune.costmodel.planning.planner import PlannerConfig

    mod, tvm_cpu = conv_module(), tvm_target(target)
    clear_tvm_log_handlers()
    strategy = LatentSearchStrategy(SearchConfig(PlannerConfig(population=128, generations=1)), model)
    work_dir = str(tmp_path / "work")
    database = ms.tune_tir(
        mod,
        tvm_cpu,
        work_dir,
        8,
        num_tuning_cores=1,
        strategy=strategy,
        cost_model="none",
        seed=3,
        **builder_and_runner(measurer),
    )
    rewritten = [r for r in database.get_all_tuning_records() if "transform_layout" in str(r.trace)]
    assert rewritten
    only = ms.database.MemoryDatabase()
    workload = only.commit_workload(mod)
    only.commit_tuning_record(
        ms.database.TuningRecord(rewritten[0].trace, workload, [1e-6], tvm_cpu, rewritten[0].args_info)
    )
    compiled = ms.tir_integration.compile_tir(only, mod, tvm_cpu)
    assert len(compiled.mod["main"].body.block.alloc_buffers) > 1
    arrays = [
        np.random.default_rng(0).standard_normal(shape).astype("float32")
        for shape in ((1, 32, 14, 14), (32, 32, 3, 3), (32,), (1, 32, 12, 12))
    ]
    outputs = []
    for function in (compiled.mod, mod):
        given = [tvm.runtime.tensor(a) for a in arrays]
        tvm.compile(function, target=tvm_cpu)["main"](*given)
        outputs.append(given[-1].numpy())
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
    again = LatentSearchStrategy(SearchConfig(PlannerConfig(population=128, generations=1)), model)
    ms.tune_tir(
        mod,
        tvm_cpu,
        work_dir,
        4,
        num_tuning_cores=1,
        strategy=again,
        cost_model="none",
        seed=4,
        database=database,
        **builder_and_runner(measurer),
    )
    assert again.report.num_illegal == 0
