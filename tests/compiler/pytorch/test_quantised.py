"""Models of 8 bits: Inductor's kernels run them, and answers may be off by steps of the scale."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.ao.quantization import get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.quantize_fx import _convert_to_reference_decomposed_fx, prepare_fx

from foretune.compiler.contest.guard import choose
from foretune.compiler.contest.rounding import QUANTISED_ERROR
from foretune.compiler.libraries.products import AS_IT_IS, ONEDNN_PACKED
from foretune.compiler.libraries.products import ONEDNN as WITH_ONEDNN
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.pytorch.backend import FROZEN, INDUCTOR, ONEDNN, Backend, compile_reports
from foretune.compiler.pytorch.options import BackendOptions

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # that torch.ao is to move to torchao
    pytest.mark.usefixtures("fresh_inductor"),
]


@pytest.fixture
def options(tmp_path):
    return {"trials": 0, "looks": 0, "progress": False, "database": str(tmp_path / "records.db")}


def statically_quantised() -> tuple[nn.Module, torch.Tensor]:
    """A model as PyTorch's pt2e makes it: quantise and dequantise around each operator, of uint8 and int8."""
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16)).eval()
    x = torch.randn(16, 32)
    prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (x,))
    with torch.no_grad():
        prepared(x)
    return _convert_to_reference_decomposed_fx(prepared), x


class Int8Products(nn.Module):
    """Activations quantised row by row, weights beforehand, products of integers: torchao's dynamic int8."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (64, 32), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(32))

    def forward(self, x):
        scale = x.abs().amax(1, keepdim=True) / 127
        rows = torch.clamp((x / scale).round(), -127, 127).to(torch.int8)
        return torch._int_mm(rows, self.weight).float() * scale * self.scale


class Int8Weights(nn.Module):
    """Weights of 8 bits that are widened for each product: torchao's weight-only int8."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (32, 64), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(32) / 127)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale


MODELS = {
    "static": statically_quantised,
    "dynamic": lambda: (Int8Products(), torch.randn(32, 64)),
    "weights": lambda: (Int8Weights(), torch.randn(16, 64)),
}


@pytest.mark.parametrize("freeze", [False, True], ids=["free", "frozen"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_inductor_is_not_refused(make, freeze, options):
    model, x = make()
    compiled = torch.compile(model, backend="foretune", options={**options, "freeze": freeze})
    with torch.no_grad():
        expected = model(x)
        for _ in range(2):
            error = (compiled(x) - expected).abs().max() / expected.abs().max()
            assert error <= QUANTISED_ERROR + 1e-3
    choice = compile_reports()[-1].choice
    assert {FROZEN, INDUCTOR, ONEDNN} & choice.ms.keys() and choice.num_rounds, choice
    assert not freeze or FROZEN in choice.ms


def test_frozen_weights_give_integer_kernels(options, monkeypatch):
    monkeypatch.setattr(LibraryTimes, "of", lambda *_: {AS_IT_IS: 3.0, WITH_ONEDNN: 2.0, ONEDNN_PACKED: 1.0})
    model, x = statically_quantised()
    backend = Backend(BackendOptions.from_dict({**options, "freeze": True}), only=FROZEN)
    with torch.no_grad():
        found, codes = run_and_get_code(torch.compile(model, backend=backend.compile), x)
        expected = model(x)
    assert (found - expected).abs().max() <= (QUANTISED_ERROR + 1e-3) * expected.abs().max()
    assert "".join(codes).count("torch.ops.onednn.qlinear_pointwise") == 3  # and no product of floats


def test_eager_quantised_modules_run(options):
    model = quantize_dynamic(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8)).eval())
    x = torch.randn(4, 32)
    compiled = torch.compile(model, backend="foretune", options=options)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-2, atol=1e-2)


def test_a_step_of_the_scale_is_no_error_and_more_is():
    def quantised(x):
        return ((x * 127).round().to(torch.int8).float() / 127,)

    x = torch.linspace(-1, 1, 64)
    for steps, is_right in ((1, True), (5, False)):
        other = lambda x, steps=steps: (quantised(x)[0] + steps / 127,)  # noqa: E731
        _, choice = choose(quantised, {"other": lambda other=other: other}, [x], 1e-3)
        assert ("other" in choice.ms) == is_right
