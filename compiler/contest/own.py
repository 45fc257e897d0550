"""Contests for sizes of a dynamic graph that are seen often, between what runs all sizes and what is made for these.

What takes part is begun in the call that such a size is found in; the rest of making it, and the contest, go on in a
thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from foretune.compiler.contest.choice import Choice
from foretune.compiler.contest.comparison import copies_beside
from foretune.compiler.contest.guard import choose
from foretune.compiler.contest.modes import modes_of_this_thread
from foretune.support.text import telling_line

_log = logging.getLogger("foretune")


class SizeReport(Protocol):
    """What became of some sizes: `running`, `done` or why it failed, the choice, and seconds that a call waited."""

    background: str
    choice: Choice
    secs: float


@dataclass(frozen=True)
class AllSizes:
    """What runs all sizes.

    Attributes:
        reference: PyTorch's own graph.
        contenders: name -> makes one; they are made already.
        choice: which of all is used.
    """

    reference: Callable
    contenders: Mapping[str, Callable[[], Callable]]
    choice: Choice


class OwnContests:
    """Makes what runs a graph for the sizes of one call, where that is faster than what runs all sizes.

    Args:
        shared: what runs all sizes.
        fixed: positions of inputs that are the same from call to call, so that the contest need not copy them.
        begin: begins to make contenders for the sizes of these inputs, and notes in the report what it does; returns
            name -> makes one.
        make_report: of the sizes of these inputs.
        start: runs a job in a thread.
        tolerance: largest error accepted.
    """

    def __init__(
        self,
        shared: AllSizes,
        fixed: frozenset[int],
        begin: Callable[[Sequence[Any], Any], Mapping[str, Callable[[], Callable]]],
        make_report: Callable[[Sequence[Any]], SizeReport],
        start: Callable[[Callable[[], None]], None],
        tolerance: float,
    ) -> None:
        self._shared, self._fixed, self._begin = shared, fixed, begin
        self._make_report, self._start, self._tolerance = make_report, start, tolerance

    def __call__(self, inputs: Sequence[Any], done: Callable[[Callable | None], None]) -> None:
        """Begins to make what runs inputs of these sizes.

        Args:
            inputs: of a call.
            done: is given what runs the graph, or None where the one for all sizes is the fastest here as well.
        """
        report, start = self._make_report(inputs), time.perf_counter()
        report.background = "running"
        try:
            kept = copies_beside(inputs, self._fixed)
            contenders = self._begin(inputs, report)
        except Exception as error:  # of any kind: the program goes on as it was
            _fail(report, error)
            done(None)
            return
        report.secs = time.perf_counter() - start
        modes = modes_of_this_thread()

        def finish() -> None:
            run = None
            try:
                with modes():
                    run = self._choose(kept, contenders, report)
                report.background = "done"
            except Exception as error:  # of any kind, as above
                _fail(report, error)
            done(run)

        self._start(finish)

    def _choose(
        self, inputs: Sequence[Any], contenders: Mapping[str, Callable[[], Callable]], report: SizeReport
    ) -> Callable | None:
        shared = self._shared
        run, choice = choose(shared.reference, {**shared.contenders, **contenders}, inputs, self._tolerance)
        report.choice = choice
        return None if choice.name == shared.choice.name else run


def _fail(report: SizeReport, error: Exception) -> None:
    report.background = f"failed: {type(error).__name__}: {telling_line(error)}"
    _log.info("kernels for sizes that are seen often: %s", report.background)
