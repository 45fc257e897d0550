"""One line for phases of unlike work: the total counts all of them."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from foretune.support import phases as module
from foretune.support.phases import Phases, phases_line


@pytest.fixture
def now(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


def test_the_eta_counts_phases_to_come_and_follows_the_steps_of_this_one(now):
    phases = Phases({"import": 10.0, "tune": 60.0, "contest": 5.0})
    assert phases.remaining_secs == 75 and phases.share == 0
    with phases.phase("import"):
        now[0] += 4
        assert phases.remaining_secs == 6 + 60 + 5
    assert phases.took_secs == {"import": 4} and phases.remaining_secs == 65
    with phases.phase("tune") as step:
        step(10, 30, "conv2d")  # ten were measured before
        now[0] += 20
        step(20, 30, "matmul")  # ten in twenty seconds
        assert phases.remaining_secs == 20 + 5 and str(phases) == "tune 20/30 matmul"
    assert phases.elapsed_secs == 24 and phases.share == pytest.approx(24 / 29)
    phases.leave_rest()
    assert phases.remaining_secs == 0 and phases.share == 0.99


def test_a_phase_without_steps_that_takes_longer_goes_on_and_the_share_never_falls(now):
    phases = Phases({"inductor": 10.0})
    with phases.phase("inductor"):
        now[0] += 9
        before = phases.share
        now[0] += 91
        assert phases.remaining_secs == pytest.approx(10) and phases.share > before
        kept = phases.share
        with phases.phase("import"), phases.phase("build") as step:  # nobody expected them
            step(0, 1000)
            now[0] += 10
            step(1, 1000)
            assert phases.remaining_secs == pytest.approx(9990) and phases.share == kept


def test_phases_beside_each_other_count_as_the_longest(now):
    phases = Phases({"inductor": 10.0, "build": 30.0, "contest": 1.0})
    with phases.phase("inductor"), phases.phase("build"):
        now[0] += 5
        assert phases.remaining_secs == 25 + 1
    with phases.phase("build"):  # once more: as long as before
        assert phases.remaining_secs == 5 + 1


def test_what_is_waited_for_is_told_first():
    phases = Phases()
    assert str(phases) == ""
    with phases.phase("tune") as step:
        step(1, 8, "conv2d")
        with phases.waiting("waits for process 7"):
            assert str(phases) == "waits for process 7"
        assert str(phases) == "tune 1/8 conv2d"
    with pytest.raises(ValueError), phases.phase("build"):
        raise ValueError
    assert str(phases) == ""


def test_each_thread_tells_what_it_does():
    phases, begun, over = Phases(), threading.Event(), threading.Event()

    def work() -> None:
        with phases.phase("tune"), phases.phase("build") as step:
            step(1, 2)
            begun.set()
            over.wait(10)

    with phases.phase("contest"), phases.phase("inductor"):
        thread = threading.Thread(target=work)
        thread.start()
        assert begun.wait(10) and str(phases) == "inductor, build 1/2"
        over.set()
        thread.join(10)
        assert str(phases) == "inductor"


def test_a_terminal_has_one_row(monkeypatch, now):
    phases = Phases({"import": 10.0, "tune": 90.0})
    text = Console(file=io.StringIO(), width=120)
    with phases.phase("import"):
        now[0] += 5
        text.print(module._row("compiling", phases))
    (row,) = text.file.getvalue().splitlines()
    assert row.startswith("compiling ") and "5%" in row and "ETA 1 min 35 s" in row and row.rstrip().endswith("import")


def test_without_a_terminal_a_long_phase_says_that_it_goes_on(capsys, monkeypatch):
    monkeypatch.setattr(module, "_SECS_BETWEEN_LINES", 0.02)
    told = threading.Event()
    with phases_line("compiling", {"inductor": 0.0}, True) as phases, phases.phase("inductor"):
        told.wait(0.5)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert not captured.out and lines and all(line.startswith("compiling ") for line in lines)
    assert lines[-1].endswith("inductor") and ", ETA 0 min 0" in lines[-1]


def test_nothing_if_not_wanted(capsys, monkeypatch):
    monkeypatch.setattr(module, "_SECS_BETWEEN_LINES", 0.01)
    with phases_line("compiling", {}, False) as phases, phases.phase("tune") as step:
        step(1, 2)
        threading.Event().wait(0.1)
    assert capsys.readouterr() == ("", "")
    assert "tune" in phases.took_secs
