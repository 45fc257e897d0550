"""Time from exact counts, and how far the training data reaches."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.mlir.domain import MlirDomain
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.structure import STRUCTURE_FEATURES, structure_features
from foretune.costmodel.mlir.target import known_target, similar_target
from foretune.costmodel.mlir.time_model import COUNTS, CountedProgram, MlirTimeModel, TimeConfig, train_time
from foretune.errors import ModelError
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES

CONFIG = TimeConfig(members=2, width=16, epochs=60, batch=16, seed=3)


def program(rng: np.random.Generator) -> CountedProgram:
    work = float(np.exp(rng.uniform(3, 14)))
    counts = {name: work * rng.uniform(0.5, 2) for name in COUNTS} | {
        "vector_share": rng.uniform(),
        "dynamic_vector_share": rng.uniform(),
    }
    return CountedProgram(
        counts, rng.uniform(0, 10, len(STRUCTURE_FEATURES)).astype(np.float32), known_target("haswell")
    )


def learn(shuffled: bool) -> float:
    rng = np.random.default_rng(0)
    programs = [program(rng) for _ in range(160)]
    secs = np.array([p.counts["mca_cycles"] * 3e-10 * (1 + 3 * p.counts["vector_share"]) for p in programs])
    wanted = rng.permutation(secs[:120]) if shuffled else secs[:120]
    model = train_time(programs[:120], wanted, programs[120:140], secs[120:140], CONFIG)
    return float(np.median(np.abs(model.predict(programs[140:])[0] - np.log(secs[140:]))))


def test_it_learns_what_cycles_take_and_not_from_shuffled_labels():
    assert learn(False) < 0.25 < 0.5 < learn(True)


def test_weights_are_kept(tmp_path):
    rng = np.random.default_rng(1)
    programs = [program(rng) for _ in range(20)]
    model = train_time(
        programs, np.full(20, 1e-6), programs[:4], np.full(4, 1e-6), TimeConfig(members=1, width=8, epochs=2)
    )
    model.save(tmp_path / "time.safetensors")
    again = MlirTimeModel.load(tmp_path / "time.safetensors")
    assert np.allclose(again.predict(programs)[0], model.predict(programs)[0]) and again.deviation == model.deviation
    (tmp_path / "time.safetensors").write_bytes(b"none")
    with pytest.raises(ModelError, match="truncated or not a safetensors file"):
        MlirTimeModel.load(tmp_path / "time.safetensors")


def encoded(**values: float) -> EncodedProgram:
    row = np.zeros((1, len(STATEMENT_FEATURES)), np.float32)
    for name, value in values.items():
        row[0, STATEMENT_FEATURES.index(name.replace("__", "."))] = value
    return EncodedProgram(row, np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_sums_weigh_operations_with_their_runs():
    found = dict(zip(STRUCTURE_FEATURES, structure_features(encoded(n__libm=3, log_runs=4), STATEMENT_FEATURES)))
    assert found["sum.n.libm"] == pytest.approx(np.log2(1 + 48)) and found["max.log_runs"] == 4


def test_beyond_the_data(tmp_path):
    domain = MlirDomain.of([encoded(n__fadd=4, log_runs=10), encoded(log_footprint=12)], STATEMENT_FEATURES)
    assert domain.excess(encoded(n__fadd=4, log_runs=10)).reasons == ()
    far = domain.excess(encoded(n__libm=2, log_runs=14))
    assert (
        far.sizes == 4
        and far.counts > 1
        and "operations of kind libm, but at most 0" in far.reasons[0]
        and "runs of a statement are 1.64e+04" in far.reasons[1]
    )
    domain.save(tmp_path / "domain.safetensors")
    assert MlirDomain.load(tmp_path / "domain.safetensors").excess(encoded(n__libm=2, log_runs=14)) == far


def test_processors_without_data_have_a_likeness():
    assert similar_target("haswell") == known_target("haswell")
    found = {
        cpu: (similar_target(cpu).vector_bits, similar_target(cpu).similar) for cpu in ("znver6", "znver2", "x86-64-v2")
    }
    assert found == {"znver6": (512, True), "znver2": (256, True), "x86-64-v2": (128, True)}
