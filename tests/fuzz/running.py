"""Runs mutations of one subject, and sorts what comes of them: refused, taken as it was, silently different,
uncaught.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Try = Callable[[random.Random], bool]  # tries one mutation; whether it was taken


class Silent(Exception):
    """A mutation was taken, and what was read is neither what was written nor told to be damaged."""


@dataclass(frozen=True)
class Subject:
    """Something that reads foreign or stored data.

    Attributes:
        name: for people.
        prepared: a context that makes the originals in a folder, and gives a function that tries one mutation.
    """

    name: str
    prepared: Callable[[Path], contextlib.AbstractContextManager[Try]]


@dataclass
class Outcome:
    """What came of the mutations of a subject.

    Attributes:
        taken: those that were read, rightly.
        uncaught, silent: for each that went wrong, its number and the reason.
    """

    name: str
    num_mutations: int = 0
    taken: int = 0
    uncaught: list[tuple[int, str]] = field(default_factory=list)
    silent: list[tuple[int, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a row of results."""
        return {
            "subject": self.name,
            "num_mutations": self.num_mutations,
            "num_taken": self.taken,
            "num_uncaught": len(self.uncaught),
            "num_silent": len(self.silent),
            "uncaught": self.uncaught[:5],
            "silent": self.silent[:5],
        }


def run(subject: Subject, num_mutations: int, seed: int = 0, first: int = 0, secs: float = math.inf) -> Outcome:
    """Tries so many mutations, or as many as so many seconds allow; number N of a seed is the same whatever ran before
    it.
    """
    outcome = Outcome(subject.name)
    with (
        tempfile.TemporaryDirectory(prefix="foretune-fuzz-") as folder,
        _quiet_log(),
        subject.prepared(Path(folder)) as try_one,
    ):
        deadline = time.monotonic() + secs
        for number in range(first, first + num_mutations):
            if time.monotonic() > deadline:
                break
            outcome.num_mutations += 1
            try:
                outcome.taken += try_one(random.Random(f"{subject.name} {seed} {number}"))
            except Silent as error:
                outcome.silent.append((number, str(error)[:300]))
            except Exception as error:  # the one thing that is looked for
                where = traceback.extract_tb(error.__traceback__)[-1]
                outcome.uncaught.append(
                    (number, f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})")
                )
    return outcome


@contextlib.contextmanager
def _quiet_log() -> Iterator[None]:
    """Thousands of warnings about damage say nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
