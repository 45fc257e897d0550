"""What a kind of programs and candidates must offer to be tuned: four verbs, and hooks that can be left as they are."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from foretune.record import MeasureRecord, Status, Trajectory
from foretune.task import Task
from foretune.trace import Trace
from foretune.tuning.paired import Comparison
from foretune.tuning.search import Moves

Candidate = TypeVar("Candidate", bound=Hashable)


@dataclass(frozen=True)
class Prepared:
    """A program that can be tuned.

    Attributes:
        task: it and this machine, as nouns.
        code_hash: of the baseline's code, whose cost is 1.
        features: of the program; empty where there are none.
    """

    task: Task
    code_hash: str
    features: tuple[float, ...] = ()


@dataclass(frozen=True)
class Built(Generic[Candidate]):
    """A candidate and what became of it before it ran.

    Attributes:
        candidate: which.
        status: OK, or how it ended.
        error: the tool's words.
        code_hash: of what runs; equal ones run equally long. Empty if there is none.
        made: what the domain keeps of it.
    """

    candidate: Candidate
    status: Status
    error: str = ""
    code_hash: str = ""
    made: Any = None


@dataclass(frozen=True)
class Measured:
    """What a candidate took.

    Attributes:
        status: OK, or how it ended.
        cost: relative to the baseline's; infinite if it failed. Lower is better.
        error: why it failed.
        trajectory: as it is stored; None of what was only looked at.
    """

    status: Status
    cost: float
    error: str = ""
    trajectory: Trajectory | None = None


@dataclass(frozen=True)
class Compared:
    """A finalist in turns with the baseline.

    Attributes:
        comparison: its gain, with the interval.
        cost: as the trial of the second round tells it.
        facts: attributes of the result that are set if it wins.
    """

    comparison: Comparison
    cost: float
    facts: tuple[tuple[str, Any], ...] = ()


class Domain(ABC, Generic[Candidate]):
    """One program of some kind, with its candidates.

    The verbs in their order: `prepare` once, `build` and `time` for each candidate, `compare` for the finalists. What
    fails is a status, never an exception; `prepare` alone raises, where a program cannot be tuned at all.

    Attributes:
        noun: what a candidate is called in messages.
        source: of its records.
        is_timed: whether costs are times, which a second round must confirm and a later run may go on from; others
            are counted.
        idle_rounds: a strategy that only repeats itself so often has nothing left.
        beside_records: names of a run's folder that are no records.
    """

    noun = "candidate"
    source = "foretune"
    is_timed = True
    idle_rounds = 25
    beside_records: frozenset[str] = frozenset()

    @classmethod
    def open(cls, program: str) -> Domain[Any]:
        """The domain of a program that the command line names; domains of other packages are found by that.

        Raises:
            OptionError: there is no such program.
        """
        raise NotImplementedError

    def moves(self, rng: np.random.Generator) -> Moves[Candidate]:
        """How candidates change; with them the searches of every domain work. Called after `prepare`."""
        raise NotImplementedError

    # -- four verbs ----------------------------------------------------------------------------------

    @abstractmethod
    def prepare(self) -> Prepared:
        """Builds and runs the program as the baseline has it.

        Raises:
            DataError: it cannot be built, or not be checked.
        """

    @abstractmethod
    def build(self, candidate: Candidate, known: Collection[str] = ()) -> Built[Candidate]:
        """Makes what runs; of code whose hash is known no more than the hash is needed."""

    @abstractmethod
    def time(self, built: Built[Candidate]) -> Measured:
        """Runs what was built, compares its output and takes its cost; tells a build's failure, too."""

    @abstractmethod
    def compare(self, built: Many[Built[Candidate]], turns: int) -> list[Compared]:
        """Runs finalists so often in turns with the baseline; one result for each, in order."""

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, trace: Trace) -> Candidate:
        """The candidate of a stored trace.

        Raises:
            IllegalActionError: it has an action that has left the grammar.
        """

    def stored_cost(self, record: MeasureRecord) -> float:
        """The cost of a candidate that an earlier run measured; infinite if it failed."""
        return math.inf

    def discard(self, built: Built[Candidate]) -> None:
        """Removes the files of a candidate that is not needed any more."""

    def check(self, built: Built[Candidate]) -> str:
        """Where a finalist is wrong on further inputs; empty where it is nowhere."""
        return ""

    def simplify(self, candidate: Candidate) -> Candidate:
        """A winner without what its code does not need; itself, where nothing is known of that."""
        return candidate

    def why_not(self, candidate: Candidate) -> str:
        """Why a candidate is not tried; empty where nothing speaks against it."""
        return ""

    def learn(self, candidate: Candidate, measured: Measured) -> None:
        """Learns how a candidate ended."""
