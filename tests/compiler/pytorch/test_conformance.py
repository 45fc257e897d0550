"""Right on every later call: programs are compiled once on kind values and called again with hostile ones, compared
with PyTorch.

The bounded form plays a part of what is written by hand, some operators of PyTorch's database and some random programs;
`slow` plays all of them, and `benchmarks/conformance.py` more samples and types.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from foretune.compiler.conformance.check import check
from foretune.compiler.conformance.comparison import disagreement, tensors_differ
from foretune.compiler.conformance.hand_programs import hand_programs
from foretune.compiler.conformance.hostile import fills_of, hostile_inputs
from foretune.compiler.conformance.messages import CheckProgram, CheckRandom, ListOperators, ListPrograms, Start
from foretune.compiler.conformance.program import Observation, Program, observe
from foretune.compiler.conformance.random_programs import random_program
from foretune.workers.messages import R, Request
from foretune.workers.process import Death, Silence, WorkerProcess

BOUNDED = ("memory", "changes", "indices", "scattering", "values", "attention", "weights")
EVERY = 6  # program of these groups
OPERATORS = (
    "add",
    "div.floor_rounding",
    "remainder",
    "gather",
    "clamp",
    "max.reduction_with_dim",
    "sort",
    "var",
    "nn.functional.gelu",
)
SEEDS = 8
HANDS = [program.name for program in hand_programs()]
FEW = [name for name in HANDS if name.split("|")[1] in BOUNDED][::EVERY]


class Player:
    """Plays programs in a process that may crash."""

    def __init__(self, folder: Path) -> None:
        self._step = folder / "step"
        self._worker = WorkerProcess("foretune.compiler.conformance.worker", Start(str(self._step)), 300.0)

    def ask(self, request: Request[R]) -> R:
        """A reply; a crash fails the test, with what was done last."""
        try:
            reply = self._worker.request(request, 240.0)
        except (Death, Silence) as error:
            pytest.fail(f"{error}, at {self._step.read_text()}")
        if reply.status != "ok":
            pytest.fail(f"{reply.error}, at {self._step.read_text()}")
        return reply

    def agrees(self, program: str, operator: str, dtype: str = "float32", most: int = 1) -> None:
        """Plays a program of one operator."""
        assert self.ask(CheckProgram(program, operator, dtype, most)).failures == ()

    def all_agree(self, operator: str, dtype: str) -> None:
        """Plays all programs of an operator."""
        names = self.ask(ListPrograms(operator, dtype, most=1)).programs
        found = {name: self.ask(CheckProgram(name, operator, dtype, most=1)).failures for name in names}
        assert {name: failures for name, failures in found.items() if failures} == {}

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    made = Player(tmp_path_factory.mktemp("conformance"))
    yield made
    made.close()


@pytest.mark.parametrize("name", FEW)
def test_programs_by_hand(name, player):
    player.agrees(name, "by hand")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HANDS if name not in FEW])
def test_more_programs_by_hand(name, player):
    player.agrees(name, "by hand")


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators(operator, player):
    player.agrees(f"{operator}|float32|0|inside", operator)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "int32", "float64"])
def test_all_operators(dtype, player):
    wrong = []
    for operator in player.ask(ListOperators()).operators[1:]:
        try:
            player.all_agree(operator, dtype)
        except AssertionError as error:
            wrong.append(f"{operator}: {error}")
    assert wrong == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_programs(seed, player):
    assert player.ask(CheckRandom(seed)).failures == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS, 500))
def test_more_random_programs(seed, player):
    assert player.ask(CheckRandom(seed)).failures == ()


# -- what the suite itself sees ---------------------------------------------------------------------


def played(run: Callable, wrong: Callable, *inputs: torch.Tensor, trains: bool = False) -> list[str]:
    """The failures of a compiler that gives `wrong` for `run`; it stands for one region."""
    from foretune.compiler.pytorch.graph_report import CompileReport, note_graph

    def compile_(_: Callable) -> Callable:
        note_graph(CompileReport(num_regions=1), ())
        return wrong

    return check(Program("made up", run, inputs, trains), compile_).failures


X = torch.linspace(-2, 3, 24).view(4, 6)
WRONG = {
    "nan: output 0": (torch.relu, lambda x: torch.where(x > 0, x, 0.0)),
    "sign of zero": (torch.clone, lambda x: x + 0.0),
    "infinity": (lambda x: x * 2, lambda x: (x * 2).clamp(-3e38, 3e38)),
    "values: output 0": (lambda x: x + 1, lambda x: x + 1.01),
    "memory: input 0 and output 0 share memory": (torch.clone, lambda x: x),
    "memory: input 0 and output 0 share no memory": (lambda x: x[1:], lambda x: x[1:].clone()),
    "memory: output 0 and output 1 share memory": (lambda x: (x + 1, x + 1), lambda x: (x.add(1),) * 2),
    "memory: written outside": (lambda x: x.mul_(2), lambda x: x.as_strided((25,), (1,)).mul_(2)[:24].view(4, 6)),
    "values: input after the call 0": (lambda x: x.mul_(2)[0], lambda x: (x * 2)[0]),
    "error: nothing raised": (lambda x: 1 // int(x.nansum().item() != 0) + x, lambda x: x + 1),
    "error: ZeroDivisionError": (lambda x: x + 1, lambda x: 1 // int(x.nansum().item() != 0) + x),
    "dtype": (lambda x: x + 1, lambda x: x.double() + 1),
    "shape": (lambda x: x.sum(0), lambda x: x.sum(0, keepdim=True)),
    "strides": (lambda x: x + 1, lambda x: x.t().contiguous().t() + 1),
}


@pytest.mark.parametrize("telling", WRONG)
def test_a_wrong_compiler_is_caught(telling):
    failures = played(*WRONG[telling], X)
    assert any(telling in text for text in failures), failures


def test_a_right_compiler_passes():
    assert played(lambda x: torch.softmax(x, -1), lambda x: torch.softmax(x, -1), X) == []
    assert played(lambda x: x.exp().sum(), lambda x: x.exp().sum(), X, trains=True) == []


def test_wrong_gradients_are_caught():
    failures = played(lambda x: x * x.detach() * 2, lambda x: x * x, X, trains=True)
    assert any("gradient" in text or "values" in text for text in failures)


def test_sums_of_huge_numbers_may_overflow_in_one_order_only():
    exact = torch.tensor([3e38], dtype=torch.float64)
    assert tensors_differ(torch.tensor([math.inf]), torch.tensor([3e38]))
    assert not tensors_differ(torch.tensor([math.inf]), torch.tensor([3e38]), exact)
    assert not tensors_differ(torch.tensor([math.inf]), torch.tensor([math.nan]), exact)
    assert tensors_differ(torch.tensor([1.0]), torch.tensor([math.nan]), exact)


def test_signs_of_zeros_are_left_to_sums():
    seen = [Observation(outputs=[torch.tensor([value])]) for value in (0.0, -0.0)]
    assert "sign of zero" in disagreement(*seen) and not disagreement(*seen, sums=True)


def test_errors_are_compared_by_class():
    index, other = Observation(error=IndexError("far")), Observation(error=RuntimeError("far"))
    assert not disagreement(index, Observation(error=IndexError("other words")))
    assert "RuntimeError: far where PyTorch raises IndexError" in disagreement(index, other)


def test_hostile_calls_keep_shapes_types_and_strides():
    kind = (torch.randn(3, 4).t(), torch.randint(1, 5, (4,)), torch.ones(2, dtype=torch.bool), torch.tensor(1.5))
    calls = dict(hostile_inputs(kind))
    assert {
        "all inputs specials",
        "input 0 middle nan",
        "input 1 far negative",
        "input 2 all false",
        "specials shifted by 2",
    } <= {*calls}
    for inputs in calls.values():
        assert all(a.shape == b.shape and a.dtype == b.dtype and a.stride() == b.stride() for a, b in zip(kind, inputs))
    assert not fills_of(torch.complex64)


def test_inputs_that_share_memory_do_so_in_copies():
    base = torch.arange(6.0)
    seen = observe(lambda x, y: x.add_(1).sum() + y.sum(), (base[:4], base[2:]))
    assert (
        (0, 1) in seen.shared
        and seen.fences_hold
        and seen.inputs[1].tolist() == [3, 4, 4, 5]
        and base.tolist() == [0, 1, 2, 3, 4, 5]
    )


def test_a_seed_gives_one_program():
    assert str(random_program(3)[0]) == str(random_program(3)[0]) != str(random_program(4)[0])
    assert all(torch.equal(a, b) for a, b in zip(random_program(3)[1], random_program(3)[1]))
