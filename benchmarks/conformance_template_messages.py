"""What the process that runs PyTorch's tests (`conformance_template_child.py`) is asked, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass

from foretune.workers.messages import Reply, Request


@dataclass(frozen=True)
class Started(Reply):
    """`tests`: names of all that can be run."""

    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start(Request[Started]):
    """The greeting: the `file` of tests, and the `backend`."""

    file: str
    backend: str


@dataclass(frozen=True)
class Result(Reply):
    """The `result` of a test, `ok`, `skipped`, `failed` or `error`, and what it said."""

    result: str = ""
    message: str = ""


@dataclass(frozen=True)
class RunTest(Request[Result]):
    """Runs one `test`."""

    test: str
