"""The lock of measuring processes, in a temporary folder that others share; and the word of waiting for quiet."""

from __future__ import annotations

import logging
import tempfile
import threading

import pytest

from foretune.compiler.measure import measurer as module
from foretune.compiler.measure.measurer import measuring_lock
from foretune.errors import WorkerError


@pytest.fixture
def shared(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_one_measures_at_a_time(shared):
    order = []
    held = threading.Event()

    def hold() -> None:
        with measuring_lock():
            held.set()
            order.append("first")

    with measuring_lock():
        thread = threading.Thread(target=hold)
        thread.start()
        assert not held.wait(0.3)
        order.append("own")
    thread.join(10)
    assert order == ["own", "first"]
    [folder] = shared.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_to_is_refused(shared):
    with measuring_lock():
        pass
    [folder] = shared.iterdir()
    folder.chmod(0o777)
    with pytest.raises(WorkerError, match=r"only user .* can write to"), measuring_lock():
        pass


def test_a_link_is_not_followed(shared, tmp_path_factory):
    with measuring_lock():
        pass
    [folder] = shared.iterdir()
    (folder / "measuring.lock").unlink()
    folder.rmdir()
    folder.symlink_to(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(WorkerError, match="remove it"), measuring_lock():
        pass


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
