"""Progress bars with ETA, on stderr so that stdout stays for results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(label: str, wanted: bool, transient: bool = False) -> Iterator[Callable[..., None]]:
    """Shows a bar while the context lasts.

    Args:
        label: what is going on, one word.
        wanted: False shows nothing.
        transient: take the bar away in the end.

    Yields:
        A function of (done, total, detail="") that moves the bar.
    """
    if not wanted:
        yield lambda done, total, detail="": None
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=transient) as bar:
        row = bar.add_task("", total=None)
        yield lambda done, total, detail="": bar.update(row, completed=done, total=total, description=detail)
