"""ModelGuide: what the latent cost model would measure next, for a collector."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.planning.planner import Planner, PlannerConfig
from foretune.record import Status, Trajectory
from foretune.space import DesignSpace
from foretune.task import Task
from foretune.trace import Trace

_QUICK = PlannerConfig(population=256, generations=2, survivors=32)
_MAX_TIME_SHARE = 0.08
_FIRST_GUESS_SECS = 0.3
_MAX_OBSERVED = 128  # records of a task that the model adapts to; refitting grows with their cube
_log = logging.getLogger(__name__)


class ModelGuide:
    """Proposes traces with a short search of the planner, and adapts the model to what was measured of a task.

    It keeps itself to a small share of the collector's time: where the next search would exceed it, it proposes
    nothing.

    Args:
        model: ranks traces.
        seed: of the search.
    """

    def __init__(self, model: LatentCostModel, seed: int = 0) -> None:
        self._model = model
        self._planner = Planner(model, _QUICK, seed)
        self._unfit: set[tuple[str, str]] = set()
        self._num_observed: Counter[tuple[str, str]] = Counter()
        self._start_secs, self._spent_secs = time.monotonic(), 0.0
        self._search_secs = _FIRST_GUESS_SECS

    @property
    def time_share(self) -> float:
        """Share of the time since the start that was spent here."""
        return self._spent_secs / max(time.monotonic() - self._start_secs, 1e-9)

    def suggest(self, task: Task, spaces: Sequence[DesignSpace], seen: frozenset[str], num: int) -> list[Trace]:
        """At most `num` traces whose keys are not in `seen`, the most promising first."""
        spent = self._spent_secs
        if spent + self._search_secs > _MAX_TIME_SHARE * (time.monotonic() - self._start_secs):
            return []
        traces = self._guarded(task, lambda: [c.trace for c in self._planner.propose(task, spaces, num, seen)])
        self._search_secs += 0.3 * (self._spent_secs - spent - self._search_secs)
        return traces or []

    def observe(self, trajectories: Sequence[Trajectory]) -> None:
        """Adapts the model to new measurements of one task."""
        records = [t.record for t in trajectories if t.record.status is Status.OK and len(t.record.trace)]
        if not records:
            return
        task = records[0].candidate.task
        if self._num_observed[task.key] < _MAX_OBSERVED:
            self._num_observed[task.key] += len(records)
            self._guarded(task, lambda: self._model.update(records))

    def _guarded(self, task: Task, work: Callable[[], Any]) -> Any:
        """Does some work unless the task has been found to be outside the model's knowledge."""
        if task.key in self._unfit:
            return None
        start = time.monotonic()
        try:
            with one_torch_thread():
                return work()
        except Exception as error:  # a guess must not end hours of collecting
            self._unfit.add(task.key)
            _log.warning("the cost model cannot guide %s: %s: %s", task.workload.name, type(error).__name__, error)
            return None
        finally:
            self._spent_secs += time.monotonic() - start
