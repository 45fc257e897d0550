"""MetaSchedule with Foretune's cost model, search strategy, builder and runner: real tuning runs on small programs."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from foretune import Candidate, MeasureSettings, ModelError, OptionError, Status, Trace
from foretune.compiler import ForetuneCostModel, LatentSearchStrategy, SearchConfig, builder_and_runner
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.metaschedule.cost_model import find_cost_model
from foretune.compiler.metaschedule.records import default_schedule, status_of, trace_of
from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import meta_schedule as ms
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.space import design_spaces
from foretune.compiler.tir.target import target_from_tvm, tvm_target
from foretune.compiler.tir.workload import module_from_program, module_hash
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.planning.planner import PlannerConfig
from tests.programs import clear_tvm_log_handlers, matmul_module

CONFIG = SearchConfig(PlannerConfig(population=128, generations=1), first_batch=6, batch_size=6)


@pytest.fixture(scope="module")
def network(trajectories):
    return train(
        trajectories,
        TrainConfig(epochs=4, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2)),
    ).network


@pytest.fixture
def model(network):
    return LatentCostModel(network)


@pytest.fixture(scope="module")
def tvm_cpu(target):
    return tvm_target(target)


@pytest.fixture
def tune(tvm_cpu, measurer, tmp_path):
    """Tunes a module with few trials; gives the database."""

    def run(mod, num_trials: int, **options):
        clear_tvm_log_handlers()
        settings = {
            "num_trials_per_iter": 6,
            "num_tuning_cores": 1,
            "seed": 3,
            **builder_and_runner(measurer),
            **options,
        }
        return ms.tune_tir(mod, tvm_cpu, str(tmp_path / "work"), num_trials, **settings)

    return run


@pytest.fixture
def context(tvm_cpu):
    return context_of(matmul_module(64), tvm_cpu)


def context_of(mod, target, **options):
    return ms.TuneContext(
        mod,
        **{
            "target": target,
            "space_generator": "post-order-apply",
            "task_name": "matmul64",
            "num_threads": 1,
            "rand_state": 5,
            **options,
        },
    )


def sampled(task, num: int, seed: int = 0):
    """Replayed candidates of all design spaces."""
    rng = np.random.default_rng(seed)
    mod, spaces = module_from_program(task.workload.program), design_spaces(task)
    schedules = [
        traces.replay(mod, spaces[i % len(spaces)].decode(spaces[i % len(spaces)].sample(rng, 1)[0]))
        for i in range(num)
    ]
    return [ms.MeasureCandidate(s, []) for s in schedules]


def timed(secs: float):
    return ms.runner.RunnerResult([secs, 1.1 * secs], None)


def failed(error: str):
    return ms.runner.RunnerResult(None, error)


def programs_of(database) -> list[str]:
    """Hashes of the programs that a database's records replay to."""
    hashes = []
    for record in database.get_all_tuning_records():
        schedule = tvm.s_tir.Schedule(record.workload.mod)
        record.trace.apply_to_schedule(schedule, False)
        hashes.append(module_hash(schedule.mod))
    return hashes


def mean_secs(record) -> float:
    return float(np.mean([float(s) for s in record.run_secs]))


def batches(
    strategy, tvm_cpu, max_trials: int, secs=lambda i: 1e-4, space="post-order-apply", mod=None, cost_model=None
) -> list[list]:
    """All batches that a strategy hands out, with made-up times."""
    context = context_of(mod or matmul_module(64), tvm_cpu, space_generator=space, search_strategy=strategy)
    context.pre_tuning(max_trials, num_trials_per_iter=64, cost_model=cost_model)
    found, count = [], 0
    while (batch := context.generate_measure_candidates()) is not None:
        found.append(list(batch))
        context.notify_runner_results(batch, [timed(secs(count + i)) for i in range(len(batch))])
        count += len(batch)
    context.post_tuning()
    return found


def keys(found: list[list]) -> list[str]:
    return [trace_of(candidate.sch.trace).key for batch in found for candidate in batch]


# -- tuning ------------------------------------------------------------------------------------------


def test_cost_model_in_tvms_evolutionary_search(tune, model):
    cost_model = ForetuneCostModel(model)
    search = ms.search_strategy.EvolutionarySearch(population_size=32, init_min_unmeasured=8, genetic_num_iters=1)
    database = tune(matmul_module(64), 12, database="memory", cost_model=cost_model, strategy=search)
    assert len(database.get_all_tuning_records()) == 12
    assert len(cost_model.online.records) == 12
    assert {r.status for r in cost_model.online.records} == {Status.OK}
    assert model._adaptations[cost_model.online.records[0].candidate.task.key].num_points == 12


def test_search_strategy_and_cost_model(tune, model, tvm_cpu):
    cost_model = ForetuneCostModel(model)
    mod = matmul_module(64)
    database = tune(mod, 16, cost_model=cost_model, strategy=LatentSearchStrategy(CONFIG))
    records = list(database.get_all_tuning_records())
    assert len(records) == 16
    hashes = programs_of(database)
    assert len(set(hashes)) == 16
    learnt = [r for r in cost_model.online.records if r.status is Status.OK]
    assert len(learnt) == 16 and {r.program_hash for r in learnt} == set(hashes)
    assert [i for i, r in enumerate(learnt) if not len(r.trace)] == [0]
    default = next(r for r in records if not len(trace_of(r.trace)))
    best = database.query(mod, tvm_cpu, kind="record")
    assert mean_secs(best) <= mean_secs(default)
    assert len(trace_of(best.trace)) and ms.tir_integration.compile_tir(database, mod, tvm_cpu) is not None


def test_the_default_schedule_wins_where_nothing_is_faster(tune, model, tvm_cpu):
    mod = matmul_module(64)
    database = ms.database.MemoryDatabase()
    workload = database.commit_workload(mod)
    schedule = design_schedule(mod, tvm_cpu)
    for trace, secs in ((schedule.trace, 2e-3), (default_schedule(mod).trace, 1e-3)):
        database.commit_tuning_record(ms.database.TuningRecord(trace, workload, [secs], tvm_cpu, []))
    found = database.query(mod, tvm_cpu)
    assert module_hash(found.mod) == module_hash(mod)


def design_schedule(mod, tvm_cpu):
    return context_of(mod, tvm_cpu).generate_design_space()[0]


def test_several_tasks(tune, model):
    mod = tvm.IRModule(
        {
            "small": matmul_module(32)["main"].with_attr("global_symbol", "small"),
            "large": matmul_module(64)["main"].with_attr("global_symbol", "large"),
        }
    )
    cost_model = ForetuneCostModel(model)
    database = tune(mod, 12, max_trials_per_task=6, cost_model=cost_model, strategy=LatentSearchStrategy(CONFIG))
    per_task = [
        sum(r.candidate.task.key == key for r in cost_model.online.records if r.status is Status.OK)
        for key in {r.candidate.task.key for r in cost_model.online.records}
    ]
    assert per_task == [6, 6] and len(database.get_all_tuning_records()) == 12
    assert sum(not len(r.trace) for r in cost_model.online.records) == 2


def test_relax_program(model, tvm_cpu, measurer, tmp_path):
    from tvm import relax

    builder = relax.BlockBuilder()
    x, w = (relax.Var(name, relax.TensorType((32, 32), "float32")) for name in "xw")
    with builder.function("main", [x, w]):
        builder.emit_func_output(builder.emit(relax.op.matmul(x, w)))
    mod = relax.transform.LegalizeOps()(builder.get())
    cost_model = ForetuneCostModel(model)
    options = {
        "num_trials_per_iter": 4,
        "cost_model": cost_model,
        "strategy": LatentSearchStrategy(CONFIG),
        **builder_and_runner(measurer),
    }
    clear_tvm_log_handlers()
    database = ms.relax_integration.tune_relax(mod, {}, tvm_cpu, str(tmp_path / "work"), 5, seed=1, **options)
    assert len(database.get_all_tuning_records()) == 5 and len(cost_model.online.records) >= 5


# -- the search strategy -----------------------------------------------------------------------------


def test_trials_batches_and_the_default_schedule(model, tvm_cpu):
    strategy = LatentSearchStrategy(CONFIG, model)
    found = batches(strategy, tvm_cpu, 15)
    assert [len(batch) for batch in found] == [6, 6, 3]
    assert [len(trace_of(c.sch.trace)) for c in found[0]].count(0) == 1
    assert len({module_hash(c.sch.mod) for batch in found for c in batch}) == 15
    assert strategy.report.num_trials == 15 and strategy.report.own_secs > 0
    assert len(set(keys(found))) == 15


def test_same_seed_same_search_and_clones_are_apart(network, tvm_cpu):
    strategy = LatentSearchStrategy(CONFIG, LatentCostModel(network))
    first, again = (
        keys(batches(s, tvm_cpu, 12, lambda i: 1e-4 / (1 + i)))
        for s in (strategy, LatentSearchStrategy(CONFIG, LatentCostModel(network)))
    )
    assert first == again
    clone = batches(strategy.clone(), tvm_cpu, 6)
    assert len(clone[0]) == 6 and strategy.report.num_trials == 12


def test_measurements_steer_the_search(model, tvm_cpu):
    """Times are made up: the narrower the innermost tiles, the faster."""

    def secs(candidate) -> float:
        widths = [a.decision[-1] for a in trace_of(candidate.sch.trace).actions if a.op == "SamplePerfectTile"]
        return 1e-6 * math.prod(widths)

    context = context_of(
        matmul_module(64),
        tvm_cpu,
        search_strategy=LatentSearchStrategy(SearchConfig(CONFIG.planner, first_batch=12, batch_size=12), model),
    )
    context.pre_tuning(48, num_trials_per_iter=64)
    medians = []
    while (batch := context.generate_measure_candidates()) is not None:
        found = [secs(c) for c in batch]
        medians.append(np.median(found))
        context.notify_runner_results(batch, [timed(s) for s in found])
    assert len(medians) == 4 and medians[-1] < 0.3 * medians[0]


@tvm.ir.utils.derived_object
class _RejectsHalf(ms.postproc.PyPostproc):
    """Rejects schedules whose program has an odd hash."""

    def _initialize_with_tune_context(self, context) -> None:
        pass

    def apply(self, sch) -> bool:
        return int(module_hash(sch.mod), 16) % 2 == 0

    def clone(self):
        return _RejectsHalf()


def test_rejected_candidates_are_replaced_and_learnt_as_illegal(model, tvm_cpu):
    cost_model = ForetuneCostModel(model)
    space = ms.space_generator.PostOrderApply(postprocs=[ms.postproc.RewriteParallelVectorizeUnroll(), _RejectsHalf()])
    strategy = LatentSearchStrategy(CONFIG)
    found = batches(strategy, tvm_cpu, 12, space=space, cost_model=cost_model)
    assert sum(map(len, found)) == 12 and strategy.report.num_illegal > 0
    illegal = [r for r in cost_model.online.records if r.status is Status.ILLEGAL]
    assert len(illegal) == strategy.report.num_illegal and "post-processor" in illegal[0].error
    assert not {r.trace.key for r in illegal} & set(keys(found))


def test_an_exhausted_space_ends_the_search(model, tvm_cpu):
    def schedule(sch) -> None:
        sch.unroll(sch.get_loops(sch.get_sblock("D"))[-1])

    strategy = LatentSearchStrategy(CONFIG, model)
    found = batches(strategy, tvm_cpu, 16, space=ms.space_generator.ScheduleFn(schedule))
    assert [len(batch) for batch in found] == [2]


def test_a_program_that_the_model_cannot_read_is_searched_at_random(model, tvm_cpu, monkeypatch, caplog):
    monkeypatch.setattr(LatentCostModel, "score", lambda *_: 1 / 0)
    found = batches(LatentSearchStrategy(CONFIG, model), tvm_cpu, 12)
    assert len(set(keys(found))) == 12
    assert sum("searched at random" in r.getMessage() for r in caplog.records) == 1


def test_what_a_database_holds_is_learnt_and_not_measured_again(tune, network):
    first, second = ForetuneCostModel(LatentCostModel(network)), ForetuneCostModel(LatentCostModel(network))
    database = tune(matmul_module(64), 6, cost_model=first, strategy=LatentSearchStrategy(CONFIG))
    tune(matmul_module(64), 6, cost_model=second, strategy=LatentSearchStrategy(CONFIG), database=database)
    before, after = ({r.trace.key for r in m.online.records} for m in (first, second))
    assert before <= after and len(after) == 11  # the default schedule is measured in both runs
    assert len(database.get_all_tuning_records()) == 12


def test_a_context_without_a_program(model):
    with pytest.raises(OptionError, match="`mod`, `target` and `space_generator` must be given"):
        ms.TuneContext(search_strategy=LatentSearchStrategy(CONFIG, model)).pre_tuning(4, 4, design_spaces=[])
    with pytest.raises(OptionError, match="`batch_size >= 1`"):
        SearchConfig(batch_size=0)


# -- the cost model ----------------------------------------------------------------------------------


def test_predictions_are_positive_speeds_that_follow_measurements(model, context, matmul_task):
    cost_model = ForetuneCostModel(model)
    candidates = sampled(matmul_task, 24)
    before = cost_model.predict(context, candidates)
    assert before.shape == (24,) and (before > 0).all() and len(set(before)) > 12
    secs = [1e-4 * (1 + i % 7) for i in range(24)]
    cost_model.update(context, candidates, [timed(s) for s in secs])
    after = cost_model.predict(context, candidates)
    assert np.corrcoef(np.log(after), -np.log(secs))[0, 1] > 0.9
    assert abs(math.log(after.max())) < 1e-9


def test_scores_agree_with_the_latent_model(model, context, matmul_task):
    cost_model = ForetuneCostModel(model)
    candidates = sampled(matmul_task, 12)
    task = cost_model.online.task(context.mod, context.target, "matmul64")
    scores = model.predict(task, [Candidate(task, trace_of(c.sch.trace)) for c in candidates])
    assert np.allclose(np.log(cost_model.predict(context, candidates)), scores - scores.max(), atol=1e-4)


def test_each_measurement_is_learnt_once(model, context, matmul_task):
    cost_model = ForetuneCostModel(model)
    candidates = sampled(matmul_task, 6)
    for _ in range(2):
        cost_model.update(context, candidates, [timed(1e-4)] * 6)
    records = cost_model.online.records
    assert len(records) == 6 and model._adaptations[records[0].candidate.task.key].num_points == 6


def test_failures_become_records_without_a_time(model, context, matmul_task):
    cost_model = ForetuneCostModel(model)
    candidates = sampled(matmul_task, 5)
    results = [
        failed("LocalRunner: An exception occurred\nboom"),
        timed(1e-4),
        failed("RPCRunner: Timeout, killed after 30 seconds"),
        timed(0.0),
        timed(2e-4),
    ]
    cost_model.update(context, candidates, results)
    records = cost_model.online.records
    assert [r.status for r in records] == [Status.RUN_ERROR, Status.OK, Status.RUN_TIMEOUT, Status.RUN_ERROR, Status.OK]
    assert "boom" in records[0].error and not records[0].run_secs and "no usable run times" in records[3].error
    assert np.isfinite(cost_model.predict(context, candidates)).all()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("LocalBuilder: Timeout, killed after 30 seconds", Status.BUILD_TIMEOUT),
        ("LocalBuilder: An exception occurred\nTimeout of something else", Status.BUILD_ERROR),
        ("LocalRunner: Timeout, killed after 30 seconds", Status.RUN_TIMEOUT),
        ("build_timeout: no answer within 6 s", Status.BUILD_TIMEOUT),
        ("illegal: a post-processor rejects the schedule", Status.ILLEGAL),
        ("anything else", Status.RUN_ERROR),
    ],
)
def test_statuses(error, status):
    assert status_of(error) is status


def test_what_is_not_understood_is_neutral(model, tvm_cpu, context, matmul_task, caplog):
    from tvm import te

    cost_model = ForetuneCostModel(model)
    n = te.var("n")
    a = te.placeholder((n,), name="A")
    symbolic = tvm.IRModule({"main": te.create_prim_func([a, te.compute((n,), lambda i: a[i] + 1.0, name="B")])})
    strange = context_of(symbolic, tvm_cpu, space_generator=None, task_name="symbolic")
    schedules = [tvm.s_tir.Schedule(symbolic) for _ in range(3)]
    assert cost_model.predict(strange, [ms.MeasureCandidate(s, []) for s in schedules]).tolist() == [1.0, 1.0, 1.0]
    cost_model.update(strange, [ms.MeasureCandidate(schedules[0], [])], [timed(1e-4)])
    assert sum("symbolic" in r.getMessage() for r in caplog.records) == 1 and not cost_model.online.records
    by_hand = tvm.s_tir.Schedule(context.mod)
    by_hand.parallel(by_hand.get_loops(by_hand.get_sblock("D"))[0])
    unscheduled = default_schedule(context.mod)
    scores = cost_model.predict(
        context, [*sampled(matmul_task, 5), ms.MeasureCandidate(by_hand, []), ms.MeasureCandidate(unscheduled, [])]
    )
    assert np.isfinite(scores).all() and (scores > 0).all()
    assert scores[:5].min() <= scores[6] <= scores[:5].max()


def test_a_space_that_the_model_cannot_read_costs_the_others_nothing(model, context, matmul_task, monkeypatch, caplog):
    cost_model = ForetuneCostModel(model)
    candidates = sampled(matmul_task, 8)
    expected = cost_model.predict(context, candidates)
    space_ids = [trace_of(c.sch.trace).space_id for c in candidates]
    predict = LatentCostModel.predict
    monkeypatch.setattr(
        LatentCostModel,
        "predict",
        lambda self, task, group: 1 / 0 if group[0].trace.space_id == space_ids[0] else predict(self, task, group),
    )
    found = cost_model.predict(context, candidates)
    others = [i for i, space_id in enumerate(space_ids) if space_id != space_ids[0]]
    assert np.allclose(found[others], expected[others]) and math.isclose(found[0], np.median(found[others]))
    assert sum("does not understand all of" in r.getMessage() for r in caplog.records) == 1


def test_callbacks_find_the_model_behind_tvms_handle(model):
    cost_model = ForetuneCostModel(model)
    assert find_cost_model(cost_model) is cost_model._inst
    assert find_cost_model(ms.cost_model.RandomModel()) is None and find_cost_model(None) is None


# -- what was learnt, in a file ------------------------------------------------------------------------


@pytest.fixture
def learnt(network, context, matmul_task, tmp_path):
    """A cost model that has learnt something, and its file."""
    cost_model = ForetuneCostModel(LatentCostModel(network))
    candidates = sampled(matmul_task, 8)
    cost_model.update(
        context, candidates, [*(timed(1e-4 * (i + 1)) for i in range(7)), failed("LocalRunner: An exception occurred")]
    )
    path = tmp_path / "folder" / "some-learnt-file"
    cost_model.save(str(path))
    return cost_model, candidates, path


def test_save_and_load(network, context, learnt):
    cost_model, candidates, path = learnt
    again = ForetuneCostModel(LatentCostModel(network))
    assert not np.allclose(again.predict(context, candidates), cost_model.predict(context, candidates))
    again.update(context, candidates[:1], [timed(9.0)])
    again.load(str(path))
    assert again.online.records == cost_model.online.records
    assert np.allclose(
        again.predict(context, candidates), cost_model.predict(context, candidates), rtol=0.01
    )  # rounding differs between processors
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_damaged_files_are_refused_and_nothing_is_forgotten(learnt, context):
    cost_model, candidates, path = learnt
    before = cost_model.predict(context, candidates)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (
        b"",
        whole[:10],
        whole[:-1],
        b"".join(lines[:-1]),
        bytes(flipped),
        b"\x80\x04\x95 a pickle?",
        b"[1, 2]\n",
        b"{}\n",
        b"\xff" * 64,
    ):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=path.name):
            cost_model.load(str(path))
    path.write_bytes(whole.replace(b"foretune-online-1", b"foretune-online-9"))
    with pytest.raises(ModelError, match="schema 'foretune-online-9'"):
        cost_model.load(str(path))
    path.unlink()
    with pytest.raises(ModelError, match=re.escape(f"{path} cannot be read: No such file")):
        cost_model.load(str(path))
    assert np.allclose(cost_model.predict(context, candidates), before, rtol=1e-5)


# -- builder, runner, targets --------------------------------------------------------------------------


def test_builder_and_runner_report_failures(tvm_cpu, measurer):
    mod = matmul_module(64)
    with Measurer(MeasureSettings(build_timeout_sec=0.001), num_workers=1) as impatient:
        for used, expected in ((measurer, None), (impatient, "build_timeout: no answer within")):
            pair = builder_and_runner(used)
            built = pair["builder"].build([ms.builder.BuilderInput(mod, tvm_cpu)])[0]
            assert built.error_msg is None
            future = pair["runner"].run(
                [ms.runner.RunnerInput(built.artifact_path, "llvm", ms.arg_info.ArgInfo.from_entry_func(mod))]
            )[0]
            assert future.done()
            result = future.result()
            if expected is None:
                assert result.error_msg is None and 0 < min(map(float, result.run_secs)) < 1
            else:
                assert result.run_secs is None and str(result.error_msg).startswith(expected)


def test_targets_of_tvm(target, tvm_cpu):
    found = target_from_tvm(tvm_cpu)
    assert found.key == target.key and found.hardware.cores == target.hardware.cores and found.hardware.peak_gflops > 0
    elsewhere = target_from_tvm(tvm.target.Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 4}))
    assert dict(elsewhere.attrs)["num-cores"] == 4 and elsewhere.hardware.peak_gflops == 0


def test_the_default_schedule_is_the_empty_trace(context):
    schedule = default_schedule(context.mod)
    assert trace_of(schedule.trace) == Trace(()) and len(schedule.trace.insts) == 1
    assert module_hash(schedule.mod) == module_hash(context.mod)


def test_batches_grow_up_to_a_limit(model, tvm_cpu):
    context = context_of(
        matmul_module(64),
        tvm_cpu,
        search_strategy=LatentSearchStrategy(SearchConfig(CONFIG.planner, first_batch=2, batch_size=7), model),
    )
    context.pre_tuning(20, num_trials_per_iter=64)
    sizes = []
    while (batch := context.generate_measure_candidates()) is not None:
        sizes.append(len(batch))
        context.notify_runner_results(batch, [timed(1e-5) for _ in batch])
    assert sizes == [2, 4, 7, 7]
