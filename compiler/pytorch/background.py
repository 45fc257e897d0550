"""Work while the program runs, such as tuning: faster kernels are swapped in when they are there."""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from foretune.compiler.contest.choice import Choice
from foretune.compiler.pytorch.graph_report import CompileReport
from foretune.support.once import warn_once
from foretune.support.text import telling_line

if TYPE_CHECKING:
    from foretune.compiler.metaschedule.tuner import Tuner
    from foretune.compiler.pytorch.regions import RegionGraph

_log = logging.getLogger("foretune")
_threads: list[threading.Thread] = []
_lock = threading.Lock()  # of the list
_stop = threading.Event()


class Switch:
    """Calls whatever runs the graph now.

    Attributes:
        run: that; another one may be put in its place at any time.
    """

    def __init__(self, run: Callable) -> None:
        self.run = run

    def __call__(self, *inputs: Any) -> Any:
        """Runs the graph."""
        return self.run(*inputs)


class _Stopped(Exception):
    """The process ends."""


def in_background(job: Callable[[], None], name: str) -> None:
    """Runs a job in a thread, which the end of the process waits for, for a while.

    Args:
        job: raises nothing, and calls `keep_on` between its steps.
        name: of the thread.
    """
    if _stop.is_set():
        return
    thread = threading.Thread(target=job, name=name, daemon=True)
    with _lock:
        _threads[:] = [*(other for other in _threads if other.is_alive()), thread]
        thread.start()


def keep_on() -> None:
    """To be called by jobs between their steps; what it raises ends them when the process ends."""
    if _stop.is_set():
        raise _Stopped


def tune_in_background(
    graphs: Sequence[RegionGraph], make_tuner: Callable[[], Tuner], switch: Switch, report: CompileReport,
    contest: Callable[[], tuple[Callable, Choice]] | None, tell: Callable[[], None] = lambda: None,
) -> None:  # fmt: skip
    """Tunes graphs in a thread, builds them anew, and has the fastest contender run them.

    What was measured is in the database whenever the process ends.

    Args:
        graphs: built already, with the model's picks.
        make_tuner: spends the budget.
        switch: what runs the graph.
        report: what happens is noted there.
        contest: says who is the fastest now; None where nobody else may run the graph.
        tell: called when all is over.
    """
    report.background = "running"
    in_background(lambda: _tune(graphs, make_tuner, switch, report, contest, tell), "foretune-background")


def wait_for_background(timeout_secs: float | None = None) -> bool:
    """Waits until all work in the background is over; False if it is not by then."""
    end = None if timeout_secs is None else time.monotonic() + timeout_secs
    with _lock:
        waiting = list(_threads)
    for thread in waiting:
        thread.join(None if end is None else max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in waiting)


def _tune(
    graphs: Sequence[RegionGraph],
    make_tuner: Callable[[], Tuner],
    switch: Switch,
    report: CompileReport,
    contest: Callable | None,
    tell: Callable[[], None],
) -> None:
    from foretune.compiler.pytorch.regions import kernel_reports

    try:
        kernels = []
        for graph in graphs:
            with contextlib.closing(make_tuner()) as tuner:
                tuned = tuner.tune(graph.tasks, lambda _: keep_on())
            graph.build(tuned.chosen)
            kernels += kernel_reports(graph.tasks, tuned)
            report.add_rungs(tuned)
        report.kernels = kernels
        if contest is not None:
            switch.run, report.choice = contest()
        report.background = "done"
        tell()
    except _Stopped:
        report.background = "stopped"
    except Exception as error:  # the program goes on as it was
        report.background = f"failed: {type(error).__name__}: {telling_line(error)}"
        warn_once(_log, "tuning in the background %s", report.background)


@atexit.register
def _end() -> None:
    _stop.set()
    wait_for_background(timeout_secs=10.0)
