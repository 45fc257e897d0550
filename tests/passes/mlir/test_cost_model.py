"""The cost model: predictions follow structure alone, it learns, its file holds, and it answers between passes."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.mlir.encoding import EncodedProgram, encode
from foretune.costmodel.mlir.labels import from_scale, to_scale
from foretune.costmodel.mlir.model import WEIGHTS, MlirCostModel
from foretune.costmodel.mlir.network import LABELS, MlirNetwork, MlirNetworkConfig
from foretune.costmodel.mlir.target import NUM_TARGET_FEATURES, MlirTarget, known_target
from foretune.costmodel.mlir.training import MlirExample, MlirTrainConfig, train_member
from foretune.costmodel.rivals.mlir_text import COUNT_RIVALS, TEXT_RIVALS, CountRival, TextExample, TextRival, tokens
from foretune.errors import DataError, ModelError, OptionError
from foretune.passes.mlir.costs.predict import explain, predict, predict_schedules, read_graph
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES
from foretune.passes.mlir.programs.generator import generate
from tests.passes.mlir.test_graph import SAME, TWO

RUNS = STATEMENT_FEATURES.index("log_runs")
TARGET = MlirTarget("", 512, 32, True, 1 << 15, 1 << 20, 1 << 25)
FAMILIES = ("matmul", "conv2d", "softmax", "reduction", "loop_stencil", "loop_gather", "loop_several", "transpose")


def untrained(actions=("tile",)) -> MlirCostModel:
    network = MlirNetwork(
        MlirNetworkConfig(
            len(STATEMENT_FEATURES), NUM_TARGET_FEATURES, latent=16, actions=len(actions) + 1, action_numbers=12
        )
    )
    return MlirCostModel([network], STATEMENT_FEATURES, actions)


@pytest.fixture(scope="module")
def programs(session) -> list[EncodedProgram]:
    return [encode(read_graph(session, generate(family, 3).text)[0]) for family in FAMILIES]


def labels(rng) -> np.ndarray:
    return to_scale(
        {name: float(rng.uniform(0, 1)) if "share" in name else float(np.exp(rng.uniform(1, 6))) for name in LABELS}
    )


def error_after_training(programs, seen, wanted) -> float:
    """Mean absolute error of log instructions on `wanted`, after training on `seen`."""
    examples = [MlirExample(p, TARGET.features, y) for p, y in zip(programs, seen)]
    config = MlirTrainConfig(epochs=60, patience=60, batch=8, latent=48, learning_rate=4e-3, members=1)
    network = train_member(
        examples, examples, MlirNetworkConfig(len(STATEMENT_FEATURES), NUM_TARGET_FEATURES), RUNS, LABELS, config
    )
    mean, _ = MlirCostModel([network], STATEMENT_FEATURES).predict_scaled(programs, [TARGET] * len(programs))
    return float(np.abs(mean[:, 0] - np.stack(wanted)[:, 0]).mean())


def test_eight_programs_are_learned_and_shuffled_labels_are_not_the_others(programs):
    rng = np.random.default_rng(0)
    wanted = [labels(rng) for _ in programs]
    shuffled = [*wanted[1:], wanted[0]]
    assert error_after_training(programs, wanted, wanted) < 0.15
    assert error_after_training(programs, shuffled, wanted) > 0.5


def test_names_layout_and_order_do_not_change_the_prediction(session):
    model = untrained()
    first, second = (predict(session, text, TARGET, model=model) for text in (TWO, SAME))
    assert first.costs == second.costs
    assert predict(session, TWO.replace("0 to 16", "0 to 12"), TARGET, model=model).costs != first.costs


def test_batches_and_their_order_do_not_change_predictions(programs):
    model = untrained()
    together = [p.costs for p in model.predict(programs, TARGET)]
    for program, costs in zip(programs, together):
        [alone] = model.predict([program], TARGET)
        assert alone.costs == pytest.approx(costs, rel=1e-4)


def test_scale_of_labels_goes_both_ways():
    costs = {name: 0.5 if "share" in name else 12.0 for name in LABELS}
    assert from_scale(to_scale(costs)) == pytest.approx(costs)
    assert np.isnan(to_scale({"secs": float("nan")})).all()


def test_a_saved_model_predicts_the_same_and_damage_is_noticed(programs, tmp_path):
    model, path = untrained(), tmp_path / "model.safetensors"
    model.calibration = np.full(len(LABELS), 0.1)
    model.save(path)
    again = MlirCostModel.load(path)
    assert again.fingerprint == model.fingerprint and again.actions == model.actions
    assert again.predict(programs, TARGET)[0] == model.predict(programs, TARGET)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated"):
        MlirCostModel.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        MlirCostModel.load(tmp_path / "nothing.safetensors")


def test_a_graph_of_another_release_is_refused(programs):
    with pytest.raises(ModelError, match="different releases"):
        untrained().predict(
            [EncodedProgram(programs[0].statements[:, 1:], programs[0].nest, programs[0].parent)], TARGET
        )


def test_a_processor_that_was_not_trained_for_is_refused():
    with pytest.raises(OptionError, match="haswell"):
        known_target("pentium")


def test_an_unknown_dialect_is_a_clear_error(session):
    with pytest.raises(DataError, match="unregistered dialect"):
        predict(session, 'func.func @f() { "foo.bar"() : () -> () return }', TARGET, model=untrained())


def test_parts_explain_the_whole(session):
    costs = explain(session, generate("attention", 2).text, TARGET, model=untrained())
    for name in ("secs", "instructions", "mca_cycles"):
        assert sum(cost.shares[name] for cost in costs) == pytest.approx(1.0, abs=1e-4)
    assert any(cost.operation == "linalg.batch_matmul" and len(cost.loops) == 4 and cost.line for cost in costs)


def test_rollouts_tell_schedules_apart_and_no_schedule_is_the_program_itself(session):
    model, text = untrained(), generate("matmul", 4).text
    schedules = [
        Schedule(),
        Schedule.of("tile{on=linalg.matmul:0 sizes=4,4,4}"),
        Schedule.of("tile{on=linalg.matmul:0 sizes=8,4,4}"),
    ]
    found = predict_schedules(session, text, schedules, TARGET, model)
    assert found[0].costs == pytest.approx(predict(session, text, TARGET, model=model).costs, rel=1e-4)
    assert len({p.costs["secs"] for p in found}) == 3


def test_callback_predicts_between_passes(session):
    from mlir import ir

    from foretune.passes.mlir.costs.callback import CostCallback

    seen = []
    callback = CostCallback(untrained(), TARGET, lambda name, prediction: seen.append(name))
    context = ir.Context()
    module = ir.Module.parse(generate("loop_stencil", 1).text, context)
    found = callback.run(module, ["func.func(affine-loop-unroll{unroll-factor=4})", "canonicalize", "lower-affine"])
    assert len(found) == 4 and len(seen) == 3
    assert found[0][1].costs["instructions"] != found[1][1].costs["instructions"]


def test_callback_as_a_pass(session):
    import torch
    from mlir import ir
    from mlir.passmanager import PassManager

    from foretune.passes.mlir.costs.callback import CostCallback

    context = ir.Context()
    module = ir.Module.parse(generate("loop_stencil", 1).text, context)
    threads = torch.get_num_threads()
    for mode, how in (("fast", "predicted"), ("exact", "counted")):
        with CostCallback(untrained(), TARGET, mode=mode) as callback:
            manager = PassManager("builtin.module", context)
            for step in (callback.as_pass("before"), "lower-affine", callback.as_pass("after")):
                manager.add(step)
            copy = ir.Module.parse(str(module), context)
            manager.run(copy.operation)
            assert [name for name, _ in callback.predictions] == ["before", "after"]
            assert {p.sources["instructions"] for _, p in callback.predictions} == {how}
            assert callback.predict(copy.body.operations[0]).costs == callback.predictions[-1][1].costs
    assert torch.get_num_threads() == threads
    with pytest.raises(OptionError, match="the mode must be one of"):
        CostCallback(untrained(), TARGET, mode="slow")


def test_callback_on_what_passes_leave(session):
    from mlir import ir

    from foretune.passes.mlir.costs.callback import CostCallback

    context = ir.Context()
    emptied = ir.Module.parse("func.func @main() {\n  %c = arith.constant 1 : i32\n  return\n}", context)
    found = CostCallback(untrained(), TARGET).run(emptied, ["canonicalize"])
    assert found[-1][1].costs["instructions"] == 1 and found[-1][1].costs["secs"] < 1e-8
    kind = "tensor<4x8xf32>"
    softmax = ir.Module.parse(
        f"func.func @main(%x: {kind}) -> {kind} {{ %e = tensor.empty() : {kind} %y = linalg.softmax dimension(1) ins(%x"
        f" : {kind}) outs(%e : {kind}) -> {kind} return %y : {kind} }}",
        context,
    )
    before = str(softmax)
    assert CostCallback(untrained(), TARGET).predict(softmax).costs and str(softmax) == before


@pytest.mark.skipif(not WEIGHTS.exists(), reason="no weights are bundled")
def test_bundled_weights_know_that_more_work_takes_longer(session):
    model = MlirCostModel.bundled()
    small, large = (predict(session, _product(n), known_target(), model=model) for n in (16, 128))
    assert large.costs["secs"] > small.costs["secs"] and large.costs["dynamic_instructions"] > 1e5
    assert 5 < large.costs["registers"] < 48


def _product(n: int) -> str:
    t = f"tensor<{n}x{n}xf32>"
    return (
        f"func.func @main(%a: {t}, %b: {t}) -> {t} {{ %z = arith.constant 0.0 : f32 %e = tensor.empty() : {t} %f ="
        f" linalg.fill ins(%z : f32) outs(%e : {t}) -> {t} %c = linalg.matmul ins(%a, %b : {t}, {t}) outs(%f : {t}) ->"
        f" {t} return %c : {t} }}"
    )


@pytest.mark.parametrize("kind", [*TEXT_RIVALS, *COUNT_RIVALS])
def test_rivals_learn_something_of_texts(kind):
    rng = np.random.default_rng(0)
    texts = [generate(family, seed).text for family in ("matmul", "reduction", "loop_gather") for seed in range(8)]
    examples = [TextExample(t, np.array([1.0, 2.0]), np.array([np.log(len(tokens(t))), rng.normal()])) for t in texts]
    model = TextRival(kind, max_tokens=96, epochs=12) if kind in TEXT_RIVALS else CountRival(kind, rounds=20)
    model.fit(examples, examples[:4])
    predicted, truth = model.predict(examples)[:, 0], np.array([e.labels[0] for e in examples])
    assert np.corrcoef(predicted, truth)[0, 1] > 0.6


def test_tokens_forget_names_and_keep_sizes():
    assert tokens("%a = arith.addf %b, %c : tensor<8x100xf32>") == [
        "%",
        "=",
        "arith.addf",
        "%",
        ",",
        "%",
        ":",
        "tensor",
        "<",
        "n8",
        "n~27",
        "f32",
        ">",
    ]
