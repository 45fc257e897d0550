"""What the worker that plays programs (`worker.py`) is asked, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass

from foretune.workers.messages import Reply, Request


@dataclass(frozen=True)
class Start(Request[Reply]):
    """The greeting: `step`, a file that says what is done right now; it outlives a crash."""

    step: str


@dataclass(frozen=True)
class Operators(Reply):
    """`operators` to ask for programs of, and `translatable`, names of what Relax can translate."""

    operators: tuple[str, ...] = ()
    translatable: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListOperators(Request[Operators]):
    """All operators."""


@dataclass(frozen=True)
class Programs(Reply):
    """`programs`: their names."""

    programs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListPrograms(Request[Programs]):
    """The programs of an `operator` with a `dtype`, from its first `most` samples."""

    operator: str
    dtype: str
    most: int


@dataclass(frozen=True)
class Checked(Reply):
    """What became of a program, see `check.Outcome`."""

    skipped: str = ""
    num_regions: int = 0
    num_calls: int = 0
    num_wrong: int = 0
    num_traced_wrong: int = 0
    operators: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    traced_failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckProgram(Request[Checked]):
    """Plays one `program`; the rest as of `ListPrograms`."""

    program: str
    operator: str
    dtype: str
    most: int


@dataclass(frozen=True)
class CheckRandom(Request[Checked]):
    """Plays the random program of a `seed`."""

    seed: int
