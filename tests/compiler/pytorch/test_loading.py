"""TVM and what comes with it are loaded when a graph needs them, and not before."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from foretune.compiler.pytorch import backend as module
from foretune.compiler.pytorch.backend import INDUCTOR, Backend, compile_reports
from foretune.compiler.pytorch.compile_phases import BUILD, COMPILE, CONTEST, IMPORT, LIBRARIES, LOAD, PLAN, RUN, TRACE
from foretune.compiler.pytorch.loading import Loading
from foretune.compiler.pytorch.options import BackendOptions
from foretune.errors import ModelError, TargetError
from foretune.support.phases import Phases

HEAVY = ("tvm", "tvm_ffi", "numba", "llvmlite", "catboost", "lightgbm", "sklearn", "matplotlib", "pandas", "pyarrow")


@pytest.fixture
def options(tmp_path):
    torch._dynamo.reset()
    return {"trials": 0, "looks": 0, "database": str(tmp_path / "records.db"), "progress": False}


def test_importing_the_backend_is_light():
    code = f"import sys, foretune.compiler.pytorch.backend; print(sorted({{*{HEAVY}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_loaded_once_and_errors_are_raised_where_the_result_is_wanted(tmp_path):
    loading = Loading("auto", None)
    assert loading.result() is loading.result()
    assert loading.result().target.kind == "llvm" and loading.result().model.training_hash
    with pytest.raises(TargetError, match="only CPU targets"):
        Loading("cuda", None).result()
    with pytest.raises(ModelError):
        Loading("auto", tmp_path / "missing.safetensors").result()


@pytest.mark.parametrize("given", [{"target": "cuda"}, {"cost_model": "missing.safetensors"}])
def test_what_the_user_gave_is_checked_at_once(options, given):
    with pytest.raises((TargetError, ModelError)):
        Backend(BackendOptions.from_dict({**options, **given}))


def test_models_share_the_bundled_weights_and_learn_apart():
    one, other = (Loading("auto", None).result().model for _ in range(2))
    assert one is not other and one.network is other.network and one._adaptations is not other._adaptations


def test_a_graph_that_goes_to_inductor_alone_does_without(options, monkeypatch):
    monkeypatch.setattr(Loading, "result", lambda self: pytest.fail("TVM is loaded"))
    backend = Backend(BackendOptions.from_dict(options))
    torch.compile(lambda x: x + torch.rand(3), backend=backend.compile)(torch.ones(3))
    assert compile_reports()[-1].choice.name == INDUCTOR


@pytest.mark.parametrize("guard", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_line_counts_all_phases(options, monkeypatch, guard):
    phases, told = Phases(), []

    @contextlib.contextmanager
    def line(*args):
        told.append(args)
        yield phases

    monkeypatch.setattr(module, "phases_line", line)
    backend = Backend(BackendOptions.from_dict({**options, "guard": guard, "progress": True}))
    model, x = nn.Sequential(nn.Linear(64, 64), nn.GELU()).eval(), torch.randn(64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend=backend.compile)(x), model(x), rtol=1e-4, atol=1e-5)
    own = {TRACE, LOAD, IMPORT, PLAN, BUILD}
    assert set(phases.took_secs) == own | ({LIBRARIES, COMPILE, RUN, CONTEST} if guard else set())
    [(label, expected, wanted)] = told
    assert label == "compiling" and wanted and phases.took_secs.keys() - {RUN} <= expected.keys()
