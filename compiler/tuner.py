"""Tuner: spends a budget of measurements on the tasks of a graph and picks a schedule for each.

The planner ranks many traces in latent space, the best are measured, every batch adapts the model, and
everything measured is in the database before the next step. A run that is killed goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from foretune.compiler.measure import Measurer
from foretune.compiler.one_thread import one_torch_thread
from foretune.compiler.space import design_spaces
from foretune.costmodel.latent import LatentCostModel
from foretune.costmodel.planner import Planner
from foretune.datasets.database import Database
from foretune.errors import OptionError, UnsupportedError
from foretune.record import MeasureRecord, Status
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace

_log = logging.getLogger(__name__)

DEFAULT_TRACE = Trace(())
_FINALISTS = 3


@dataclass(frozen=True)
class TunerConfig:
    """How to tune.

    Attributes:
        trials: measurements for each task, counting those already in the database.
        batch_size: candidates measured between two adaptations.
        tolerance: largest error of a winner, relative to the largest magnitude of the reference output.
        seed: of the search.
    """

    trials: int = 64
    batch_size: int = 16
    tolerance: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 0 or self.batch_size < 1:
            raise OptionError(f"`trials >= 0` and `batch_size >= 1` must hold, but got {self.trials} and {self.batch_size}")


@dataclass(frozen=True)
class Progress:
    """Where a tuning run stands.

    Attributes:
        done, total: measurements of this run.
        task: name of the task that was measured last.
    """

    done: int
    total: int
    task: str


@dataclass
class TuneReport:
    """What a tuning run did.

    Attributes:
        num_tasks: distinct tasks.
        num_trials: measurements made by this run.
        num_reused: measurements taken from the database.
        chosen: workload hash -> trace to use.
        secs: workload hash -> measured seconds of the chosen trace; missing where nothing was measured.
    """

    num_tasks: int = 0
    num_trials: int = 0
    num_reused: int = 0
    chosen: dict[str, Trace] = field(default_factory=dict)
    secs: dict[str, float] = field(default_factory=dict)


@dataclass
class _TaskState:
    task: Task
    records: dict[str, MeasureRecord]
    proposed: set[str] = field(default_factory=set)
    exhausted: bool = False

    @cached_property
    def spaces(self) -> list[DesignSpace]:
        """Made when first needed: a task that is tuned already needs none."""
        try:
            return list(design_spaces(self.task))
        except UnsupportedError as error:
            _log.warning("%s keeps its default schedule: %s", self.task.workload.name, error)
            return []


class Tuner:
    """Tunes tasks with one model, one database and one measurer.

    Args:
        model: ranks traces; it is adapted on the way.
        database: where records are kept.
        measurer: builds and runs candidates; made when first needed, if None.
        config: budget and search.
    """

    def __init__(self, model: LatentCostModel, database: Database, config: TunerConfig = TunerConfig(), measurer: Measurer | None = None) -> None:
        self._model, self._database, self._config, self._measurer = model, database, config, measurer
        self._planner = Planner(model, seed=config.seed)

    def close(self) -> None:
        """Ends the measuring processes."""
        if self._measurer is not None:
            self._measurer.close()

    @one_torch_thread()
    def tune(self, tasks: Sequence[Task], report: Callable[[Progress], None] = lambda progress: None) -> TuneReport:
        """Tunes tasks and picks a schedule for each.

        Args:
            tasks: distinct tasks.
            report: called after each batch.
        """
        states = [_TaskState(task, {r.trace.key: r for r in self._database.records(task)}) for task in tasks]
        result = TuneReport(len(states), 0, sum(len(s.records) for s in states))
        if self._config.trials == 0:
            for state in states:
                result.chosen[state.task.workload.hash] = self._pick_by_model(state)
            return result
        total = sum(self._missing(s) for s in states)
        for state in states:
            self._model.update(list(state.records.values()))
        while True:
            open_states = [s for s in states if self._missing(s) > 0]
            if not open_states:
                break
            # rounds: every task gets a batch before any gets its next one, so a stop finds all tasks equally far
            for state in sorted(open_states, key=lambda s: len(s.records)):
                measured = self._measure_batch(state)
                result.num_trials += measured
                total = result.num_trials + sum(self._missing(s) for s in states)
                report(Progress(result.num_trials, total, state.task.workload.name))
        for state in states:
            winner = self._winner(state)
            result.chosen[state.task.workload.hash] = winner.trace if winner is not None else DEFAULT_TRACE
            if winner is not None:
                result.secs[state.task.workload.hash] = winner.best_secs
        return result

    def _missing(self, state: _TaskState) -> int:
        if state.exhausted or len(state.records) >= self._config.trials:
            return 0
        size = 1 + sum(space.size for space in state.spaces)
        return max(0, min(self._config.trials, size) - len(state.records))

    def _measure_batch(self, state: _TaskState) -> int:
        wanted = min(self._config.batch_size, self._missing(state))
        candidates = [] if DEFAULT_TRACE.key in state.records else [Candidate(state.task, DEFAULT_TRACE)]
        elites = [r.trace for r in _fastest(state.records.values(), 8)]
        exclude = frozenset(state.records) | state.proposed
        candidates += self._planner.propose(state.task, state.spaces, wanted - len(candidates), exclude, elites)
        if not candidates:
            state.exhausted = True
            return 0
        records = self._measure(candidates)
        state.proposed.update(c.trace.key for c in candidates)
        fresh = [r for r in records if r.trace.key not in state.records]
        state.records.update((r.trace.key, r) for r in records)
        self._model.update(fresh)
        return len(records)

    def _measure(self, candidates: Sequence[Candidate]) -> list[MeasureRecord]:
        if self._measurer is None:
            self._measurer = Measurer()
        records = self._measurer.measure(candidates)
        self._database.add(records)
        return records

    def _winner(self, state: _TaskState) -> MeasureRecord | None:
        """The fastest record whose output is right; the finalists and the default are measured again, side by side."""
        best = self._database.best(state.task)
        if best is not None and self._database.max_rel_error(best) is not None:
            return best
        default = state.records.get(DEFAULT_TRACE.key)
        finalists = _fastest(state.records.values(), _FINALISTS)
        again = [r.candidate for r in finalists]
        if default is not None and default.status is Status.OK and default not in finalists:
            again.append(default.candidate)
        rerun = [r for r in self._measure(again) if r.status is Status.OK]
        state.records.update((r.trace.key, r) for r in rerun)
        for record in _fastest(state.records.values(), len(state.records)):
            error = 0.0 if record.trace == DEFAULT_TRACE else self._measurer.max_rel_error(record.candidate)
            self._database.set_checked(record, error, self._config.tolerance)
            if error <= self._config.tolerance:
                return record
            _log.warning("a schedule of %s gives wrong output (relative error %.3g) and is not used", state.task.workload.name, error)
        return None

    def _pick_by_model(self, state: _TaskState) -> Trace:
        """The model's own choice; what was measured before is not looked at, so the same model picks the same."""
        proposals = self._planner.propose(state.task, state.spaces, 1, greedy=True)
        return proposals[0].trace if proposals else DEFAULT_TRACE


def _fastest(records, num: int) -> list[MeasureRecord]:
    return sorted((r for r in records if r.status is Status.OK), key=lambda r: r.best_secs)[:num]
