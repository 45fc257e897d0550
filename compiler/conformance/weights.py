"""Weights that change after a program was compiled, in every way that there is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from foretune.compiler.conformance.check import Compile, Outcome, check
from foretune.compiler.conformance.program import Program


class Holder(nn.Module):
    """A program some of whose inputs are parameters, in memory that other processes can write to.

    Args:
        program: with the positions of its weights.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program = program
        self.held = nn.ParameterList(program.inputs[i].clone() for i in program.weights)
        self.share_memory()

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Runs the program on inputs and what is held."""
        given, held, weights = iter(inputs), iter(self.held), self._program.weights
        return self._program.run(*[next(held if i in weights else given) for i in range(len(self._program.inputs))])


def _in_place(held: Holder) -> None:
    for weight in held.parameters():
        weight.mul_(-0.5).add_(0.25)


def _through_data(held: Holder) -> None:
    for weight in held.parameters():
        weight.data.mul_(0.5)


def _through_numpy(held: Holder) -> None:
    for weight in held.parameters():
        weight.detach().numpy()[...] *= -2


def _middle_element(held: Holder) -> None:
    for weight in held.parameters():
        flat = weight.detach().numpy().reshape(-1)
        flat[len(flat) // 2] += 1


def _other_process(held: Holder) -> None:
    arrays = [weight.detach().numpy() for weight in held.parameters()]
    child = os.fork()
    if not child:
        for array in arrays:
            array *= 3
        os._exit(0)
    os.waitpid(child, 0)


def _one_step(held: Holder) -> None:
    for weight in held.parameters():
        weight.data -= 0.1 * torch.ones_like(weight)


def _loaded(held: Holder) -> None:
    held.load_state_dict({name: weight * 0.5 - 1 for name, weight in held.state_dict().items()})


def _assigned(held: Holder) -> None:
    held.load_state_dict({name: weight * 2 + 1 for name, weight in held.state_dict().items()}, assign=True)


def _other_data(held: Holder) -> None:
    for weight in held.parameters():
        weight.data = weight.data * 0.75 + 0.125


CHANGES: dict[str, Callable[[Holder], None]] = {
    "in place": _in_place, "through .data": _through_data, "through NumPy": _through_numpy,
    "in the middle": _middle_element, "by another process": _other_process, "by a step of training": _one_step,
    "by loading": _loaded, "by assignment": _assigned, "to other .data": _other_data,
}  # fmt: skip


def check_weights(program: Program, compile_: Compile, announce: Callable[[str], None] = lambda _: None) -> Outcome:
    """Compiles a module that holds some inputs as parameters, and changes them; the same module serves PyTorch's
    calls.
    """
    held = Holder(program)
    given = tuple(x for i, x in enumerate(program.inputs) if i not in program.weights)

    def later(inputs: Sequence[torch.Tensor]) -> Iterator[tuple[str, Sequence[torch.Tensor]]]:
        for name, change in CHANGES.items():
            with torch.no_grad():
                change(held)
            yield f"weights changed {name}", inputs
            yield f"weights changed {name}, again", inputs

    return check(Program(program.name, held, given), compile_, later, announce)
