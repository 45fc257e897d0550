"""Work in a thread beside the caller's own."""

from __future__ import annotations

import threading

import pytest

from foretune.compiler.pytorch import beside
from foretune.compiler.pytorch.beside import Beside
from foretune.errors import UnsupportedError


def test_what_is_put_off_is_done_in_a_thread():
    threads, gate = [], threading.Event()

    def job():
        gate.wait(10)
        threads.append(threading.current_thread().name)
        return lambda x: x + 1

    made = Beside(lambda put_off: put_off(job))
    gate.set()  # the caller was not kept waiting
    assert made.result()(1) == 2 and threads == ["foretune-beside"]


def test_what_comes_late_is_done_at_once():
    kept = []
    Beside(lambda put_off: kept.append(put_off)).result()
    assert kept[0](lambda: len)("abc") == 3


def test_an_error_is_raised_where_the_result_is_wanted():
    def fail():
        raise ValueError("no such kernel")

    made = Beside(lambda put_off: put_off(fail))
    with pytest.raises(ValueError, match="no such kernel"):
        made.result()
    with pytest.raises(KeyError):
        Beside(lambda put_off: {}["nothing"])


def test_a_job_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(beside, "_FEWEST_SECS", 0.05)

    def make(given):
        def job():
            while True:
                given.go_on()

        return given(job)

    with pytest.raises(UnsupportedError, match="was not done in"):
        Beside(make).result()
