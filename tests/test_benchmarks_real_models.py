"""The figures of `benchmarks/real_models.py`, and its models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")

sys.path.append(BENCHMARKS)  # no package: its files are run as scripts
try:
    from real_models import ENGINES, FORETUNE, FREEZING, FROZEN, figures
    from real_models_cases import REAL_MODELS
finally:
    sys.path.remove(BENCHMARKS)


def row(was_quiet=True, **ms):
    made = {engine: {"ms": 10.0, "compile_secs": 2.0, "peak_bytes": 100, "max_rel_error": 1e-6} for engine in ENGINES}
    for engine, value in ms.items():
        made[engine]["ms"] = value
    return {"engines": made, "was_quiet": was_quiet}


def test_figures():
    fast = row(**{FROZEN: 5.0, FREEZING: 8.0, FORETUNE: 2.5})
    slow = row(was_quiet=False, **{FROZEN: 16.0, FREEZING: 8.0})
    broken = row()
    broken["engines"][FROZEN] = {"error": "it died"}
    found = figures([fast, slow, broken])
    assert found["vs_best_rival"] == pytest.approx((8 / 5 * 8 / 16) ** 0.5)
    assert found["worst_vs_best_rival"] == 0.5 and found["vs_inductor"] == pytest.approx(2.0)
    assert (found["num_models"], found["num_failed"], found["num_disturbed"]) == (2, 1, 1)
    assert figures([broken]) == {"num_models": 0, "num_failed": 1}


def test_there_are_twenty_architectures_and_more():
    assert len({case.name for case in REAL_MODELS}) == len(REAL_MODELS) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("case", REAL_MODELS, ids=lambda case: case.name)
def test_models_run(case):
    pytest.importorskip("transformers", reason="pip install 'foretune[bench]'")
    torch.manual_seed(0)
    with torch.no_grad():
        assert case.make()(case.make_input(1)).isfinite().all()
