"""Foretune's task scheduler in MetaSchedule: real tuning runs on small programs."""

from __future__ import annotations

from collections import Counter

import pytest

from foretune import Status
from foretune.compiler import (
    ForetuneCostModel,
    LatentSearchStrategy,
    LatentTaskScheduler,
    SchedulerConfig,
    SearchConfig,
    builder_and_runner,
)
from foretune.compiler.metaschedule.search_strategy import find_search_strategy
from foretune.compiler.tir._tvm import meta_schedule as ms
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.target import tvm_target
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.planning.planner import PlannerConfig
from tests.programs import clear_tvm_log_handlers, matmul_module

CONFIG = SearchConfig(PlannerConfig(population=96, generations=1), batch_size=4)


@pytest.fixture
def cost_model(trajectories):
    network = train(
        trajectories,
        TrainConfig(epochs=4, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2)),
    ).network
    return ForetuneCostModel(LatentCostModel(network))


@pytest.fixture
def options(cost_model, measurer, tmp_path):
    return {
        "work_dir": str(tmp_path),
        "num_trials_per_iter": 4,
        "cost_model": cost_model,
        "task_scheduler": LatentTaskScheduler(),
        **builder_and_runner(measurer),
    }


def contexts(sizes, target, strategy):
    settings = {"target": target, "space_generator": "post-order-apply", "search_strategy": strategy, "num_threads": 1}
    return [
        ms.TuneContext(matmul_module(n), task_name=f"matmul{n}", rand_state=i + 1, **settings).clone()
        for i, n in enumerate(sizes)
    ]


def trials(cost_model) -> Counter:
    """Measured candidates of each task, by its name."""
    return Counter(r.candidate.task.workload.name for r in cost_model.online.records if r.status is not Status.ILLEGAL)


def test_the_budget_is_spent_and_no_task_starves(options, cost_model, target):
    tasks = contexts([32, 64], tvm_target(target), LatentSearchStrategy(CONFIG))
    database = ms.tune_tasks(tasks=tasks, task_weights=[1.0, 50.0], max_trials_global=24, **options)
    found = trials(cost_model)
    assert sum(found.values()) == 24 == len(database.get_all_tuning_records())
    assert found["matmul32"] >= 4 and found["matmul64"] >= 4  # who gets the rest is a matter of measured times
    assert find_search_strategy(tasks[1].search_strategy).expected_improvement() >= 0.0


def test_identical_tasks_are_tuned_once(options, cost_model, target):
    tasks = contexts([64, 32, 64], tvm_target(target), LatentSearchStrategy(CONFIG))
    database = ms.tune_tasks(tasks=tasks, task_weights=[1.0, 1.0, 50.0], max_trials_global=16, **options)
    found = trials(cost_model)
    assert sum(found.values()) == 16 and set(found) == {"matmul64", "matmul32"} and min(found.values()) >= 4
    assert database.query(tasks[2].mod, tvm_target(target)) is not None


def test_the_limit_of_a_task_holds(options, cost_model, target):
    tasks = contexts([32, 64], tvm_target(target), LatentSearchStrategy(CONFIG))
    ms.tune_tasks(tasks=tasks, task_weights=[1.0, 50.0], max_trials_global=24, max_trials_per_task=8, **options)
    assert trials(cost_model) == {"matmul32": 8, "matmul64": 8}


def test_a_sure_model_ends_the_tuning(options, cost_model, target):
    options["task_scheduler"] = LatentTaskScheduler(
        SchedulerConfig(min_trials=8, min_gain=1.0, patience=2, sure_after=8)
    )
    ms.tune_tasks(
        tasks=contexts([64], tvm_target(target), LatentSearchStrategy(CONFIG)),
        task_weights=[1.0],
        max_trials_global=64,
        **options,
    )
    assert trials(cost_model) == {
        "matmul64": 12
    }  # two batches that every task gets, then one more that changes nothing


def test_one_scheduler_for_two_runs_and_another_strategy(options, cost_model, target):
    search = ms.search_strategy.EvolutionarySearch(population_size=16, init_min_unmeasured=4, genetic_num_iters=1)
    for sizes in ([32], [64]):
        ms.tune_tasks(
            tasks=contexts(sizes, tvm_target(target), search), task_weights=[1.0], max_trials_global=8, **options
        )
    assert trials(cost_model) == {"matmul32": 8, "matmul64": 8}


def test_relax_program(options, cost_model, target):
    from tvm import relax

    builder = relax.BlockBuilder()
    x, w, v = (
        relax.Var(name, relax.TensorType(shape, "float32"))
        for name, shape in (("x", (32, 32)), ("w", (32, 32)), ("v", (32, 64)))
    )
    with builder.function("main", [x, w, v]):
        once = builder.emit(relax.op.matmul(x, w))
        builder.emit_func_output(builder.emit(relax.op.matmul(builder.emit(relax.op.matmul(once, w)), v)))
    mod = relax.transform.LegalizeOps()(builder.get())
    scheduler = options.pop("task_scheduler")
    clear_tvm_log_handlers()
    database = ms.relax_integration.tune_relax(
        mod,
        {},
        tvm_target(target),
        options.pop("work_dir"),
        16,
        strategy=LatentSearchStrategy(CONFIG),
        task_scheduler=scheduler,
        seed=1,
        **options,
    )
    assert len(database.get_all_tuning_records()) == 16 and len(trials(cost_model)) == 2


def test_strategies_are_found_behind_their_handles(target):
    strategy = LatentSearchStrategy(CONFIG)
    context = contexts([32], tvm_target(target), strategy)[0]
    assert find_search_strategy(context.search_strategy) is not None
    assert find_search_strategy(ms.search_strategy.ReplayTrace()) is None is find_search_strategy(None)
    assert isinstance(context.mod, tvm.IRModule)
