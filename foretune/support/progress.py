"""Progress with rate and ETA, on stderr so that stdout stays for results: a bar on a terminal, else a line now and
then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from foretune.support.phases import duration

_SECS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def progress_bar(label: str, wanted: bool, transient: bool = False) -> Iterator[Callable[..., None]]:
    """Shows progress while the context lasts.

    Args:
        label: what is going on, one word.
        wanted: False shows nothing.
        transient: take the bar away in the end.

    Yields:
        A function of (done, total, detail="") that shows how far it is. What is done when it is first called is not
        counted into the rate.
    """
    console = Console(stderr=True)
    if not wanted:
        yield lambda done, total, detail="": None
    elif not console.is_terminal:
        yield _Lines(label, console).show
    else:
        with _bar(label, console, transient) as show:
            yield show


@contextlib.contextmanager
def _bar(label: str, console: Console, transient: bool) -> Iterator[Callable[..., None]]:
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=transient) as bar:
        row = bar.add_task("", total=None)
        started = False

        def show(done: int, total: int, detail: str = "") -> None:
            nonlocal started
            if not started:
                bar.reset(row, total=total, completed=done)
                started = True
            bar.update(row, completed=done, total=total, description=detail)

        yield show


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


class _Lines:
    def __init__(self, label: str, console: Console) -> None:
        self._label, self._console = label, console
        self._start: tuple[float, int] | None = None
        self._last_line = float("-inf")

    def show(self, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, done)
        if done < total and now < self._last_line + _SECS_BETWEEN_LINES:
            return
        self._last_line = now
        rate = (done - self._start[1]) / max(now - self._start[0], 1e-9)
        eta = f", {rate:.2g}/s, ETA {duration((total - done) / rate)}" if rate > 0 else ""
        self._console.print(
            f"{self._label} {done}/{total}{eta} {detail}".rstrip(), highlight=False, markup=False, soft_wrap=True
        )
