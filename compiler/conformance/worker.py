"""Plays programs of the conformance suite, one request a line: `python -m foretune.compiler.conformance.worker`."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from foretune.compiler.conformance.check import check
from foretune.compiler.conformance.hand_programs import hand_programs
from foretune.compiler.conformance.layouts import alike
from foretune.compiler.conformance.operator_programs import database, sample_programs
from foretune.compiler.conformance.program import Program
from foretune.compiler.conformance.random_programs import check_random
from foretune.compiler.conformance.weights import check_weights
from foretune.compiler.pytorch.partition import translatable_operators
from foretune.workers.process import limit_memory

MEMORY_BYTES = 8 << 30


class Player:
    """Answers requests.

    Args:
        folder: for records.
        step: file that says what is done right now; it outlives a crash.
    """

    def __init__(self, folder: str, step: Path) -> None:
        self._options = {"trials": 0, "database": f"{folder}/records.db", "progress": False, "guard": False}
        self._step = step
        self._programs: dict[str, Program] = {}

    def operators(self) -> dict[str, Any]:
        """Names to ask `programs` for, and those of what Relax can translate."""
        return {"operators": ["by hand", *sorted(database())], "translatable": sorted(translatable_operators())}

    def programs(self, operator: str, dtype: str, most: int) -> dict[str, Any]:
        """Names of an operator's programs."""
        made = hand_programs() if operator == "by hand" else sample_programs(operator, dtype, most)
        self._programs = {program.name: program for program in made}
        return {"programs": [*self._programs]}

    def check(self, program: str, operator: str, dtype: str, most: int) -> dict[str, Any]:
        """What becomes of one program."""
        if program not in self._programs:
            self.programs(operator, dtype, most)
        found = self._programs[program]
        form = program.rpartition("|")[2]
        if found.weights:
            return check_weights(found, self._compile, self._announce).to_json()
        return check(found, self._compile, alike if form == "layouts" else None, self._announce).to_json()

    def random(self, seed: int) -> dict[str, Any]:
        """What becomes of a random program."""
        return check_random(seed, self._compile, self._announce).to_json()

    def _compile(self, function: Callable) -> Callable:
        return torch.compile(function, backend="foretune", options=self._options)

    def _announce(self, step: str) -> None:
        self._step.write_text(step)


def serve(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Answers requests: `{"verb", ...}`."""
    hello = json.loads(next(lines))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        player = Player(folder, Path(hello["step"]))
        verbs = {name: getattr(player, name) for name in ("operators", "programs", "check", "random")}
        yield {}
        for line in lines:
            request = json.loads(line)
            yield verbs[request.pop("verb")](**request)


def main() -> None:
    """Serves until stdin closes."""
    limit_memory(MEMORY_BYTES)
    warnings.simplefilter("ignore")
    logging.getLogger("foretune").propagate = False
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for reply in serve(iter(sys.stdin.readline, "")):
        replies.write(json.dumps({"status": "ok", **reply}) + "\n")


if __name__ == "__main__":
    main()
