"""What MetaSchedule's tutorials do, with Foretune's cost model and search strategy: each test says what works.

Where no device is at hand, or none is needed, run times are made up.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest

from foretune.compiler import ForetuneCostModel, LatentSearchStrategy, SearchConfig
from foretune.compiler.metaschedule.builder_and_runner import MeasurerBuilder
from foretune.compiler.metaschedule.records import trace_of
from foretune.compiler.tir._tvm import meta_schedule as ms
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.workload import module_hash, task_from_module
from foretune.costmodel.planning.planner import PlannerConfig
from foretune.errors import UnsupportedError
from foretune.target import Target
from tests.programs import clear_tvm_log_handlers, matmul_module

CONFIG = SearchConfig(PlannerConfig(population=64, generations=1), first_batch=4, batch_size=4, rewrites=False)
ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "neoverse-n1", "num-cores": 4}
RISCV = {"kind": "llvm", "mtriple": "riscv64-unknown-linux-gnu", "mcpu": "sifive-x280", "num-cores": 4}
CUDA = {
    "kind": "cuda",
    "arch": "sm_80",
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "thread_warp_size": 32,
}


def product(dtype: str, accumulate: str, size: int = 64) -> tvm.IRModule:
    """A matrix product of one type, summed up in another."""
    from tvm import te

    a, b, k = te.placeholder((size, size), dtype), te.placeholder((size, size), dtype), te.reduce_axis((0, size))
    c = te.compute(
        (size, size), lambda i, j: te.sum(a[i, k].astype(accumulate) * b[k, j].astype(accumulate), k), name="C"
    )
    return tvm.IRModule({"main": te.create_prim_func([a, b, c])})


@tvm.ir.utils.derived_object
class MadeUpRunner(ms.runner.PyRunner):
    """A time for each program, by its hash; nothing runs."""

    def __init__(self) -> None:
        super().__init__()
        self.num_runs = 0

    def run(self, runner_inputs) -> list:
        self.num_runs += len(runner_inputs)
        secs = [1e-5 * (1 + hash(str(i.artifact_path)) % 97) for i in runner_inputs]
        return [ms.runner.RunnerFuture(lambda: True, lambda s=s: ms.runner.RunnerResult([s], None)) for s in secs]


@pytest.fixture
def host(target) -> tvm.target.Target:
    from foretune.compiler.tir.target import tvm_target

    return tvm_target(target)


@pytest.fixture(scope="module")
def bundled():
    return ForetuneCostModel().online.model


@pytest.fixture
def tune(tmp_path, bundled):
    """Tunes with made-up times; gives the database and the cost model."""

    def run(mod, target, num_trials: int = 8, **options):
        clear_tvm_log_handlers()
        cost_model = options.pop("cost_model", None) or ForetuneCostModel(type(bundled)(bundled.network))
        settings = {
            "num_trials_per_iter": 4,
            "num_tuning_cores": 1,
            "seed": 3,
            "builder": MeasurerBuilder(),
            "runner": MadeUpRunner(),
            **options,
        }
        strategy = settings.pop("strategy", None) or LatentSearchStrategy(CONFIG)
        target = tvm.target.Target(target) if isinstance(target, dict) else target
        with target:  # TVM's rules for riscv64 ask for the current target
            database = ms.tune_tir(
                mod, target, str(tmp_path / "work"), num_trials, cost_model=cost_model, strategy=strategy, **settings
            )
        return database, cost_model

    return run


def learnt(cost_model) -> int:
    return sum(bool(r.run_secs) for r in cost_model.online.records)


# -- design spaces -----------------------------------------------------------------------------------


def test_a_schedule_function(tune, host):
    def schedule(sch: tvm.s_tir.Schedule) -> None:
        block = sch.get_sblock("C")
        i, j, k = sch.get_loops(block)
        i0, i1 = sch.split(i, sch.sample_perfect_tile(i, 2, max_innermost_factor=16))
        j0, j1 = sch.split(j, [None, sch.sample_categorical([4, 8, 16], [1 / 3] * 3)])
        sch.reorder(i0, j0, k, i1, j1)
        sch.parallel(i0)
        sch.vectorize(j1)

    database, cost_model = tune(matmul_module(64), host, space=ms.space_generator.ScheduleFn(schedule))
    assert len(database) == learnt(cost_model) == 8


def test_a_schedule_function_with_several_spaces(tune, host):
    def schedule(sch: tvm.s_tir.Schedule) -> list[tvm.s_tir.Schedule]:
        other = sch.copy()
        for each, loop in ((sch, 0), (other, 1)):
            picked = each.get_loops(each.get_sblock("C"))[loop]
            each.split(picked, each.sample_perfect_tile(picked, 2))
        return [sch, other]

    database, cost_model = tune(matmul_module(64), host, space=ms.space_generator.ScheduleFn(schedule))
    assert len(database) == learnt(cost_model) == 8


def test_post_order_apply_with_chosen_rules(tune, host):
    space = ms.space_generator.PostOrderApply(
        sch_rules=[
            ms.schedule_rule.AutoInline(True, True, True, True, True, True, ["tirx.exp"]),
            ms.schedule_rule.MultiLevelTiling("SSRSRS", max_innermost_factor=32),
        ],
        postprocs=[ms.postproc.RewriteParallelVectorizeUnroll()],
        mutator_probs={},
    )
    database, cost_model = tune(matmul_module(64), host, space=space)
    assert len(database) == learnt(cost_model) == 8


@tvm.ir.utils.derived_object
class _SplitOnce(ms.schedule_rule.PyScheduleRule):
    """A rule of one's own: splits the first loop of the matrix product."""

    def _initialize_with_tune_context(self, context) -> None:
        pass

    def apply(self, sch, block) -> list:
        if sch.get(block).name_hint != "C":
            return [sch]
        first = sch.get_loops(block)[0]
        sch.split(first, sch.sample_perfect_tile(first, 2))
        return [sch]

    def clone(self):
        return _SplitOnce()


def test_a_rule_of_ones_own(tune, host):
    space = ms.space_generator.PostOrderApply(sch_rules=[_SplitOnce()], postprocs=[], mutator_probs={})
    database, cost_model = tune(matmul_module(64), host, 6, space=space)
    assert len(database) == learnt(cost_model) == 6


# -- databases and callbacks -------------------------------------------------------------------------


def test_a_json_database_is_resumed(tune, host, tmp_path):
    paths = str(tmp_path / "w.json"), str(tmp_path / "r.json")
    tune(matmul_module(64), host, 6, database=ms.database.JSONDatabase(*paths))
    again = ms.database.JSONDatabase(*paths)
    known = {trace_of(r.trace).key for r in again.get_all_tuning_records()}
    assert len(known) == 6
    database, cost_model = tune(matmul_module(64), host, 6, database=again)
    found = [trace_of(r.trace).key for r in database.get_all_tuning_records()]
    assert len(found) == 12 and len({key for key in found if key}) >= 11  # the default schedule may come twice
    assert learnt(cost_model) >= 11  # what the database held was learnt, too


def test_a_memory_database_and_the_evolutionary_search(tune, host):
    strategy = ms.search_strategy.EvolutionarySearch(population_size=16, init_min_unmeasured=4, genetic_num_iters=1)
    database, cost_model = tune(matmul_module(64), host, 8, database="memory", strategy=strategy)
    assert len(database) == learnt(cost_model) == 8


@pytest.mark.parametrize("strategy", ["replay-trace", "replay-func"])
def test_replaying_strategies(tune, host, strategy):
    database, cost_model = tune(matmul_module(64), host, 4, strategy=ms.search_strategy.create(strategy))
    assert len(database) == learnt(cost_model) == 4


@tvm.ir.utils.derived_object
class _Counts(ms.measure_callback.PyMeasureCallback):
    """A callback of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.num_seen = 0

    def apply(self, task_scheduler, task_id, measure_candidates, builder_results, runner_results) -> None:
        self.num_seen += len(measure_candidates)


def test_a_callback_of_ones_own(tune, host):
    counts = _Counts()
    callbacks = [ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel(), counts]
    database, cost_model = tune(matmul_module(64), host, 8, measure_callbacks=callbacks)
    assert counts.num_seen == len(database) == learnt(cost_model) == 8


def test_without_updates_nothing_is_learnt_and_tuning_goes_on(tune, host):
    database, _ = tune(matmul_module(64), host, 8, measure_callbacks=[ms.measure_callback.AddToDatabase()])
    assert len(database) == 8


# -- types and targets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "accumulate"),
    [("int8", "int32"), ("uint8", "int32"), ("float16", "float16"), ("float16", "float32"), ("float64", "float64")],
)
def test_types(tune, host, dtype, accumulate):
    database, cost_model = tune(product(dtype, accumulate), host, 6)
    assert len(database) == learnt(cost_model) == 6


@pytest.mark.parametrize("target", [ARM, RISCV, CUDA], ids=["aarch64", "riscv64", "cuda"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_foreign_targets(tune, target, dtype):
    database, cost_model = tune(product(dtype, "int32" if dtype == "int8" else dtype), target, 6)
    assert len(database) == learnt(cost_model) == 6
    assert all(str(r.candidate.task.target.kind) == target["kind"] for r in cost_model.online.records)


@pytest.mark.parametrize("target", [ARM, RISCV], ids=["aarch64", "riscv64"])
def test_cross_compilation(tune, target):
    """The best schedule becomes an object file of the other architecture."""
    mod = product("float32", "float32")
    database, _ = tune(mod, target, 4)
    best = database.query(mod, tvm.target.Target(target))
    built = tvm.compile(best.mod, target=tvm.target.Target(target))
    text = built.mod.inspect_source("asm")
    assert "xmm" not in text and "ret" in text


def test_several_targets_in_one_database(tune, host, tmp_path):
    paths = str(tmp_path / "w.json"), str(tmp_path / "r.json")
    mod = product("float32", "float32")
    for target in (host, tvm.target.Target(ARM)):
        tune(mod, target, 4, database=ms.database.JSONDatabase(*paths))
    database = ms.database.JSONDatabase(*paths)
    assert len(database) == 8
    for target in (host, tvm.target.Target(ARM)):
        assert database.query(mod, target) is not None
    _, cost_model = tune(mod, host, 4, database=database)
    assert {r.candidate.task.target.kind for r in cost_model.online.records} == {"llvm"}
    assert not any(
        "aarch64" in str(r.candidate.task.target) for r in cost_model.online.records
    )  # times of another machine teach nothing


def test_a_reduction_across_threads_of_a_gpu(tune):
    from tvm import te

    a, k = te.placeholder((8, 4096), name="A"), te.reduce_axis((0, 4096))
    mod = tvm.IRModule({"main": te.create_prim_func([a, te.compute((8,), lambda i: te.sum(a[i, k], k), name="C")])})
    database, cost_model = tune(mod, CUDA, 6)
    assert len(database) == learnt(cost_model) > 0


# -- what cannot be read -----------------------------------------------------------------------------


def symbolic() -> tvm.IRModule:
    from tvm import te

    n = te.var("n")
    a = te.placeholder((n, 16), name="A")
    return tvm.IRModule({"main": te.create_prim_func([a, te.compute((n, 16), lambda i, j: a[i, j] * 2.0, name="C")])})


def test_dynamic_shapes_are_left_out_by_name(tune, host, caplog):
    with pytest.raises(UnsupportedError, match="symbolic extent"):
        task_from_module(symbolic(), Target("llvm"), "dynamic")

    def schedule(sch: tvm.s_tir.Schedule) -> None:
        sch.parallel(sch.get_loops(sch.get_sblock("C"))[0])

    with caplog.at_level(logging.WARNING):
        both = tvm.IRModule(
            {
                "dynamic": symbolic()["main"].with_attr("global_symbol", "dynamic"),
                "fixed": matmul_module(64)["main"].with_attr("global_symbol", "fixed"),
            }
        )
        database, cost_model = tune(both, host, 4, space=ms.space_generator.ScheduleFn(schedule))
    assert any(
        r.getMessage().startswith("dynamic is left out of the tuning, because its arguments have no fixed shapes")
        for r in caplog.records
    )
    assert (
        len(database) == learnt(cost_model) == 2
    )  # of the other: the default schedule, and the one there is beside it


def test_programs_keep_their_meaning(tune, host):
    """Whatever was found computes what the program computes."""
    mod = matmul_module(64)
    database, _ = tune(mod, host, 8)
    inputs = [np.random.default_rng(i).normal(size=(64, 64)).astype("float32") for i in range(2)]
    for record in database.get_all_tuning_records():
        schedule = tvm.s_tir.Schedule(record.workload.mod)
        record.trace.apply_to_schedule(schedule, False)
        out = tvm.runtime.tensor(np.zeros((64, 64), "float32"))
        tvm.compile(schedule.mod, target=host)["main"](*map(tvm.runtime.tensor, inputs), out)
        np.testing.assert_allclose(out.numpy(), np.maximum(inputs[0] @ inputs[1], 0.0), rtol=1e-4, atol=1e-4)
    assert module_hash(mod)
