"""Tuning in the background: the program runs at once, and gets faster kernels later."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import foretune
from foretune.compiler.pytorch.backend import compile_reports
from foretune.compiler.pytorch.background import wait_for_background
from foretune.datasets.records.database import Database


@pytest.mark.parametrize("guard", [True, False])
def test_kernels_arrive_while_the_program_runs(tmp_path, guard):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()
    options = {
        "trials": 6,
        "database": str(tmp_path / "records.db"),
        "progress": False,
        "background": True,
        "guard": guard,
    }
    compiled, x = torch.compile(model, backend="foretune", options=options), torch.randn(16, 32)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-3, atol=1e-5)
        report = compile_reports()[-1]
        assert report.background in ("running", "done")
        torch.manual_seed(7)
        drawn = []
        while any(t.name == "foretune-background" for t in threading.enumerate()):
            drawn.append(float(torch.rand(1)))
            torch.testing.assert_close(compiled(x), expected, rtol=1e-3, atol=1e-5)
            wait_for_background(0.05)
        drawn.append(float(torch.rand(1)))
        torch.manual_seed(7)
        assert drawn == [float(torch.rand(1)) for _ in drawn]  # the stream goes on as if nothing ran beside it
        torch.testing.assert_close(compiled(x), expected, rtol=1e-3, atol=1e-5)
    assert report.background == "done" and report.num_trials > 0 and any(kernel.secs for kernel in report.kernels)
    assert "tuning in the background: done" in str(foretune.explain(model))
    with Database(options["database"]) as database:
        assert database.num_records() > 0


def test_training_is_not_tuned_behind_the_back(tmp_path):
    torch._dynamo.reset()
    model = nn.Linear(32, 64)
    options = {
        "trials": 2,
        "database": str(tmp_path / "records.db"),
        "progress": False,
        "background": True,
        "guard": False,
    }
    torch.compile(model, backend="foretune", options=options)(torch.randn(4, 32)).sum().backward()
    assert compile_reports()[-1].background == "" and model.weight.grad is not None
