"""The lock of measuring processes, in the user's cache folder; and the word of waiting for quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading

import pytest

from foretune.compiler.measure import lock
from foretune.compiler.measure import measurer as module
from foretune.compiler.measure.lock import measuring_lock
from foretune.compiler.measure.measurer import Measurer
from foretune.errors import WorkerError
from foretune.support import once


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    once.forget()
    return tmp_path


def test_one_measures_at_a_time_and_who_waits_says_for_whom(home, caplog):
    order: list[str] = []
    asked = threading.Event()

    @contextlib.contextmanager
    def waiting(reason: str):
        order.append(reason)
        asked.set()
        yield
        order.append("no more")

    def hold() -> None:
        with measuring_lock(waiting):
            order.append("second")

    with measuring_lock(waiting), caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=hold)
        thread.start()
        assert asked.wait(10)
        order.append("own")
    thread.join(10)
    reason = f"waiting for process {os.getpid()}, which measures on this machine"
    assert order == [reason, "own", "no more", "second"] and caplog.text.count(f"{reason}; one process") == 1
    [path] = (home / ".cache" / "foretune").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and path.name.startswith("measuring-")


def test_measurers_wait_for_each_other(home):
    asked = threading.Event()

    @contextlib.contextmanager
    def waiting(reason: str):
        asked.set()
        yield

    with Measurer(num_workers=1, waiting=waiting) as measurer:
        thread = threading.Thread(target=measurer.measure, args=([],))
        with measuring_lock():
            thread.start()
            assert asked.wait(10)
        thread.join(10)
        assert not thread.is_alive()


def test_a_process_that_died_holds_nothing(home):
    program = "import os; from foretune.compiler.measure.lock import measuring_lock as m\nwith m(): os._exit(0)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with measuring_lock(pytest.fail):
        assert lock._lock_path().read_text() == str(os.getpid())


@pytest.mark.parametrize("text", ["", "12; rm", "\u0663", "9" * 99])
def test_what_is_in_the_file_is_not_trusted(home, text):
    with measuring_lock():
        lock._lock_path().write_text(text)
        with open(lock._lock_path()) as file:
            assert lock._holder(file) == ("process " + "9" * 12 if text.startswith("9") else "another process")


def test_a_link_is_not_followed(home, tmp_path_factory):
    victim = tmp_path_factory.mktemp("elsewhere") / "file"
    victim.write_text("mine")
    lock._lock_path().parent.mkdir(parents=True)
    lock._lock_path().symlink_to(victim)
    with pytest.raises(WorkerError, match="remove what is in its place"), measuring_lock():
        pass
    assert victim.read_text() == "mine"


def test_a_home_that_cannot_be_written_is_named(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setenv("HOME", str(home / "file"))
    with pytest.raises(WorkerError, match=r"measuring-.*lock must be a file that this user can write to"):
        measuring_lock().__enter__()


def test_waiting_for_quiet_is_told_now_and_then(measurer, monkeypatch, caplog):
    class Busy:
        def __init__(self, own: object) -> None:
            pass

        def is_disturbed(self) -> bool:
            return True

        def wait(self, limit_secs: float) -> bool:
            return False

    monkeypatch.setattr(module, "Quietness", Busy)
    monkeypatch.setattr(measurer, "_quiet_wait_secs", 7.0)
    with caplog.at_level(logging.WARNING):
        measurer.measure([])
        measurer.measure([])
    assert (
        caplog.text.count(
            "other processes use the processor: 0 candidates are timed again when it is quiet, waiting up to 7 s each"
            " time"
        )
        == 1
    )
