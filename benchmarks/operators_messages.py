"""What the process that checks operators (`operators_child.py`) is asked, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass

from foretune.workers.messages import Reply, Request


@dataclass(frozen=True)
class Started(Reply):
    """`operators`: names of all that can be checked."""

    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start(Request[Started]):
    """The greeting: the `backend`, and PyTorch's `threads`."""

    backend: str
    threads: int


@dataclass(frozen=True)
class Counts(Reply):
    """How many samples are `ok`, `wrong`, end in a `crash`, or were `skipped` (PyTorch's own run fails, two of its runs
    differ, or it has no defined values), and up to 3 messages.
    """

    ok: int = 0
    wrong: int = 0
    crash: int = 0
    skipped: int = 0
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckOperator(Request[Counts]):
    """Runs the first `most` sample inputs of an `operator`, compiled and not."""

    operator: str
    most: int
