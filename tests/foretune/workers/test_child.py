"""A function in a forked child: its reply, its crash, its hang."""

from __future__ import annotations

import os
import time

from foretune.workers.child import in_child, last_line


def test_a_reply_a_crash_and_a_hang():
    assert in_child(lambda: {"status": "ok", "pid": os.getpid()}, 10, 1 << 32)["pid"] != os.getpid()
    assert in_child(lambda: os.kill(os.getpid(), 9), 10, 1 << 32, "the tool") == {
        "status": "build_error",
        "error": "the tool was killed by signal 9",
    }
    assert in_child(lambda: 1 / 0, 10, 1 << 32, failed="run") == {
        "status": "run_error",
        "error": "ZeroDivisionError: division by zero",
    }
    assert in_child(lambda: time.sleep(60), 0.2, 1 << 32) == {"status": "build_timeout", "error": "no end within 0.2 s"}


def test_the_last_line():
    assert last_line("one\ntwo\n\n") == "two" and last_line(" \n") == ""
