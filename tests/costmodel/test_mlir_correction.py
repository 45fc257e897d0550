"""The correction of the MLIR cost model: it learns what is off, says how much is left, and leaves the known alone."""

from __future__ import annotations

import numpy as np

from foretune.costmodel.mlir.correction import (
    Columns,
    CorrectionConfig,
    MlirCorrection,
    gather,
    program_inputs,
    train_correction,
)
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.network import LABELS
from foretune.costmodel.mlir.target import similar_target

COLUMNS = Columns(runs=0, operations=1)
TARGET = similar_target("haswell")
SECS, CYCLES = LABELS.index("secs"), LABELS.index("mca_cycles")
CONFIG = CorrectionConfig(members=2, width=32, epochs=40, batch=64)


def program(rng: np.random.Generator, kind: int) -> EncodedProgram:
    """Statements of (log_runs, operations, kind)."""
    rows = np.stack([[rng.uniform(0, 10), rng.integers(1, 9), kind] for _ in range(rng.integers(1, 4))])
    return EncodedProgram(rows.astype(np.float32), np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64))


def samples(seed: int, num: int = 400):
    """Programs of two kinds; predictions for those of the second are too low by 1, give or take 0.3."""
    rng = np.random.default_rng(seed)
    programs = [program(rng, i % 2) for i in range(num)]
    predicted = rng.normal(5, 1, (num, len(LABELS)))
    kinds = np.arange(num)[:, None] % 2
    errors = kinds * (1 + rng.laplace(0, 0.2, predicted.shape))
    errors[:, SECS] = np.nan
    return programs, predicted, errors


def trained() -> MlirCorrection:
    sides = []
    for seed in (0, 1):
        programs, predicted, errors = samples(seed)
        sides.append((gather(programs, [TARGET] * len(programs), predicted, COLUMNS), errors))
    return train_correction(*sides[0], sides[1], COLUMNS, "base", CONFIG)


def test_what_is_off_is_corrected_and_what_is_left_is_stated():
    model = trained()
    programs, predicted, errors = samples(2)
    mean, spread = model.correct(programs, [TARGET] * len(programs), predicted)
    shift = mean - predicted
    assert np.abs(shift[::2]).max() < 0.25 and np.abs(shift[1::2].mean() - 1) < 0.15
    assert spread[::2].mean() < spread[1::2].mean() / 2
    known = np.isfinite(errors)
    inside = (np.abs(shift - errors) <= 1.645 * spread)[known].mean()
    assert 0.85 <= inside <= 0.99
    np.testing.assert_allclose(shift[:, SECS], shift[:, CYCLES])


def test_it_is_the_same_after_a_file(tmp_path):
    model = trained()
    model.save(tmp_path / "correction.safetensors")
    again = MlirCorrection.load(tmp_path / "correction.safetensors")
    assert (again.base, again.columns, again.config) == (model.base, model.columns, model.config)
    programs, predicted, _ = samples(3, 20)
    targets = [TARGET] * len(programs)
    for one, other in zip(model.correct(programs, targets, predicted), again.correct(programs, targets, predicted)):
        np.testing.assert_allclose(one, other, atol=5e-3)


def test_sums_do_not_depend_on_the_order_of_statements():
    one = program(np.random.default_rng(0), 1)
    other = EncodedProgram(one.statements[::-1].copy(), one.nest, one.parent)
    np.testing.assert_allclose(program_inputs(one, COLUMNS), program_inputs(other, COLUMNS), rtol=1e-6)


def test_the_bundled_one_is_of_the_bundled_model():
    model = MlirCostModel.bundled()
    assert model.correction is not None and model.correction.base == model.training_hash
