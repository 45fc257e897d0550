"""Progress over phases of unlike work, in one line: one total, and an ETA that counts the phases to come.

How long each phase takes is expected beforehand, roughly; while it runs, its own steps tell better.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what shows nothing does without
    from rich.console import Console
    from rich.table import Table

_SECS_BETWEEN_LINES = 30.0
_REFRESHES_A_SEC = 4.0
_BAR_WIDTH = 30
_LEAST_SHARE = 0.1  # of what a phase took so far, which it takes on at least
_MOST_SHARE = 0.99  # that is said to be done before all is

Step = Callable[..., None]


@dataclass(eq=False)
class _Phase:
    name: str
    expected_secs: float
    start: float
    thread: int
    first: tuple[float, int] | None = None  # when the first step was told, and how many were done by then
    done: int = 0
    total: int = 0
    detail: str = ""

    def step(self, done: int, total: int, detail: str = "") -> None:
        """Notes how far it is; what is done when it is first called is not counted into the rate."""
        self.first = self.first or (time.monotonic(), done)
        self.done, self.total, self.detail = done, total, detail

    def remaining_secs(self, now: float) -> float:
        if self.first is not None and self.done > self.first[1]:
            return (now - self.first[0]) / (self.done - self.first[1]) * max(0, self.total - self.done)
        elapsed = now - self.start
        return max(self.expected_secs - elapsed, _LEAST_SHARE * elapsed)

    def __str__(self) -> str:
        count = f" {self.done}/{self.total}" if self.total else ""
        return f"{self.name}{count} {self.detail}".rstrip()


class Phases:
    """The phases of a piece of work. They may lie in each other, or run beside each other in threads.

    Args:
        expected_secs: phase -> seconds that it may take. What begins without standing here counts from then on.

    Attributes:
        took_secs: phase -> seconds that it has taken, when it is over.
    """

    def __init__(self, expected_secs: Mapping[str, float] | None = None) -> None:
        self._to_come = dict(expected_secs or {})
        self._open: list[_Phase] = []
        self._waits: list[str] = []
        self._start, self._share = time.monotonic(), 0.0
        self._lock = threading.Lock()
        self.took_secs: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Step]:
        """A phase lasts as long as this context.

        Yields:
            A function of (done, total, detail="") that says how far the phase is.
        """
        with self._lock:
            expected = self._to_come.pop(name, self.took_secs.get(name, 0.0))
            made = _Phase(name, expected, time.monotonic(), threading.get_ident())
            self._open.append(made)
        try:
            yield made.step
        finally:
            with self._lock:
                self._open.remove(made)
                self.took_secs[name] = self.took_secs.get(name, 0.0) + time.monotonic() - made.start

    @contextlib.contextmanager
    def waiting(self, reason: str) -> Iterator[None]:
        """Says what is waited for, as long as this context lasts."""
        with self._lock:
            self._waits.append(reason)
        try:
            yield
        finally:
            with self._lock:
                self._waits.remove(reason)

    def leave_rest(self) -> None:
        """What has not begun yet will not come."""
        with self._lock:
            self._to_come.clear()

    @property
    def elapsed_secs(self) -> float:
        """Since the work began."""
        return time.monotonic() - self._start

    @property
    def remaining_secs(self) -> float:
        """Until all phases are over: of those beside each other the longest, and then those to come."""
        now = time.monotonic()
        with self._lock:
            return max((p.remaining_secs(now) for p in self._open), default=0.0) + sum(self._to_come.values())

    @property
    def share(self) -> float:
        """Of the time that is over; it never goes back."""
        elapsed = self.elapsed_secs
        whole = elapsed + self.remaining_secs
        self._share = max(self._share, min(_MOST_SHARE, elapsed / whole if whole else 0.0))
        return self._share

    def __str__(self) -> str:
        """What is going on: the phase that began last, of each thread, or what is waited for."""
        with self._lock:
            if self._waits:
                return self._waits[-1]
            return ", ".join({phase.thread: str(phase) for phase in self._open}.values())


@contextlib.contextmanager
def phases_line(label: str, expected_secs: Mapping[str, float], wanted: bool) -> Iterator[Phases]:
    """Shows the progress of all phases on stderr while the context lasts: one bar on a terminal, else a line every half
    minute.

    Args:
        label: what is going on, one word.
        expected_secs: see `Phases`.
        wanted: False shows nothing.
    """
    phases = Phases(expected_secs)
    if not wanted:
        yield phases
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    if console.is_terminal:
        with Live(
            console=console,
            refresh_per_second=_REFRESHES_A_SEC,
            transient=True,
            get_renderable=lambda: _row(label, phases),
        ):
            yield phases
    else:
        with _lines(label, phases, console):
            yield phases


def _row(label: str, phases: Phases) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1))
    share = phases.share
    row.add_row(
        label,
        ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH),
        f"{share:4.0%}",
        duration(phases.elapsed_secs),
        f"ETA {duration(phases.remaining_secs)}",
        Text(str(phases), overflow="ellipsis", no_wrap=True),
    )
    return row


@contextlib.contextmanager
def _lines(label: str, phases: Phases, console: Console) -> Iterator[None]:
    """Prints where the work stands now and then, from a thread, so that a long phase is not silent."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(_SECS_BETWEEN_LINES):
            line = f"{label} {phases.share:.0%}, ETA {duration(phases.remaining_secs)}, {phases}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    thread = threading.Thread(target=work, name="foretune-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def duration(secs: float) -> str:
    """A time to be read, such as `3 min 05 s`."""
    minutes, seconds = divmod(round(secs), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
