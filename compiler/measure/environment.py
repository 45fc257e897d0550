"""The TVM domain as the collector sees it."""

from __future__ import annotations

from collections.abc import Sequence

from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.tir.space import design_spaces, initial_features
from foretune.datasets.records.schema import Rows
from foretune.record import Trajectory
from foretune.space import DesignSpace
from foretune.task import Candidate, Task


class TvmEnvironment:
    """Design spaces of MetaSchedule, and measurements with per-store features, one batch at a time.

    Args:
        measurer: with `store_features=True`.

    Attributes:
        slots: one, for the tasks' own target.
    """

    slots = (None,)

    def __init__(self, measurer: Measurer) -> None:
        self._measurer = measurer

    def design_spaces(self, task: Task) -> Sequence[DesignSpace]:
        """The spaces to sample from."""
        return design_spaces(task)

    def initial_features(self, task: Task) -> Rows:
        """Static features of the unscheduled program, a row for each store."""
        return initial_features(task)

    def measure(self, candidates: Sequence[Candidate]) -> list[Trajectory]:
        """One trajectory for each candidate, in order."""
        return [Trajectory(m.record, (), m.store_features) for m in self._measurer.measure_all(candidates)]

    def interrupt(self) -> None:
        """Ends running measurements in a WorkerError."""
        self._measurer.interrupt()
