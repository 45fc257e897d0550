"""The guard: who may run a graph, and what a contest leaves behind."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from foretune.compiler.contest.comparison import rel_error
from foretune.compiler.contest.guard import PYTORCH, choose
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.torch_private import RestartAnalysis
from foretune.errors import UnsupportedError


def slow(x):
    time.sleep(2e-3)
    return (torch.relu(x) + 1,)


def fast(x):
    return (torch.relu(x) + 1,)


def test_the_fastest_right_one_runs():
    run, choice = choose(slow, {"fast": lambda: fast}, [torch.randn(4, 4)], 1e-3)
    assert run is fast and choice.name == "fast" and choice.ms["fast"] < choice.ms[PYTORCH]
    run, choice = choose(slow, {"slower": lambda: lambda x: (time.sleep(5e-3), slow(x))[1]}, [torch.randn(4, 4)], 1e-3)
    assert run is slow and choice.name == PYTORCH


@pytest.mark.parametrize(
    ("contender", "reason"),
    [
        (lambda x: (torch.relu(x),), "differs from PyTorch by"),
        (lambda x: fast(x) * 2, "differs from PyTorch by inf"),
        (lambda x: (fast(x)[0].double(),), "differs from PyTorch by inf"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_and_failing_contenders_are_out(contender, reason):
    run, choice = choose(slow, {"other": lambda: contender}, [torch.randn(4, 4)], 1e-3)
    assert run is slow and reason in choice.refused["other"]


def test_contenders_that_cannot_be_made_are_out():
    def crash():
        raise RuntimeError("the compiler is out of order")

    def decline():
        raise UnsupportedError("nothing to do for me")

    run, choice = choose(slow, {"a": crash, "b": decline, "c": lambda: fast}, [torch.randn(4, 4)], 1e-3)
    assert run is fast and choice.refused == {
        "a": "RuntimeError: the compiler is out of order",
        "b": "nothing to do for me",
    }


def test_small_graphs_stay():
    def contender():
        raise AssertionError("must not be made")

    run, choice = choose(lambda x: x, {"other": contender}, [torch.ones(2)], 1e-3)
    assert choice.name == PYTORCH and "as much as handing over" in choice.refused["other"]
    assert run(3) == 3


def test_random_and_failing_programs_stay_with_pytorch():
    for program, reason in (
        (lambda x: (slow(x)[0] + torch.rand(4, 4),), "random operators"),
        (lambda x: 1 / 0, "PyTorch's own run fails"),
    ):
        state = torch.get_rng_state()
        run, choice = choose(program, {"other": lambda: fast}, [torch.randn(4, 4)], 1e-3)
        assert run is program and reason in choice.refused["other"]
        assert not torch.equal(state, torch.get_rng_state())  # drawn by this test's input only
        state = torch.get_rng_state()
        choose(program, {"other": lambda: fast}, [torch.ones(4, 4)], 1e-3)
        assert torch.equal(state, torch.get_rng_state())


def test_inputs_stay_as_they_are_and_changes_are_compared():
    def change(x, y):
        time.sleep(2e-3)
        x.add_(1)
        return (x * y,)

    def forgets(x, y):
        return ((x + 1) * y,)

    x, y = torch.ones(4), torch.full((4,), 2.0)
    run, choice = choose(change, {"forgets": lambda: forgets}, [x, y], 1e-3)
    assert run is change and "differs" in choice.refused["forgets"]
    assert torch.equal(x, torch.ones(4)) and torch.equal(y, torch.full((4,), 2.0))


def test_gradients_are_compared():
    def program(x):
        time.sleep(2e-3)
        return ((x * x).sum(),)

    def without_gradient(x):
        return ((x * x.detach()).sum(),)

    x = torch.ones(4, requires_grad=True)
    run, choice = choose(program, {"other": lambda: without_gradient}, [x], 1e-3)
    assert run is program and "differs" in choice.refused["other"] and x.grad is None


@pytest.mark.parametrize(
    ("expected", "actual", "error"),
    [
        (torch.tensor([1.0, 100.0]), torch.tensor([2.0, 100.0]), 0.01),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")]), 0.0),
        (torch.tensor([1.0, float("inf")]), torch.tensor([1.0, -float("inf")]), float("inf")),
        (torch.tensor([1.0, float("inf")]), torch.tensor([1.0, float("nan")]), float("inf")),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), float("inf")),
        (torch.zeros(0), torch.zeros(0), 0.0),
        (torch.zeros(2), torch.zeros(3), float("inf")),
        (torch.ones(2).bfloat16(), torch.ones(2).bfloat16() * 1.01, 0.0),
        (torch.ones(2).bfloat16(), torch.ones(2).bfloat16() * 1.5, 0.46875),
        (torch.tensor([1j, 2 + 0j]), torch.tensor([1j, 2 + 1j]), 0.5),
    ],
)
def test_errors(expected, actual, error):
    assert rel_error(expected, actual) == pytest.approx(error, abs=1e-6)


def test_static_inputs_notice_changes():
    weight, statistics = torch.ones(4, requires_grad=True), torch.zeros(8)
    watched = StaticInputs()
    assert not watched.unchanged([weight, statistics])
    watched.keep([weight, statistics])
    assert watched.unchanged([weight, statistics])
    statistics.data.numpy()[3] = 1.0  # not counted by PyTorch, and in the middle
    assert not watched.unchanged([weight, statistics])
    watched.keep([weight, statistics])
    with torch.no_grad():
        weight.mul_(2)
    assert not watched.unchanged([weight, statistics])
    watched.keep([weight, statistics])
    weight.data[1] = 7.0
    assert not watched.unchanged([weight, statistics])
    watched.keep([weight, statistics])
    assert not watched.unchanged([weight.clone(), statistics])
    with torch.inference_mode():
        unseen = torch.ones(4)
        watched.keep([unseen])
        assert watched.unchanged([unseen])
        unseen.mul_(2)
    assert not watched.unchanged([unseen])


def test_a_promise_spares_reading_the_weights():
    weight = torch.ones(4)
    watched = StaticInputs(frozen=True)
    watched.keep([weight])
    weight.numpy()[1] = 2.0
    assert watched.unchanged([weight])  # as promised
    weight.mul_(2)
    assert not watched.unchanged([weight])
    with torch.inference_mode():
        unseen = torch.ones(4)
    watched.keep([unseen])
    assert not watched.unchanged([unseen])  # nobody counts its changes


def contest_in_a_thread(reference, contender, inputs):
    """(choice, numbers that the main thread drew meanwhile, numbers that it drew afterwards)."""
    found, meanwhile = [], []
    thread = threading.Thread(
        target=lambda: found.append(choose(reference, {"other": lambda: contender}, inputs, 1e-3)[1])
    )
    thread.start()
    while thread.is_alive():
        meanwhile.append(float(torch.rand(1)))
        time.sleep(1e-3)
    return found[0], meanwhile, [float(torch.rand(1)) for _ in range(50)]


@pytest.mark.parametrize("is_random", [False, True])
def test_a_contest_beside_the_program_leaves_its_random_numbers_alone(is_random):
    def dropped(x):
        return (torch.nn.functional.dropout(slow(x)[0], 0.5),)

    x = torch.ones(4, requires_grad=True)
    torch.manual_seed(7)
    choice, meanwhile, afterwards = contest_in_a_thread(dropped if is_random else slow, fast, [x])
    torch.manual_seed(7)
    assert meanwhile + afterwards == [float(torch.rand(1)) for _ in range(len(meanwhile) + 50)]
    assert ("draws random numbers" in choice.refused["other"]) if is_random else choice.name == "other"


@pytest.mark.parametrize(("dropout", "refused"), [(0.0, ""), (0.5, "draws random numbers")])
def test_attention_that_drops_nothing_takes_part_beside_the_program(dropout, refused):
    def attention(x):
        time.sleep(2e-3)
        return (torch.nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=dropout),)

    choice, _, _ = contest_in_a_thread(attention, attention, [torch.ones(1, 2, 4, 8)])
    assert refused in choice.refused.get("other", "") and ("other" in choice.ms) != bool(refused)


def test_a_restart_that_dynamo_asks_for_goes_through():
    def make():
        raise RestartAnalysis(restart_reason="a float")

    with pytest.raises(RestartAnalysis):
        choose(slow, {"other": make}, [torch.ones(4, 4)], 1e-3)


def test_a_contest_in_the_foreground_puts_the_random_numbers_back():
    torch.manual_seed(7)
    choose(lambda x: (torch.rand(4) + slow(x)[0],), {"other": lambda: fast}, [torch.ones(4)], 1e-3)
    drawn = float(torch.rand(1))
    torch.manual_seed(7)
    assert drawn == float(torch.rand(1))
