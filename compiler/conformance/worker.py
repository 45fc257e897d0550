"""Plays programs of the conformance suite: `python -m foretune.compiler.conformance.worker`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from foretune.compiler.conformance.check import check
from foretune.compiler.conformance.hand_programs import hand_programs
from foretune.compiler.conformance.layouts import alike
from foretune.compiler.conformance.messages import (
    Checked,
    CheckProgram,
    CheckRandom,
    ListOperators,
    ListPrograms,
    Operators,
    Programs,
    Start,
)
from foretune.compiler.conformance.operator_programs import database, sample_programs
from foretune.compiler.conformance.program import Program
from foretune.compiler.conformance.random_programs import check_random
from foretune.compiler.conformance.weights import check_weights
from foretune.compiler.pytorch.partition import translatable_operators
from foretune.support.scratch import ScratchFolder
from foretune.workers.messages import Reply
from foretune.workers.process import limit_memory
from foretune.workers.serve import Handlers, Service, serve

MEMORY_BYTES = 8 << 30


class Player:
    """Answers requests.

    Args:
        folder: for records.
        step: file that says what is done right now; it outlives a crash.
    """

    def __init__(self, folder: str, step: Path) -> None:
        self._options = {"trials": 0, "database": f"{folder}/records.db", "progress": False, "guard": False, "looks": 0}
        self._step = step
        self._programs: dict[str, Program] = {}

    @property
    def handlers(self) -> Handlers:
        """What answers each kind of request."""
        return {
            ListOperators: self.operators,
            ListPrograms: self.programs,
            CheckProgram: self.check,
            CheckRandom: self.random,
        }

    def operators(self, request: ListOperators) -> Operators:
        """Names to ask for programs of, and those of what Relax can translate."""
        return Operators(
            operators=("by hand", *sorted(database())), translatable=tuple(sorted(translatable_operators()))
        )

    def programs(self, request: ListPrograms) -> Programs:
        """Names of an operator's programs."""
        by_hand = request.operator == "by hand"
        made = hand_programs() if by_hand else sample_programs(request.operator, request.dtype, request.most)
        self._programs = {program.name: program for program in made}
        return Programs(programs=tuple(self._programs))

    def check(self, request: CheckProgram) -> Checked:
        """What becomes of one program."""
        if request.program not in self._programs:
            self.programs(ListPrograms(request.operator, request.dtype, request.most))
        found = self._programs[request.program]
        form = request.program.rpartition("|")[2]
        if found.weights:
            return Checked(**check_weights(found, self._compile, self._announce).to_json())
        outcome = check(found, self._compile, alike if form == "layouts" else None, self._announce)
        return Checked(**outcome.to_json())

    def random(self, request: CheckRandom) -> Checked:
        """What becomes of a random program."""
        return Checked(**check_random(request.seed, self._compile, self._announce).to_json())

    def _compile(self, function: Callable) -> Callable:
        return torch.compile(function, backend="foretune", options=self._options)

    def _announce(self, step: str) -> None:
        self._step.write_text(step)


def start(hello: Start) -> Service:
    """The worker, with a folder for records."""
    warnings.simplefilter("ignore")
    logging.getLogger("foretune").propagate = False
    torch.set_num_threads(1)
    folder = ScratchFolder("foretune-conformance-")
    return Service(Reply(), Player(str(folder.path), Path(hello.step)).handlers, kept=folder)


if __name__ == "__main__":
    limit_memory(MEMORY_BYTES)
    serve({Start: start})
