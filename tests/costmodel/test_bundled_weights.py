"""The weights that ship with Foretune: what they predict is fixed here, whatever file format they are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from foretune import (
    Action,
    Candidate,
    Edge,
    HardwareFeatures,
    ModelError,
    Node,
    ProgramGraph,
    Target,
    Task,
    Trace,
    Workload,
)
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.mlir.domain import MlirDomain
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.structure import STRUCTURE_FEATURES
from foretune.costmodel.mlir.target import MlirTarget
from foretune.costmodel.mlir.time_model import COUNTS, CountedProgram, MlirTimeModel
from foretune.costmodel.model_file import SCHEMA, read_any_model
from foretune.costmodel.passes.model import PassCostModel
from foretune.testing.synthetic import TASK, synthetic_trajectories

CPU = MlirTarget("haswell", 256, 16, True, 32 << 10, 1 << 20, 8 << 20)


def schedules(model: LatentCostModel) -> np.ndarray:
    """Scores and spreads of some schedules of a made-up task."""
    candidates = [t.record.candidate for t in synthetic_trajectories(5, 0)]
    return np.stack(model.predict_with_spread(TASK, candidates))


def pass_sequences(model: PassCostModel) -> np.ndarray:
    """Likewise of pass sequences, before and after measurements."""
    block = (2.0, 0.0, 4.0, 1.0, *([1.0] * 6), 2.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    nodes = (
        Node("function", "f0", (2.0, 20.0, 2.0, 0.0)),
        Node("block", "f0b0", block),
        Node("block", "f0b1", (0.0,) * 16),
    )
    edges = (Edge(0, 1, "has"), Edge(0, 2, "has"), Edge(1, 1, "flow", (0.0, 1.0)), Edge(1, 2, "flow", (0.0, 0.0)))
    workload = Workload("p", "", ProgramGraph(nodes, edges), "p", "llvm")
    task = Task(workload, Target("llvm", (), HardwareFeatures(cores=2)))
    names = ("gvn", "licm", "loop-unroll", "sroa", "simplifycfg")
    traces = [Trace(tuple(Action(name) for name in names[: n + 1])) for n in range(len(names))]
    flag = Action("flag", attrs=("unroll-count",), decision=4)
    traces.append(Trace((flag, *traces[-1].actions)))
    return np.stack(model.predict_with_spread(task, [Candidate(task, trace) for trace in traces]))


def modules(model: MlirCostModel) -> np.ndarray:
    """Means and deviations of all labels of some made-up modules, and after a schedule."""
    rng = np.random.default_rng(0)
    programs = []
    for num_statements in (1, 3, 6):
        statements = np.round(rng.uniform(0, 4, (num_statements, len(model.feature_names))), 2).astype(np.float32)
        nest = np.arange(num_statements) // 2
        programs.append(EncodedProgram(statements, nest, nest))
    trace = Trace((Action(model.actions[0], attrs=(("size", 8),)),))
    rolled = model.predict_after_scaled(programs[1], [trace, Trace(())], CPU)
    return np.concatenate([*model.predict_scaled(programs, [CPU] * 3), *rolled])


def times(model: MlirTimeModel) -> np.ndarray:
    """Logarithms of seconds, and deviations, of made-up counts."""
    programs = [
        CountedProgram(
            {name: 0.5 if "share" in name else float(scale + i) for i, name in enumerate(COUNTS)},
            np.linspace(0, 3, len(STRUCTURE_FEATURES)).astype(np.float32),
            CPU,
        )
        for scale in (10, 1000, 100_000)
    ]
    return np.stack(model.predict(programs))


def reach(model: MlirDomain) -> np.ndarray:
    """The largest features, and the most statements."""
    return np.array([*model.largest, model.statements])


FIXED: dict[str, tuple[Callable, Callable]] = {
    "latent": (LatentCostModel.bundled, schedules),
    "passes": (PassCostModel.bundled, pass_sequences),
    "mlir_latent": (MlirCostModel.bundled, modules),
    "mlir_time": (MlirTimeModel.load, times),
    "mlir_domain": (MlirDomain.load, reach),
}
GOLDEN = json.loads(Path(__file__).with_name("bundled_predictions.json").read_text())


@pytest.mark.parametrize("name", FIXED)
def test_predictions_stay(name):
    """To what a processor's own rounding leaves open."""
    load, predict = FIXED[name]
    np.testing.assert_allclose(np.ravel(predict(load())), np.ravel(GOLDEN[name]), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", FIXED)
def test_the_file_format_changes_no_bit(name, tmp_path):
    """The bundled files are of older releases; what is read of them is written as `foretune-model-1`."""
    load, predict = FIXED[name]
    model, path = load(), tmp_path / "again.safetensors"
    model.save(path)
    again = type(model).load(path)
    np.testing.assert_array_equal(predict(again), predict(load()))
    assert read_any_model(path).kind == name
    with safe_open(path, "numpy") as file:
        assert file.metadata()["schema"] == SCHEMA


@pytest.mark.parametrize("name", ["latent", "passes"])
def test_damage_of_an_old_file_is_told(name, tmp_path):
    kind = {"latent": LatentCostModel, "passes": PassCostModel}[name]
    whole, path = kind.bundled_path().read_bytes(), tmp_path / "damaged.safetensors"
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in (0, 9, header - 40, header + 5, len(whole) - 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
        with pytest.raises(ModelError, match=path.name):
            kind.load(path)
    path.write_bytes(whole.replace(b"training_hash", b"training_hush"))
    with pytest.raises(ModelError, match=r"lacks \['training_hash'\]"):
        kind.load(path)
