"""Quietness: others are noticed, one's own processes are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from foretune.compiler.measure.quietness import Quietness


@pytest.fixture
def busy_process():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    time.sleep(0.3)
    yield process
    process.kill()
    process.wait()


def test_others_are_noticed(busy_process):
    quietness = Quietness([os.getpid()])
    time.sleep(0.6)
    assert quietness.is_disturbed()
    start = time.monotonic()
    assert not quietness.wait(1.0) and time.monotonic() - start < 30


def test_own_processes_are_not(busy_process, monkeypatch):
    monkeypatch.setattr(
        "foretune.compiler.measure.quietness._QUIET_CORES", 0.5
    )  # the machine that runs the tests is never quite idle
    quietness = Quietness([os.getpid(), busy_process.pid])
    time.sleep(1.0)
    if quietness.is_disturbed():
        pytest.skip("something else runs on this machine")


def test_processes_that_are_gone_do_not_matter():
    assert Quietness([2**22 - 3]).is_disturbed() in (True, False)
