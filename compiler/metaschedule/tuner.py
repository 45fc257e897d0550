"""Tuner: spends a budget of measurements on the tasks of a graph and picks a schedule for each.

The planner ranks many traces in latent space, the machine code of the best is looked at while the model knows no
measurement of the task (`code_rung.py`), the best of these are measured, every batch adapts the model, and everything
measured is in the database before the next step. A run that is killed goes on from there.
The task scheduler says whose turn it is: the budget goes where the latency of the whole model gains most.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from foretune.compiler.measure.lock import Waiting
from foretune.compiler.measure.looker import Looker, shared_looker
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.compiler.metaschedule.code_rung import CodeRung
from foretune.compiler.metaschedule.picking import Picker
from foretune.compiler.metaschedule.task_search import TuningProgram
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.space import ScheduleContext, design_spaces, postprocs_of, rewritten_spaces
from foretune.compiler.tir.workload import module_from_program, module_hash
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.costmodel.planning.acquisition import expected_improvement
from foretune.costmodel.planning.halving import groups_of, propose_in_turn
from foretune.costmodel.planning.planner import Planner
from foretune.datasets.records.database import Database
from foretune.errors import IllegalActionError, UnsupportedError
from foretune.record import MeasureRecord, Status, fastest
from foretune.space import DesignSpace
from foretune.support.once import warn_once
from foretune.task import Candidate, Task
from foretune.trace import Trace
from foretune.tuning.callback import SECONDS, Announcer, Callback
from foretune.tuning.rungs import Rung, RungClock
from foretune.tuning.task_scheduler import TaskScheduler

_log = logging.getLogger(__name__)

DEFAULT_TRACE = Trace(())
_FINALISTS = 3


@dataclass(frozen=True)
class Progress:
    """Where a tuning run stands.

    Attributes:
        done, total: measurements of this run; tasks, where nothing is measured.
        task: name of the task that was measured last, or is about to be looked at.
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
        default_secs: workload hash -> measured seconds of the default schedule; missing where it was not measured, or
            failed.
        ranked, looked, measured: what each rung did.
    """

    num_tasks: int = 0
    num_trials: int = 0
    num_reused: int = 0
    chosen: dict[str, Trace] = field(default_factory=dict)
    secs: dict[str, float] = field(default_factory=dict)
    default_secs: dict[str, float] = field(default_factory=dict)
    ranked: Rung = Rung()
    looked: Rung = Rung()
    measured: Rung = Rung()


@dataclass
class TaskState:
    """A task, what was measured of it, and what is planned next."""

    task: Task
    records: dict[str, MeasureRecord]
    proposed: set[str] = field(default_factory=set)
    planned: list[Candidate] | None = None  # for the next batch; None before they are thought of
    promise: float | None = None  # of the next batch; see `Database.set_promise`
    adapted: bool = False  # whether the model knows the records

    def __post_init__(self) -> None:
        self.records = {key: record for key, record in self.records.items() if self.fits(record.trace)}

    def fits(self, trace: Trace) -> bool:
        """Whether the blocks that a trace looks up are there: equal programs of two models may name them
        differently.
        """
        return all(action.attrs[0] in self._names for action in trace.actions if action.op == "GetSBlock")

    @cached_property
    def _names(self) -> frozenset[str]:
        mods = [self._program.mod, *(self._program.start(rewrite).mod for rewrite in self.task.workload.rewrites)]
        return frozenset(
            node["data"]
            for mod in mods
            for node in json.loads(tvm.ir.save_json(mod))["nodes"]
            if node["type"] == "ffi.String"
        )

    @property
    def is_cold(self) -> bool:
        """Whether the model has no measured schedule."""
        return not any(r.status is Status.OK and len(r.trace) for r in self.records.values())

    @property
    def best(self) -> MeasureRecord | None:
        """The fastest that worked."""
        return next(iter(fastest(self.records.values(), 1)), None)

    @cached_property
    def spaces(self) -> list[DesignSpace]:
        """Made when first needed: a task that is tuned already needs none."""
        try:
            return [*design_spaces(self.task), *rewritten_spaces(self.task)]
        except UnsupportedError as error:
            warn_once(_log, "%s keeps its default schedule: %s", self.task.workload.name, error)
            return []

    @cached_property
    def groups(self) -> list[list[DesignSpace]]:
        """The spaces by the rewrite of the program that they schedule."""
        return groups_of(self.task, self.spaces)

    @cached_property
    def _program(self) -> TuningProgram:
        context = ScheduleContext(module_from_program(self.task.workload.program), self.task.target)
        return TuningProgram(
            context.mod,
            context.target,
            self.task.workload.name,
            tuple(postprocs_of(context.context)),
            0,
            self.task.workload.rewrites,
        )

    def program_hash(self, trace: Trace) -> str | None:
        """Of the program that a trace gives; None if the trace is illegal."""
        try:
            return module_hash(self._program.schedule(trace).mod)
        except IllegalActionError:
            return None


class Tuner:
    """Tunes tasks with one model, one database and one measurer.

    Args:
        model: ranks traces; it is adapted on the way.
        database: where records are kept.
        measurer: builds and runs candidates; made when first needed, if None.
        config: budget and search.
        picks: task key -> what the same model picked for it before, with the same seed and without records; added to.
        looker: compiles what is looked at; that of the process by default.
        callbacks: follow the run, until `close`.
        waiting: entered, with the reason, while another process measures on this machine.
    """

    def __init__(
        self,
        model: LatentCostModel,
        database: Database,
        config: TunerConfig = TunerConfig(),
        measurer: Measurer | None = None,
        picks: dict[tuple[str, str], Trace] | None = None,
        looker: Looker | None = None,
        callbacks: Sequence[Callback] = (),
        waiting: Waiting = contextlib.nullcontext,
    ) -> None:
        self._model, self._database, self._config, self._measurer = model, database, config, measurer
        self._picks = {} if picks is None else picks
        self._planner = Planner(model, seed=config.seed)
        self._looker, self._announcer, self._waiting = looker, Announcer(callbacks, SECONDS), waiting
        self._clock = RungClock()

    def close(self) -> None:
        """Ends the measuring processes, and the callbacks' run."""
        try:
            self._announcer.end()
        finally:
            if self._measurer is not None:
                self._measurer.close()

    @one_torch_thread()
    def tune(self, tasks: Sequence[Task], report: Callable[[Progress], None] = lambda progress: None) -> TuneReport:
        """Tunes tasks and picks a schedule for each.

        Args:
            tasks: of one model; the weights of identical ones add up.
            report: called after each batch; without measurements, before each task.
        """
        end = time.perf_counter() + self._config.secs
        self._clock, num_ranked, num_looked = RungClock(), self._planner.num_scored, self._num_looked
        all_states = [
            TaskState(task, {r.trace.key: r for r in self._database.records(task)}) for task in distinct(tasks)
        ]
        states = [s for s in all_states if self._config.trials and self._config.measures(s.task)]
        result = TuneReport(len(all_states), 0, sum(len(s.records) for s in all_states))
        if states:
            self._spend_budget(states, end, result, report)
        left = [state for state in all_states if not state.records or not self._config.trials]
        picks = self._pick_by_model(left, report)
        for state in all_states:
            if state.task.key in picks:
                result.chosen[state.task.workload.hash] = picks[state.task.key]
                continue
            winner = self._winner(state)
            result.chosen[state.task.workload.hash] = winner.trace if winner is not None else DEFAULT_TRACE
            if winner is not None:
                result.secs[state.task.workload.hash] = winner.best_secs
            default = state.records.get(DEFAULT_TRACE.key)
            if default is not None and default.status is Status.OK:
                result.default_secs[state.task.workload.hash] = default.best_secs
        result.ranked = self._clock.rung("rank", self._planner.num_scored - num_ranked)
        result.looked = self._clock.rung("look", self._num_looked - num_looked)
        result.measured = self._clock.rung("measure", result.num_trials)
        return result

    @cached_property
    def _rung(self) -> CodeRung | None:
        """What looks at machine code; None if nothing is to be looked at."""
        if not self._config.looks:
            return None
        return CodeRung(self._model, CodeRanker.bundled(), self._looker or shared_looker())

    @property
    def _num_looked(self) -> int:
        return self._rung.num_looks if self._rung is not None else 0

    def _spend_budget(
        self, states: Sequence[TaskState], end: float, result: TuneReport, report: Callable[[Progress], None]
    ) -> None:
        scheduler = self._scheduler(states)
        while time.perf_counter() < end and (turn := scheduler.next()) is not None:
            index, wanted = turn
            state = states[index]
            num_known = len(state.records)
            measured = self._measure_batch(state, wanted)
            if not measured:
                scheduler.close(index)
                continue
            scheduler.observe(index, len(state.records) - num_known, _best_secs(state.records.values()))
            result.num_trials += measured
            report(Progress(result.num_trials, result.num_trials + int(scheduler.num_left), state.task.workload.name))
        for i in scheduler.closed:
            self._database.set_promise(states[i].task, states[i].promise or 0.0)

    def _scheduler(self, states: Sequence[TaskState]) -> TaskScheduler:
        """A scheduler that knows what was measured before, as if it had seen it batch by batch."""
        config = self._config.scheduler(len(states))
        scheduler = TaskScheduler([s.task.weight for s in states], lambda i: self._promise(states[i]), config)
        for i, state in enumerate(states):
            records = list(state.records.values())
            state.promise = self._database.promise(state.task)
            best = state.best
            is_ended = (
                best is not None and self._database.max_rel_error(best) is not None
            )  # its finalists were measured again, out of order
            step = max(1, len(records)) if is_ended else config.batch_size
            for end in range(step, len(records) + step, step):
                scheduler.observe(
                    i, min(end, len(records)) - (end - step), _best_secs(records[:end]), state.promise is not None
                )
            if state.promise == 0.0 and not self._plan(state):
                scheduler.close(i)
        return scheduler

    def _promise(self, state: TaskState) -> float | None:
        """How much the next batch is expected to decrease the logarithm of the best time; None while the model has no
        measured schedule.
        """
        if state.promise is not None:
            return state.promise
        planned = self._plan(state)
        if state.is_cold:
            return None
        score, spread = self._model.predict_with_spread(state.task, planned)
        state.promise = expected_improvement(score, spread, -math.log(_best_secs(state.records.values())))
        return state.promise

    def _plan(self, state: TaskState) -> list[Candidate]:
        """The next batch without the default schedule; thought of once."""
        if not state.adapted:
            self._model.update(list(state.records.values()))
            state.adapted = True
        if state.planned is None:
            size = sum(space.size for space in state.spaces) - len(state.records.keys() - {DEFAULT_TRACE.key})
            wanted = min(self._config.scheduler(1).batch_size - (DEFAULT_TRACE.key not in state.records), size)
            exclude = frozenset(state.records) | state.proposed
            programs = {r.program_hash for r in state.records.values()}

            def accept(trace: Trace) -> bool:
                found = state.program_hash(trace)
                if found is None or found in programs:
                    state.proposed.add(trace.key)
                    return False
                programs.add(found)
                return True

            rung = self._rung if state.is_cold and wanted > 0 else None
            num = wanted + self._config.looks if rung is not None and rung.serves(state.task) else wanted
            records = list(state.records.values())
            with self._clock.spending("rank"):
                state.planned = propose_in_turn(
                    self._planner, state.task, state.groups, records, num, exclude, accept=accept
                )
            if rung is not None and len(state.planned) > wanted:
                with self._clock.spending("look"):
                    state.planned = rung.choose(rung.submit(state.planned))[:wanted]
        return state.planned

    def _measure_batch(self, state: TaskState, num: int) -> int:
        default = [] if DEFAULT_TRACE.key in state.records else [Candidate(state.task, DEFAULT_TRACE)]
        candidates = (default + self._plan(state) if num > len(default) else default)[:num]
        if not candidates:
            return 0
        records = self._measure(candidates)
        self._database.set_promise(state.task, None)
        state.planned = state.promise = None
        state.proposed.update(c.trace.key for c in candidates)
        fresh = [r for r in records if r.trace.key not in state.records]
        state.records.update((r.trace.key, r) for r in records)
        if state.adapted:
            self._model.update(fresh)
        return len(records)

    def _measure(self, candidates: Sequence[Candidate]) -> list[MeasureRecord]:
        with self._clock.spending("measure"):
            records = self._running_measurer().measure(candidates)
        self._database.add(records)
        for record in records:
            secs = record.best_secs if record.status is Status.OK else math.inf
            self._announcer.tell(record.candidate.task.workload.name, record.status, secs)
        return records

    def _running_measurer(self) -> Measurer:
        if self._measurer is None:
            self._measurer = Measurer(waiting=self._waiting)
        return self._measurer

    def _winner(self, state: TaskState) -> MeasureRecord | None:
        """The fastest record whose output is right; the finalists and the default are measured again, side by side."""
        best = state.best
        if best is not None and self._database.max_rel_error(best) is not None:
            return best
        default = state.records.get(DEFAULT_TRACE.key)
        finalists = fastest(state.records.values(), _FINALISTS)
        again = [r.candidate for r in finalists]
        if default is not None and default.status is Status.OK and default not in finalists:
            again.append(default.candidate)
        rerun = [r for r in self._measure(again) if r.status is Status.OK]
        state.records.update((r.trace.key, r) for r in rerun)
        for record in fastest(state.records.values()):
            error = 0.0 if record.trace == DEFAULT_TRACE else self._running_measurer().max_rel_error(record.candidate)
            self._database.set_checked(record, error, self._config.tolerance)
            if error <= self._config.tolerance:
                return record
            warn_once(
                _log,
                "a schedule of %s gives wrong output (relative error %.3g) and is not used",
                state.task.workload.name,
                error,
            )
        return None

    def _pick_by_model(
        self, states: Sequence[TaskState], report: Callable[[Progress], None]
    ) -> dict[tuple[str, str], Trace]:
        """The model's own choice for each task, by task key; what it chose before stays."""

        def say(number: int, task: Task) -> None:
            if not self._config.trials:
                report(Progress(len(states) - len(left) + number, len(states), task.workload.name))

        known = {} if self._config.trials else {s.task.key: self._picks.get(s.task.key) for s in states}
        picks = {s.task.key: k for s in states if (k := known.get(s.task.key)) is not None and s.fits(k)}
        left = [state for state in states if state.task.key not in picks]
        if left:
            picker = Picker(self._planner, self._rung, self._config.looks, self._config.look_secs, self._clock)
            picks |= {state.task.key: DEFAULT_TRACE for state in left} | picker.pick(left, say)
        if not self._config.trials:
            self._picks.update(picks)
        return picks


def distinct(tasks: Iterable[Task]) -> list[Task]:
    """Tasks with identical ones as one, whose weight is the sum of theirs."""
    found: dict[tuple[str, str], Task] = {}
    for task in tasks:
        known = found.get(task.key)
        found[task.key] = task if known is None else replace(known, weight=known.weight + task.weight)
    return list(found.values())


def _best_secs(records: Iterable[MeasureRecord]) -> float:
    """Seconds of the fastest record; infinite if none worked."""
    return min((r.best_secs for r in records if r.status is Status.OK), default=math.inf)
