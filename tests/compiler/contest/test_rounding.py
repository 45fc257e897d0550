"""What rounding to 16 bits inside a graph explains, and what it does not."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from torch import nn

from foretune import explain
from foretune.compiler.contest.comparison import observe
from foretune.compiler.contest.guard import choose
from foretune.compiler.contest.rounding import WatchForRounding, observe_widened
from foretune.compiler.pytorch.backend import INDUCTOR, Backend
from foretune.compiler.pytorch.options import BackendOptions


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch.manual_seed(0)


def deep(depth=16, width=256) -> nn.Module:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))]
    return nn.Sequential(*layers).eval()


def test_16_bits_are_seen_inside():
    model, x = nn.Linear(8, 8), torch.randn(2, 8)
    with torch.no_grad(), WatchForRounding() as watch:
        model(x)
    assert not watch.to_16_bits
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), WatchForRounding() as watch:
        model(x)
    assert watch.to_16_bits


def test_a_quantised_graph_is_told_from_one_that_makes_an_image():
    def scaled(x):
        return (x * 100).round().to(torch.int8)

    x = torch.rand(4, 4)
    for program, quantises in (
        (lambda: (scaled(x), x * 2), False),
        (lambda: scaled(x).float() / 100, True),
        (lambda: torch._int_mm(scaled(x), scaled(x)).float(), True),
        (lambda: scaled(x).float() + x.byte(), True),
        (lambda: x.byte() + (x + 1).byte(), False),
        (lambda: torch.ones(4, dtype=torch.uint8).float() * x, False),
    ):
        with WatchForRounding() as watch:
            program()
        assert watch.quantises == quantises and not watch.to_16_bits


@pytest.mark.parametrize("trains", [False, True])
def test_a_widened_run_is_that_of_32_bits(trains):
    model, x = deep(2, 32), torch.randn(4, 32)
    inputs = [x, *model.parameters()]
    with torch.set_grad_enabled(trains):
        run = lambda x, *_: (model(x),)  # noqa: E731
        expected = observe(run, inputs, trains)
        with torch.autocast("cpu", torch.bfloat16):
            found = observe_widened(run, inputs, trains, frozenset())
    for e, f in zip([*expected.outputs, *expected.gradients], [*found.outputs, *found.gradients]):
        if isinstance(e, torch.Tensor):
            torch.testing.assert_close(e, f, rtol=1e-4, atol=1e-5)


def test_a_model_of_16_bits_is_widened_with_its_weights():
    model = deep(2, 32)
    narrow = copy.deepcopy(model).bfloat16()
    names = [name for name, _ in narrow.named_parameters()]

    def run(x, *weights):
        return (torch.func.functional_call(narrow, dict(zip(names, weights)), (x,)),)

    x = torch.randn(4, 32).bfloat16()
    with torch.no_grad():
        found = observe_widened(run, [x, *narrow.parameters()], False, frozenset())
        torch.testing.assert_close(found.outputs[0], narrow.float()(x.float()))


def test_what_cannot_be_widened_explains_nothing():
    assert observe_widened(lambda x: (x.view(torch.int16),), [torch.ones(4).bfloat16()], False, frozenset()) is None


def rounding_run(offset):
    """A stack of products in bfloat16, with a float32 result."""
    model, x = deep(), torch.randn(32, 256)

    def eager(x):
        time.sleep(1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            return (model(x).float(),)

    return eager, lambda x: (model(x) + offset,), x


def test_errors_of_pytorchs_own_size_are_accepted_and_larger_ones_are_not():
    with torch.no_grad():
        eager, exact, x = rounding_run(0.0)
        run, choice = choose(eager, {"exact": lambda: exact}, [x], 1e-3)
        assert "exact" in choice.ms and not choice.refused  # nearer to the truth than PyTorch's own
        eager, wrong, x = rounding_run(0.5)
        run, choice = choose(eager, {"wrong": lambda: wrong}, [x], 1e-3)
        assert run is eager and "differs from PyTorch by" in choice.refused["wrong"]


def test_inductor_takes_part_under_autocast(tmp_path):
    model, x = deep(), torch.randn(32, 256)
    options = {"trials": 0, "looks": 0, "progress": False, "database": str(tmp_path / "records.db")}
    backend = Backend(BackendOptions.from_dict(options))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.compile(model, backend=backend.compile)(x)
    said = str(explain(model))
    assert f"without {INDUCTOR}:" not in said and "resampled contests" in said
