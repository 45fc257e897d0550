"""A function in a forked child: its reply, its crash, its hang."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from foretune.workers.child import in_child
from foretune.workers.messages import Reply


@dataclass(frozen=True)
class Pid(Reply):
    pid: int = 0


def test_a_reply_a_crash_and_a_hang():
    assert in_child(lambda: Pid(pid=os.getpid()), Pid, 10, 1 << 32).pid not in (0, os.getpid())
    killed = in_child(lambda: os.kill(os.getpid(), 9), Reply, 10, 1 << 32, "the tool")
    assert killed == Reply("build_error", "the tool was killed by signal 9")
    failed = in_child(lambda: 1 / 0, Pid, 10, 1 << 32, failed="run")
    assert failed == Pid("run_error", "ZeroDivisionError: division by zero")
    hung = in_child(lambda: time.sleep(60), Pid, 0.2, 1 << 32)
    assert hung == Pid("build_timeout", "no end within 0.2 s")


def test_a_child_that_ends_without_a_reply():
    """A program that it runs calls `exit`."""
    assert in_child(lambda: os._exit(0), Reply, 10, 1 << 32, "the tool") == Reply(
        "build_error", "the tool ended with 0"
    )


def test_the_line_that_tells_is_told_and_not_the_last():
    def crash() -> None:
        os.write(2, b"tool: x.c:3: void run(): Assertion `ok' failed.\nStack dump:\n0.\tProgram arguments: tool\n")
        os.kill(os.getpid(), 9)

    error = "the tool was killed by signal 9: tool: x.c:3: void run(): Assertion `ok' failed."
    assert in_child(crash, Reply, 10, 1 << 32, "the tool") == Reply("build_error", error)


def test_a_child_that_is_too_late_before_it_has_begun():
    """Its group is there as soon as it is: else it could not be ended."""
    for _ in range(20):
        assert in_child(lambda: time.sleep(60), Reply, 0.0, 1 << 32).status == "build_timeout"


def test_what_a_child_has_started_ends_with_it(tmp_path):
    def start() -> None:
        started = subprocess.Popen(["sleep", "600"])
        (tmp_path / "pid").write_text(str(started.pid))
        started.wait()

    assert in_child(start, Reply, 1.0, 1 << 32).status == "build_timeout"
    status = Path("/proc", (tmp_path / "pid").read_text(), "status")
    deadline = time.monotonic() + 10
    while status.exists() and "State:\tZ" not in status.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not status.exists() or "State:\tZ" in status.read_text()
