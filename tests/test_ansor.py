"""Ansor: its states as points of MetaSchedule's design spaces (anywhere), and the model inside its search (`make
ansor`).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from foretune.compiler.ansor.states import MAX_VECTOR, Structure, TemplateLookup, read_state, read_template
from foretune.errors import IllegalActionError, ModelError, OptionError
from foretune.record import Status
from foretune.trace import Trace

ROOT = Path(__file__).parent.parent
DENSE = ("A", "B", "T_matmul_NT", "bias", "T_add", "compute")
FUSED = [  # of a dense layer with bias and ReLU, sampled by TVM 0.19
    ["CI", 4],
    ["SP", 2, 0, 64, [2, 2, 8], 1],
    ["SP", 2, 4, 64, [1, 2, 4], 1],
    ["SP", 2, 8, 64, [1], 1],
    ["RE", 2, [0, 4, 1, 5, 8, 2, 6, 9, 3, 7]],
    ["FSP", 5, 0, 1, 1],
    ["FSP", 5, 2, 2, 1],
    ["RE", 5, [0, 2, 1, 3]],
    ["CA", 2, 5, 1],
    ["FU", 5, [0, 1]],
    ["AN", 5, 0, 3],
    ["PR", 2, 0, "auto_unroll_max_step$64"],
    ["AN", 2, 9, 2],
    ["AN", 5, 2, 2],
]
TEMPLATE = Trace.from_json([
    ["GetBlock", [], ["C", "main"], ["b0"], None], ["GetBlock", [], ["root", "main"], ["b1"], None],
    ["GetLoops", ["b0"], [], ["l2", "l3"], None],
    ["SamplePerfectTile", ["l2"], [4, 64], ["v4", "v5", "v6", "v7"], [1, 1, 64, 1]],
    ["Split", ["l2", "v4", "v5", "v6", "v7"], [True, False], ["l8", "l9", "l10", "l11"], None],
    ["SamplePerfectTile", ["l3"], [2, 64], ["v12", "v13"], [16, 4]],
    ["Split", ["l3", "v12", "v13"], [True, False], ["l14", "l15"], None],
    ["GetConsumers", ["b0"], [], ["b16"], None], ["ReverseComputeAt", ["b16", "l9", True], [-1], [], None],
    ["Annotate", ["b1", 64], ["meta_schedule.vectorize"], [], None],
    ["SampleCategorical", [], [[0, 16, 64, 512], [0.25, 0.25, 0.25, 0.25]], ["v17"], 0],
    ["Annotate", ["b1", "v17"], ["meta_schedule.unroll_explicit"], [], None],
])  # fmt: skip


# -- anywhere: states and traces -------------------------------------------------------------------


def test_a_fused_state():
    choices = read_state(DENSE, FUSED)
    assert choices.structure == Structure((("T_matmul_NT", 1),), ())
    assert choices.tiles == {"T_matmul_NT": [(2, 2, 2, 8), (8, 1, 2, 4), (64, 1)]}
    assert choices.locations["T_add"] == -2 and choices.locations["compute"] == -1
    assert choices.unroll == 64


def test_a_cached_write_and_a_factored_reduction():
    cached = read_state(
        ("A", "C"), [["CHW", 1, "local"], ["SP", 1, 0, 64, [4, 2, 2], 1], ["FSP", 2, 0, 1, 2], ["CA", 1, 2, 1]]
    )
    assert cached.structure == Structure((("C", 2),), ())
    factored = read_state(("A", "S"), [["SP", 1, 1, 128, [16], 1], ["RF", 1, 2, 1], ["CR", 2]])
    assert factored.structure == Structure((), (("S", 1),))
    assert factored.tiles == {"S": [(8, 16)]} and factored.locations == {"A": -1, "S.rf": -1, "S": -1}


def test_a_location_inside_the_loops_of_a_fused_stage():
    steps = [["SP", 2, 0, 64, [4, 2, 2], 1], ["FSP", 3, 0, 0, 2], ["CA", 2, 3, 1]]
    assert read_state(("A", "pad", "C", "D"), [*steps, ["CA", 1, 3, 0]]).locations["pad"] == 0
    assert (
        read_state(("A", "pad", "C", "D"), [*steps, ["CA", 1, 2, 0]]).locations["pad"] == 1
    )  # C's outer loops are D's
    assert read_state(("A", "pad", "C", "D"), [*steps, ["CA", 1, 2, 5]]).locations["pad"] == 5


@pytest.mark.parametrize("step", [["SP", 9, 0, 64, [4], 1], ["SP", 1, 0, 64, [0], 1], ["SP", 1], ["CA", 1, 7, 0]])
def test_steps_that_do_not_fit(step: list):
    with pytest.raises(IllegalActionError, match="does not fit the program"):
        read_state(("A", "C"), [step])


def test_a_template_takes_a_states_choices():
    template = read_template(TEMPLATE)
    assert template.structure == Structure((("C", 2),), ())
    assert {a.op for a in template.trace.actions} >= {"GetSBlock"} and template.trace.actions[9].inputs[1] == MAX_VECTOR
    steps = [
        ["SP", 1, 0, 64, [4, 2, 2], 1],
        ["SP", 1, 4, 64, [8], 1],
        ["FSP", 2, 0, 0, 2],
        ["CA", 1, 2, 1],
        ["PR", 1, 0, "auto_unroll_max_step$512"],
    ]
    assert template.decide(read_state(("A", "C", "D"), steps)) == ((4, 4, 2, 2), (8, 8), 3)


def test_the_most_alike_template_is_found():
    other = read_template(Trace(tuple(a for a in TEMPLATE.actions if a.op != "ReverseComputeAt")))
    lookup = TemplateLookup([read_template(TEMPLATE), other])
    assert lookup.find(Structure((("C", 2),), ())) == 0
    assert lookup.find(Structure((("C", 0),), ())) == 1
    assert lookup.find(Structure((("C", 0),), (("S", 1),))) == 1


def test_only_the_ansor_modules_use_the_old_tvm():
    old = {ROOT / "compiler" / "ansor" / name for name in ("_ansor_tvm.py", "cost_model.py", "tasks.py")}
    for path in (ROOT / "compiler").rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        names = {f"{node.module}.{a.name}" for node in tree if isinstance(node, ast.ImportFrom) for a in node.names}
        uses = any(
            "auto_scheduler" in name
            or "_ansor_tvm" in name
            or name.startswith(("foretune.compiler.ansor.cost_model", "foretune.compiler.ansor.tasks"))
            for name in names
        )
        assert not uses or path in old or path == ROOT / "compiler" / "__init__.py", path
        assert not (path in old and any(name.startswith("foretune.compiler.tir._tvm.") for name in names)), path


# -- in the environment of `make ansor` ------------------------------------------------------------


def matmul_relu(size: int):
    from foretune.compiler.ansor._ansor_tvm import te, tvm

    a, b = te.placeholder((size, size), name="A"), te.placeholder((size, size), name="B")
    k = te.reduce_axis((0, size), name="k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    return [a, b, tvm.topi.nn.relu(c)]


@pytest.fixture(scope="session")
def auto_scheduler():
    from foretune.compiler.ansor._ansor_tvm import auto_scheduler

    auto_scheduler.register_workload(matmul_relu, override=True)
    return auto_scheduler


@pytest.fixture(scope="session")
def search_task(auto_scheduler):
    from foretune.compiler.ansor._ansor_tvm import tvm

    target = tvm.target.Target(f"llvm -mcpu={tvm.target.codegen.llvm_get_system_cpu()}")
    return auto_scheduler.SearchTask(func=matmul_relu, args=(64,), target=target)


@pytest.fixture
def model():
    from foretune.compiler.ansor.cost_model import ForetuneAnsorModel

    return ForetuneAnsorModel()


@pytest.fixture(scope="session")
def states(auto_scheduler, search_task):
    policy = auto_scheduler.SketchPolicy(search_task, auto_scheduler.RandomModel(), seed=1, verbose=0)
    return list(policy.sample_initial_population())[:64]


def measured(auto_scheduler, search_task, states, secs: list[float]):
    inputs = [auto_scheduler.MeasureInput(search_task, state) for state in states]
    return inputs, [
        auto_scheduler.MeasureResult([s], 0, "", s, 1) if s else auto_scheduler.MeasureResult([1e10], 4, "died", 1.0, 1)
        for s in secs
    ]


@pytest.mark.ansor
@pytest.mark.parametrize(
    "module",
    [
        "foretune",
        "foretune.costmodel.latent.model",
        "foretune.datasets.records.store",
        "foretune.datasets.importers.run",
        "foretune.compiler",
    ],
)
def test_the_core_needs_no_tvm(module: str):
    code = f"import sys, {module}; assert not [m for m in sys.modules if m.split('.')[0] in ('tvm', 'tvm_ffi')]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.ansor
def test_the_other_door_stays_shut():
    code = "import sys, foretune.compiler.ansor.cost_model; assert 'foretune.compiler.tir._tvm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.ansor
def test_search_with_the_model(auto_scheduler, search_task, model, tmp_path):
    log = tmp_path / "log.json"
    options = auto_scheduler.TuningOptions(
        num_measure_trials=16,
        num_measures_per_round=8,
        verbose=0,
        measure_callbacks=[auto_scheduler.RecordToFile(str(log))],
        builder=auto_scheduler.LocalBuilder(timeout=60, n_parallel=1),
        runner=auto_scheduler.LocalRunner(timeout=60, repeat=1, min_repeat_ms=5),
    )
    search_task.tune(options, auto_scheduler.SketchPolicy(search_task, model, seed=1, verbose=0))
    lines = log.read_text().splitlines()
    assert len(lines) == 16
    assert len(model.records) == 8  # Ansor tells its model of a round when the next begins
    assert {r.status for r in model.records} == {Status.OK}
    for line, record in zip(lines, model.records):
        assert record.best_secs == pytest.approx(min(json.loads(line)["r"][0]))
    search_task.apply_best(str(log))


@pytest.mark.ansor
def test_every_state_is_a_point_of_a_design_space(search_task, auto_scheduler, states):
    from foretune.compiler.ansor.tasks import AnsorTask, record_line, steps_of

    task = AnsorTask.of(search_task)
    for state in states:
        choices = task.read(steps_of(record_line(auto_scheduler.MeasureInput(search_task, state))))
        template = task.lookup.templates[task.lookup.find(choices.structure)]
        assert template.structure == choices.structure
        tiles = [
            d for i, d in task.candidate(choices).trace.decisions if template.trace.actions[i].op == "SamplePerfectTile"
        ]
        assert tiles == choices.tiles["C"]


@pytest.mark.ansor
def test_scores_are_speeds(search_task, model, states):
    scores = model.predict(search_task, states)
    assert scores.shape == (len(states),) and (scores > 0).all() and scores.max() == 1.0
    assert len(set(scores)) > len(states) // 2


@pytest.mark.ansor
def test_update_improves(auto_scheduler, search_task, model, states):
    """Told that the slowest by its own scores are the fastest, the model turns them round; failed states teach
    nothing.
    """
    before = model.predict(search_task, states)
    secs = (1e-4 * before).tolist()
    model.update(*measured(auto_scheduler, search_task, states[:48], [*secs[:47], 0.0]))
    assert model.records[-1].status is Status.RUN_ERROR and not model.records[-1].run_secs
    after = model.predict(search_task, states)
    rank = lambda x: x.argsort().argsort()  # noqa: E731
    import numpy as np

    assert np.corrcoef(rank(before[48:]), rank(after[48:]))[0, 1] < 0.0


@pytest.mark.ansor
def test_save_and_load(auto_scheduler, search_task, model, states, tmp_path):
    from foretune.compiler.ansor.cost_model import ForetuneAnsorModel

    model.update(*measured(auto_scheduler, search_task, states[:8], [*(1e-5 * (i + 1) for i in range(7)), 0.0]))
    model.save(tmp_path / "learnt.json")
    other = ForetuneAnsorModel()
    other.load(tmp_path / "learnt.json")
    assert [r.candidate.key for r in other.records] == [r.candidate.key for r in model.records]
    assert other.predict(search_task, states) == pytest.approx(model.predict(search_task, states), rel=1e-4)
    assert len(list(auto_scheduler.RecordReader(str(tmp_path / "learnt.json")))) == 8


@pytest.mark.ansor
@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "line 1: JSONDecodeError"),
        ('{"i": []}', "line 1"),
        ('{"i": [["[\\"gone\\", 1]", "llvm"], [[], []]], "r": [[1], 0, 1, 1], "v": "v0.6"}', "not registered"),
    ],
)
def test_a_damaged_log(model, tmp_path, text: str, message: str):
    path = tmp_path / "learnt.json"
    path.write_text(text + "\n")
    with pytest.raises(ModelError, match=message):
        model.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        model.load(tmp_path / "missing.json")


@pytest.mark.ansor
def test_wrong_use(auto_scheduler, search_task, model, states, caplog):
    inputs, _ = measured(auto_scheduler, search_task, states[:2], [1e-5, 1e-5])
    with pytest.raises(OptionError, match="2 states and 0 results"):
        model.update(inputs, [])
    from foretune.compiler.ansor._ansor_tvm import tvm

    hardware = auto_scheduler.HardwareParams(1, 16, 64, 1 << 14, 1 << 14, 1024, 8, 32)
    gpu = auto_scheduler.SearchTask(
        func=matmul_relu, args=(64,), target=tvm.target.Target("opencl"), hardware_params=hardware
    )
    assert (model.predict(gpu, states) == 1.0).all()
    assert "only CPU targets" in caplog.text
