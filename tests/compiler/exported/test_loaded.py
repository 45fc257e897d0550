"""A loaded program runs as its user calls it; the compiled form is made once, for the example's shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foretune.compiler.exported.loaded import LoadedProgram
from foretune.errors import OptionError


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()


class Counter:
    """A compiler that makes the graph itself, and counts."""

    def __init__(self):
        self.num_made = self.num_runs = 0

    def __call__(self, gm, inputs):
        self.num_made += 1

        def run(*values):
            self.num_runs += 1
            return gm.forward(*values)

        return run


def loaded(model, args, kwargs=None, **options):
    program = torch.export.export(model, args, kwargs, **options)
    counter = Counter()
    return LoadedProgram(program, program.module(check_guards=False), counter), counter


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 2)).eval()


WIDE = torch.arange(60.0).view(5, 12)
WAYS = {  # (context, input, whether the compiled form runs)
    "plain": (torch.no_grad, lambda: torch.randn(5, 6), True),
    "with gradients on": (torch.enable_grad, lambda: torch.randn(5, 6), True),
    "inference mode": (torch.inference_mode, lambda: torch.randn(5, 6), True),
    "normal tensor in inference mode": (torch.inference_mode, lambda: WIDE[:, :6].contiguous(), True),
    "transposed": (torch.no_grad, lambda: torch.randn(6, 5).t(), True),
    "cut out": (torch.no_grad, lambda: WIDE[:, 3:9], True),
    "behind an offset": (torch.no_grad, lambda: torch.randn(33)[3:].view(5, 6), True),
    "expanded": (torch.no_grad, lambda: torch.randn(1, 6).expand(5, 6), True),
    "a parameter": (torch.no_grad, lambda: nn.Parameter(torch.randn(5, 6)), True),
    "gradients asked for": (torch.enable_grad, lambda: torch.randn(5, 6, requires_grad=True), False),
    "autocast": (lambda: torch.autocast("cpu", torch.bfloat16), lambda: torch.randn(5, 6), False),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_call(way):
    context, make, is_compiled = WAYS[way]
    run, counter = loaded(net(), (torch.randn(5, 6),))
    before = counter.num_runs
    with context():
        x = make()
        actual = run(x)
        torch.testing.assert_close(
            actual,
            net()(x),
            check_dtype=way != "autocast",
            rtol=0.02 if way == "autocast" else None,
            atol=0.02 if way == "autocast" else None,
        )
    assert counter.num_made == 1 and (counter.num_runs > before) == is_compiled


def test_gradients_reach_the_inputs():
    run, _ = loaded(net(), (torch.randn(5, 6),))
    ours, theirs = (torch.ones(5, 6, requires_grad=True) for _ in range(2))
    run(ours).sum().backward()
    net()(theirs).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert not run(torch.ones(5, 6)).requires_grad and not any(p.requires_grad for p in run.parameters())


def test_settings_of_the_process_do_not_compile_it_again():
    run, counter = loaded(net(), (torch.randn(5, 6),))
    x, threads = torch.randn(5, 6), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        torch.testing.assert_close(run(x), net()(x), check_stride=False)
        torch._dynamo.reset()
        torch.testing.assert_close(run(x), net()(x), check_stride=False)
    finally:
        torch.set_num_threads(threads)
    assert counter.num_made == 1 and counter.num_runs == 3


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        (
            (torch.randn(3, 6),),
            {},
            r"input 0 is a tensor \[3, 6\] float32; the program was made for a tensor \[5, 6\] float32",
        ),
        ((torch.randn(5, 6).double(),), {}, r"input 0 is a tensor \[5, 6\] float64"),
        ((torch.randn(5, 6, 1),), {}, r"input 0 is a tensor \[5, 6, 1\]"),
        (("x",), {}, "input 0 is 'x'"),
        ((), {}, "missing a required argument"),
        ((torch.randn(5, 6), 1), {}, "too many positional arguments"),
        ((), {"other": 1}, "argument"),
        (([torch.randn(5, 6), 1],), {}, "got 2 inputs"),
    ],
)
def test_other_inputs_are_refused_with_what_it_was_made_for(args, kwargs, reason):
    run, _ = loaded(net(), (torch.randn(5, 6),))
    with pytest.raises(OptionError, match=reason) as caught:
        run(*args, **kwargs)
    assert "the program was made for a tensor [5, 6] float32" in str(caught.value)


def test_arguments_by_name_and_in_another_order():
    class Named(nn.Module):
        def forward(self, x, y, *, scale, shift):
            return x * scale - y + shift

    x, y = torch.randn(3), torch.randn(3)
    run, counter = loaded(Named(), (x, y), {"scale": torch.ones(3), "shift": 2.0})
    expected = Named()(x, y, scale=torch.full((3,), 4.0), shift=2.0)
    torch.testing.assert_close(run(x, y, shift=2.0, scale=torch.full((3,), 4.0)), expected)
    torch.testing.assert_close(run(y=y, x=x, scale=torch.full((3,), 4.0), shift=2.0), expected)
    with pytest.raises(OptionError, match=r"input 3 is 5\.0"):
        run(x, y, scale=torch.ones(3), shift=5.0)
    assert counter.num_made == 1


def test_one_tensor_for_two_inputs():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + 2 * y

    run, counter = loaded(Two(), (torch.randn(3), torch.randn(3)))
    x = torch.randn(3)
    torch.testing.assert_close(run(x, x), 3 * x)
    assert counter.num_made == 1


def test_changes_in_place_reach_the_caller():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls.add_(1)
            x.add_(1)
            return x * self.calls

    run, _ = loaded(Adds(), (torch.zeros(2, 3),))
    assert run.program.calls.item() == 0  # the run with the examples left no trace
    for x in (torch.zeros(2, 3), torch.zeros(3, 2).t(), torch.zeros(2, 6)[:, ::2]):
        run(x)
        assert torch.equal(x, torch.ones(2, 3))
    assert run.program.calls.item() == 3


def test_views_of_inputs_stay_views():
    class Viewed(nn.Module):
        def forward(self, x):
            return x.t()

    run, _ = loaded(Viewed(), (torch.zeros(2, 3),))
    for x in (torch.zeros(2, 3), torch.zeros(3, 2).t()):
        run(x)[0, 0] = 7.0
        assert x[0, 0] == 7.0


def test_other_sizes_of_dynamic_dimensions_run_with_pytorch():
    rows = torch.export.Dim("rows", min=2, max=32)
    run, counter = loaded(net(), (torch.randn(5, 6),), dynamic_shapes=({0: rows},))
    before = counter.num_runs
    for size in (2, 7, 32):
        x = torch.randn(size, 6)
        torch.testing.assert_close(run(x), net()(x), check_stride=False)
    assert counter.num_made == 1 and counter.num_runs == before
    run(torch.randn(5, 6))
    assert counter.num_runs == before + 1
    with pytest.raises(OptionError, match=r"the program was made for a tensor \[s\d+, 6\] float32"):
        run(torch.randn(33, 6))
    with pytest.raises(OptionError, match=r"input 0 is a tensor \[5, 7\]"):
        run(torch.randn(5, 7))
