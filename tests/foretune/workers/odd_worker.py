"""A worker that does what is asked, and much that a worker should not."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from foretune.workers.messages import Reply, Request
from foretune.workers.serve import Service, serve


@dataclass(frozen=True)
class Started(Reply):
    """`pid` of the process."""

    pid: int = 0


@dataclass(frozen=True)
class Start(Request[Started]):
    """The greeting: `first`, what the start does beside starting."""

    first: str = ""
    alarm_secs: int = 0


@dataclass(frozen=True)
class Did(Reply):
    """`pairs` that were asked for, and a `note`."""

    pairs: tuple[tuple[str, int], ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Do(Request[Did]):
    """`what` to do, with some `pairs`."""

    what: str
    pairs: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Unserved(Request[Reply]):
    """Nothing answers it."""


def start(hello: Start) -> Service:
    """The worker."""
    if hello.first == "raise":
        raise RuntimeError("no such weather")
    return Service(Started(pid=os.getpid()), {Do: do}, hello.alarm_secs)


def do(request: Do) -> Did:
    """Does it."""
    if request.what == "hang":
        time.sleep(60)
    if request.what == "crash":
        os.abort()
    if request.what == "raise":
        raise ValueError("cannot be done")
    if request.what == "print":
        print('{"status": "ok"}', flush=True)
        os.write(1, b"a library says hello\n")
    if request.what == "reply nonsense":
        return Did(note=object())  # type: ignore[arg-type]
    if request.what == "fork and be killed" and not os.fork():
        time.sleep(60)
        os._exit(0)
    if request.what.endswith("be killed"):
        os.kill(os.getpid(), 9)
    return Did(pairs=request.pairs, note="done")


if __name__ == "__main__":
    if "garbage" in os.environ.get("ODD_WORKER", ""):
        sys.stdout.write(os.environ["ODD_WORKER"] + "\n")
        sys.stdout.flush()
        time.sleep(60)
    serve({Start: start})
