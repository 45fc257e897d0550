"""Inductor with matrix products in oneDNN: frozen weights and free ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code

from foretune.compiler.libraries.products import AS_IT_IS, ONEDNN, ONEDNN_PACKED
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.pytorch.backend import FROZEN, INDUCTOR, Backend, compile_reports
from foretune.compiler.pytorch.backend import ONEDNN as WITH_ONEDNN
from foretune.compiler.pytorch.options import BackendOptions

pytestmark = pytest.mark.usefixtures("fresh_inductor")

GOOD = {AS_IT_IS: 3e-3, ONEDNN: 2e-3, ONEDNN_PACKED: 1e-3}
BAD = {AS_IT_IS: 1e-3, ONEDNN: 1e-3, ONEDNN_PACKED: 1e-3}


@pytest.fixture
def backend(tmp_path):
    def make(only=None, **options):
        made = {"trials": 0, "looks": 0, "progress": False, "database": str(tmp_path / "records.db"), **options}
        return Backend(BackendOptions.from_dict(made), only=only).compile

    return make


def model_and_input():
    model = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16, bias=False), nn.LayerNorm(16)).eval()
    return model, torch.randn(8, 16)


def compiled_code(backend, model, *inputs):
    """(compiled model, its code), after one right answer."""
    with torch.no_grad():
        compiled = torch.compile(model, backend=backend)
        found, codes = run_and_get_code(compiled, *inputs)
        torch.testing.assert_close(found, model(*inputs), rtol=1e-4, atol=1e-5)
    return compiled, "\n".join(codes)


def test_free_weights_go_to_onednn_as_they_are(backend, monkeypatch):
    monkeypatch.setattr(LibraryTimes, "of", lambda *_: GOOD)
    model, x = model_and_input()
    compiled, code = compiled_code(backend(WITH_ONEDNN), model, x)
    assert code.count("= torch.ops.mkldnn._linear_pointwise.default(") == 2 and "extern_kernels.addmm" not in code
    assert compile_reports()[-1].choice.name == WITH_ONEDNN
    with torch.no_grad():
        model[0].weight.data.mul_(3)  # nothing was prepared from it
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


def test_frozen_weights_are_packed_and_what_follows_is_fused(backend, monkeypatch):
    monkeypatch.setattr(LibraryTimes, "of", lambda *_: GOOD)
    model, x = model_and_input()
    compiled, code = compiled_code(backend(FROZEN, freeze=True), model, x)
    calls = [line for line in code.splitlines() if "mkldnn._linear_pointwise.default(" in line and "_frozen" in line]
    assert len(calls) == 2 and "'gelu'" in calls[0] and "foretune.packed_weight" not in code
    with torch.no_grad():
        model[0].weight.mul_(3)  # PyTorch counts this: the graph with free weights runs
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


def test_without_a_gain_inductor_is_as_it_is(backend, monkeypatch):
    monkeypatch.setattr(LibraryTimes, "of", lambda *_: BAD)
    model, x = model_and_input()
    _, code = compiled_code(backend(WITH_ONEDNN), model, x)
    choice = compile_reports()[-1].choice
    assert choice.name == INDUCTOR and "no matrix product faster" in choice.refused[WITH_ONEDNN]
    assert "mkldnn" not in code
    torch._dynamo.reset()
    _, code = compiled_code(backend(FROZEN, freeze=True), model, x)
    assert "mkldnn._linear_pointwise" not in code  # Inductor's own choice holds


def test_tied_and_shared_weights(backend, monkeypatch):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(20, 16), nn.Linear(16, 20, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, ids):
            return self.head(self.embed(ids).mean(1) + self.embed.weight.sum(0))

    monkeypatch.setattr(LibraryTimes, "of", lambda *_: GOOD)
    ids = torch.randint(20, (8, 5))
    for only in (WITH_ONEDNN, FROZEN):
        torch._dynamo.reset()
        _, code = compiled_code(backend(only, freeze=True), Tied().eval(), ids)
        assert "mkldnn._linear_pointwise" in code


def test_real_freezing_takes_part_in_the_contest(backend):
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    _, code = compiled_code(backend(freeze=True), model, torch.randn(2, 3, 24, 24))
    choice = compile_reports()[-1].choice
    assert FROZEN in choice.ms and FROZEN not in choice.refused
    assert code.count("torch.ops.mkldnn._convolution_pointwise.default(") == 2  # Inductor's own has extern_kernels
    assert "'relu'" in code


def test_training_goes_without_it(backend):
    model, x = model_and_input()
    torch.compile(model.train(), backend=backend())(x).sum().backward()
    choice = compile_reports()[-1].choice
    assert WITH_ONEDNN not in choice.ms and WITH_ONEDNN not in choice.refused


def test_a_pass_of_the_users_own_is_run_as_well(backend, monkeypatch):
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class Count(CustomGraphPass):
        calls = 0

        def __call__(self, graph):
            self.calls += 1

        def uuid(self):
            return b"count"

    monkeypatch.setattr(LibraryTimes, "of", lambda *_: GOOD)
    model, x = model_and_input()
    own = Count()
    with torch._inductor.config.patch(joint_custom_post_pass=own):
        _, code = compiled_code(backend(WITH_ONEDNN), model, x)
    assert own.calls and "mkldnn._linear_pointwise" in code
