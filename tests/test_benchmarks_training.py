"""The figures of `benchmarks/training.py`, and its steps at tiny sizes."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")

sys.path.append(BENCHMARKS)  # no package: its files are run as scripts
try:
    from training import EAGER, ENGINES, FORETUNE, INDUCTOR, figures, measure
    from training_cases import SIZES
    from training_child import Training, largest_error
finally:
    sys.path.remove(BENCHMARKS)


def row(**ms):
    made = {engine: {"ms": 10.0, "compile_secs": 2.0, "peak_bytes": 100, "max_rel_error": 1e-6} for engine in ENGINES}
    for engine, value in ms.items():
        made[engine]["ms"] = value
    return {"engines": made, "was_quiet": True}


def test_figures():
    broken = row()
    broken["engines"][FORETUNE] = {"error": "it died"}
    found = figures([row(**{FORETUNE: 5.0, INDUCTOR: 8.0}), row(**{FORETUNE: 16.0, EAGER: 20.0}), broken])
    assert found["vs_inductor"] == pytest.approx((8 / 5 * 10 / 16) ** 0.5)
    assert found["worst_vs_inductor"] == 10 / 16 and found["worst_vs_eager"] == 20 / 16
    assert (found["num_models"], found["num_failed"], found["num_disturbed"]) == (2, 1, 0)
    assert figures([broken]) == {"num_models": 0, "num_failed": 1}


@pytest.mark.parametrize("case", SIZES["tiny"], ids=lambda case: case.name)
def test_a_step_trains(case):
    torch.manual_seed(0)
    model, batch = case.make(), case.make_batch()
    training = Training(model, model, case, batch)
    other = copy.deepcopy(model)
    first = training.gradients()
    assert largest_error(first, Training(other, other, case, batch).gradients()) < 1e-5
    assert len(training.step_ms(0.0)) == 1
    assert all(gradient.isfinite().all() for gradient in first) and training.gradients()[0] != first[0]


def test_real_sizes_are_those_of_the_published_models():
    with torch.device("meta"):
        counts = {case.name: sum(p.numel() for p in case.make().parameters()) for case in SIZES["real"]}
    assert counts["resnet18"] == 11_689_512
    assert counts["bert-4"] == (30_522 + 128) * 768 + 4 * 7_087_872 + 2 * 768


@pytest.mark.slow
def test_engines_train_in_turns(tmp_path):
    options = {"trials": 0, "looks": 0, "progress": False, "database": str(tmp_path / "records.db")}
    found = measure("bert-4", options, 0, "tiny", rounds=1, burst=0.05)
    assert all(found["engines"][engine]["ms"] > 0 for engine in ENGINES)
    assert found["engines"][FORETUNE]["max_rel_error"] < 1e-3 and len(found["choices"]) == 1
