"""Kernels for the sizes of a dynamic graph that come up most."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import foretune
from foretune.compiler.contest import guard, sizes
from foretune.compiler.contest.race import RaceResult
from foretune.compiler.contest.sizes import BySize
from foretune.compiler.graphs.sizes import put_in_sizes
from foretune.compiler.pytorch.backend import MIXED, PYTORCH, TVM, compile_reports
from foretune.compiler.pytorch.background import wait_for_background
from foretune.compiler.pytorch.inductor import own_graph


@pytest.fixture(autouse=True)
def fresh_dynamo(monkeypatch):
    torch._dynamo.reset()
    torch.manual_seed(0)
    monkeypatch.setattr(sizes, "_FEWEST_CALLS", 3)


@pytest.fixture
def tvm_wins(monkeypatch):
    """Contests are decided by the order of names: what TVM made wins where it takes part."""

    def race(runs, *_):
        order = [name for name in (TVM, MIXED, PYTORCH) if name in runs] + [n for n in runs if n.startswith("ind")]
        return RaceResult({name: [1.0 + order.index(name)] * 7 for name in order})

    monkeypatch.setattr(guard, "race", race)
    monkeypatch.setattr(guard, "_TOO_SMALL_SECS", 0.0)


@pytest.fixture
def options(tmp_path):
    return {"trials": 0, "looks": 0, "database": str(tmp_path / "records.db"), "progress": False}


class Tokens(nn.Module):
    """A block as servers run it: products, an average over the length, a mask made of it, a cache that it writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(16, 64), nn.Linear(64, 16), nn.LayerNorm(16)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen.add_(x.shape[1])
        mask = torch.arange(x.shape[1]) < x.shape[1] - 1
        y = self.norm(x + self.down(torch.nn.functional.gelu(self.up(x))))
        return y * mask[:, None], y.mean(1), x.transpose(1, 2)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_all_lengths_are_right_and_the_frequent_one_has_kernels(options, tvm_wins, mode):
    model, plain = Tokens().eval(), Tokens().eval()
    plain.load_state_dict(model.state_dict())
    compiled = torch.compile(model, backend="foretune", options=options, dynamic=True)

    def check(length: int) -> None:
        x = torch.randn(9, length, 16)
        expected, found = plain(x), compiled(x)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        assert found[2].data_ptr() == x.data_ptr() and torch.equal(model.seen, plain.seen)

    with mode():
        for length in (*range(1, 9), 5, 5, 5):
            check(length)
        assert wait_for_background(300.0)
        report = next(report for report in compile_reports()[::-1] if report.sizes)
        (name, own), *others = report.sizes.items()
        assert name.endswith("=5") and not others and own.background == "done", own
        assert own.choice.name == TVM and own.num_regions, own.choice
        for length in (5, 4, 5, 8):
            check(length)
        with torch.no_grad():  # weights that change are seen
            for parameter in (*model.parameters(), *plain.parameters()):
                parameter.mul_(-0.5)
        check(5), check(6)
    told = str(foretune.explain(model))
    assert f"{name}, which is seen often: run by tvm" in told


def test_a_size_runs_what_was_made_for_it(options, tvm_wins, monkeypatch):
    made = []
    kept = BySize._take
    monkeypatch.setattr(BySize, "_take", lambda self, *given: (made.append((self, given)), kept(self, *given))[1])
    compiled = torch.compile(
        lambda x: torch.softmax(x * 2 + 1, 1).sum(0), backend="foretune", options=options, dynamic=True
    )
    with torch.no_grad():
        for length in (5, 5, 5):
            compiled(torch.randn(7, length))
        assert wait_for_background(300.0)
        ((run, (size, own)),) = made
        calls = []
        run._own[size] = lambda *inputs: (calls.append(inputs[:2]), own(*inputs))[1]
        for length in (5, 6):
            x = torch.randn(7, length)
            torch.testing.assert_close(compiled(x), torch.softmax(x * 2 + 1, 1).sum(0))
        assert calls == [size] and set(size) == {5, 7}


def test_it_can_be_switched_off(options, tvm_wins):
    compiled = torch.compile(Tokens().eval(), backend="foretune", options={**options, "sizes": 0}, dynamic=True)
    with torch.no_grad():
        for length in (5, 5, 5, 5):
            compiled(torch.randn(2, length, 16))
    assert wait_for_background(60.0) and not compile_reports()[-1].sizes


def test_training_and_failures_stay_as_they_were(options, tvm_wins, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such graph")

    monkeypatch.setattr("foretune.compiler.pytorch.backend.put_in_sizes", fail)
    model = nn.Linear(8, 8)
    compiled = torch.compile(model, backend="foretune", options=options, dynamic=True)
    x = torch.randn(5, 8)
    for _ in range(5):
        compiled(x).sum().backward()
    assert not any(report.sizes for report in compile_reports()[-1:])
    with torch.no_grad():
        for _ in range(5):
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-5)
    (own,) = compile_reports()[-1].sizes.values()
    assert own.background == "failed: RuntimeError: no such graph"


def test_sizes_become_numbers():
    found = []

    def look(gm, inputs):
        found.append((gm, inputs))
        return gm.forward

    with torch.no_grad():
        torch.compile(lambda x: x.view(-1)[: x.shape[0] * 2] + x.shape[1], backend=look, dynamic=True)(torch.ones(4, 6))
    gm, inputs = found[0]
    positions = {i: str(x) for i, x in enumerate(inputs) if isinstance(x, torch.SymInt)}
    x = torch.randn(3, 5)
    sizes = {str(symbol): size for symbol, size in zip(positions.values(), x.shape)}
    given = [sizes[positions[i]] if i in positions else x for i in range(len(inputs))]
    made = put_in_sizes(own_graph(gm), given, positions)
    assert len(made.graph.find_nodes(op="placeholder")) == 1 and len(gm.graph.find_nodes(op="placeholder")) == 3
    assert torch.equal(made(x)[0], x.view(-1)[:6] + 5)
