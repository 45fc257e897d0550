"""Progress when stderr is not a terminal: a line at the start, every half minute, and at the end."""

from __future__ import annotations

from foretune.support import progress


def test_lines_with_rate_and_eta(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.progress_bar("collecting", True) as show:
        for done in range(100, 200, 10):
            show(done, 7300)
            now[0] += 10
        show(7300, 7300)
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.splitlines() == [
        "collecting 100/7300",
        "collecting 130/7300, 1/s, ETA 1 h 59 min",
        "collecting 160/7300, 1/s, ETA 1 h 59 min",
        "collecting 190/7300, 1/s, ETA 1 h 58 min",
        "collecting 7300/7300, 72/s, ETA 0 min 00 s",
    ]


def test_nothing_if_not_wanted(capsys):
    with progress.progress_bar("collecting", False) as show:
        show(1, 2)
    assert capsys.readouterr() == ("", "")
