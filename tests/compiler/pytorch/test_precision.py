"""Graphs in 16 bits by the user's choice."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code

from foretune.compiler.pytorch.backend import INDUCTOR, Backend, compile_reports
from foretune.compiler.pytorch.options import BackendOptions
from foretune.errors import OptionError


@pytest.fixture
def model():
    torch._dynamo.reset()
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 8)).eval()


def options(tmp_path, **more):
    return {"trials": 0, "database": str(tmp_path / "records.db"), "progress": False, **more}


def test_products_are_in_16_bits_and_outputs_as_they_were(model, tmp_path):
    x = torch.randn(5, 64)
    chosen = BackendOptions.from_dict(options(tmp_path, precision="bf16"))
    compiled = torch.compile(model, backend=Backend(chosen, only=INDUCTOR).compile)
    with torch.no_grad():
        found, codes = run_and_get_code(compiled, x)
        expected = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(x).float()
    assert "bfloat16" in "".join(codes) and found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.02
    torch.testing.assert_close(found, rounded, rtol=0.01, atol=0.01)


def test_the_contest_compares_with_autocast(model, tmp_path):
    x = torch.randn(5, 64)
    with torch.no_grad():
        found = torch.compile(model, backend="foretune", options=options(tmp_path, precision="bf16"))(x)
        assert (found - model(x)).abs().max() < 0.02
    assert "differs from PyTorch" not in str(compile_reports()[-1].choice.refused)


def test_inputs_and_integers_are_returned_as_they_are(tmp_path):
    torch._dynamo.reset()
    x = torch.randn(4, 4)
    compiled = torch.compile(
        lambda x: (x @ x, x.argmax(1), x), backend="foretune", options=options(tmp_path, precision="bf16")
    )
    product, index, same = compiled(x)
    assert product.dtype == torch.float32 and index.dtype == torch.int64 and same is x


def test_training_has_gradients_of_the_weights_type(model, tmp_path):
    x = torch.randn(5, 64)
    compiled = torch.compile(model.train(), backend="foretune", options=options(tmp_path, precision="bf16"))
    compiled(x).sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    for grad, parameter in zip(found, model.parameters()):
        assert grad.dtype == torch.float32
        assert (grad - parameter.grad).abs().max() <= 0.03 * parameter.grad.abs().max()


def test_other_words_are_refused():
    with pytest.raises(OptionError, match="precision must be one of"):
        BackendOptions(precision="int4")
