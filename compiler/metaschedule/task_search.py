"""TaskSearch: which schedules of one MetaSchedule task to measure next.

Thousands of traces are scored in latent space without being replayed. Only the chosen few are replayed, post-processed
and handed out; what a post-processor rejects, and what gives a program that was handed out before, is replaced by the
next best.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foretune.compiler.metaschedule.online_model import OnlineModel
from foretune.compiler.metaschedule.records import default_schedule, record_of, trace_of
from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import meta_schedule, tvm
from foretune.compiler.tir.space import num_cores, rewritten_spaces, spaces_of
from foretune.compiler.tir.target import target_from_tvm
from foretune.compiler.tir.workload import module_hash
from foretune.costmodel.planning.acquisition import expected_improvement
from foretune.costmodel.planning.halving import groups_of, propose_in_turn
from foretune.costmodel.planning.planner import Planner, PlannerConfig
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.errors import ForetuneError, IllegalActionError, OptionError
from foretune.record import MeasureRecord, Status
from foretune.space import DesignSpace
from foretune.support.once import warn_once
from foretune.support.text import telling_line
from foretune.target import HardwareFeatures, num_usable_cores
from foretune.task import Candidate, Rewrite, Task
from foretune.trace import Trace

_MAX_ROUNDS = 8  # searches for one batch; more than one only where candidates had to be replaced
_MAX_SAMPLED, _SAMPLED_AT_ONCE = 512, 16  # random points for a batch for which no search found any
_MAX_RECALLED = 256  # records of a database that the model adapts to
_CPU_KINDS = frozenset({"llvm", "c"})  # elsewhere an unscheduled program has no threads to run on
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Attributes:
        planner: of the search in latent space.
        first_batch: most candidates of the first batch; each later one has at most twice as many as the one before.
        batch_size: most candidates handed out between two adaptations, where MetaSchedule's `num_trials_per_iter`
            allows more.
        rewrites: search rewrites of the program, too, such as the one with packed weights, beside the given design
            spaces.
        num_elites: measured traces that a search starts from: the fastest of each kind, of the fastest kinds.
        seed: of the search; by default that of the tuning context.
    """

    planner: PlannerConfig = PlannerConfig()
    first_batch: int = 4
    batch_size: int = 16
    rewrites: bool = True
    num_elites: int = 16
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.first_batch < 1 or self.batch_size < 1 or self.num_elites < 0:
            sizes = f"{self.first_batch}, {self.batch_size} and {self.num_elites}"
            raise OptionError(f"`first_batch >= 1`, `batch_size >= 1` and `num_elites >= 0` must hold, but got {sizes}")


@dataclass(frozen=True)
class SearchReport:
    """Counts of the tuning of one task.

    Attributes:
        num_trials: candidates handed out.
        num_illegal: chosen traces that did not replay or that a post-processor rejected.
        num_duplicates: chosen traces that gave a program which was handed out before.
        own_secs: time spent here, all but building and running.
    """

    num_trials: int = 0
    num_illegal: int = 0
    num_duplicates: int = 0
    own_secs: float = 0.0


@dataclass(frozen=True)
class TuningProgram:
    """A program with what a tuning context says of it; without the context, which owns its search strategy.

    Attributes:
        mod, target, name: of the context.
        postprocs: applied to each replayed trace.
        seed: of the search.
        rewrites: of the program; what they make of it is kept, since many traces begin there.
    """

    mod: tvm.IRModule
    target: tvm.target.Target
    name: str
    postprocs: tuple[meta_schedule.postproc.Postproc, ...]
    seed: int
    rewrites: tuple[Rewrite, ...] = ()
    _starts: dict[str, tvm.s_tir.Schedule] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # by the prefix's key

    def schedule(self, trace: Trace) -> tvm.s_tir.Schedule:
        """Replays and post-processes a trace.

        Raises:
            IllegalActionError: TVM refuses an action, or a post-processor rejects the result.
        """
        rewrite = next((r for r in self.rewrites if r.begins(trace)), None)
        schedule = traces.replay(self.mod, trace, start=self.start(rewrite) if rewrite is not None else None)
        try:
            schedule.enter_postproc()
            accepted = all(postproc.apply(schedule) for postproc in self.postprocs)
        except Exception as error:  # TVM raises plain RuntimeError, ScheduleError and others of its own
            raise IllegalActionError(f"{type(error).__name__}: {telling_line(error)}") from error
        if not accepted:
            raise IllegalActionError("a post-processor rejects the schedule")
        return schedule

    def start(self, rewrite: Rewrite) -> tvm.s_tir.Schedule:
        """What a rewrite makes of the program."""
        if rewrite.prefix.key not in self._starts:
            self._starts[rewrite.prefix.key] = traces.replay(self.mod, rewrite.prefix)
        return self._starts[rewrite.prefix.key]


def _kind_of(target: tvm.target.Target) -> str:
    kind: Any = target.kind
    return str(kind.name)


@dataclass(frozen=True)
class _HandedOut:
    trace: Trace
    program_hash: str


@dataclass
class TaskSearch:
    """The tuning of one task.

    Args:
        program: what to tune.
        templates: a sampled schedule of each design space.
        online: ranks traces, and learns.
        config: how to search.
        max_trials: how many candidates to hand out.
    """

    program: TuningProgram
    templates: Sequence[tvm.s_tir.Schedule]
    online: OnlineModel
    config: SearchConfig
    max_trials: int
    report: SearchReport = SearchReport()
    _tried: set[str] = field(default_factory=set)
    _programs: set[str] = field(default_factory=set)
    _measured: list[MeasureRecord] = field(default_factory=list)
    _handed_out: list[_HandedOut] = field(default_factory=list)
    _planned: list[Trace] | None = None
    _num_batches: int = 0

    def __post_init__(self) -> None:
        self._is_left_out = not self._has_fixed_shapes()
        model = self.online.model
        self._rng = np.random.default_rng(self.program.seed)
        self._task = self._make_task()
        self._spaces = self._design_spaces()
        self._planner = Planner(model, self.config.planner, self.program.seed) if self._task is not None else None
        if self._task is not None:
            self.program = replace(self.program, rewrites=self._task.workload.rewrites)
            self._groups = groups_of(self._task, self._spaces)

    def recall(self, database: meta_schedule.database.Database) -> None:
        """Learns what a database holds of this task; it is not measured again."""
        if self._task is None or not database.has_workload(self.program.mod):
            return
        start = time.perf_counter()
        for kept in database.get_top_k(database.commit_workload(self.program.mod), _MAX_RECALLED):
            if (
                kept.target is not None
                and target_from_tvm(kept.target, HardwareFeatures()).key != self._task.target.key
            ):
                continue
            try:
                candidate = Candidate(self._task, trace_of(kept.trace))
            except IllegalActionError:
                continue
            record = record_of(candidate, meta_schedule.runner.RunnerResult(kept.run_secs, None))
            if len(record.trace) and record.status is Status.OK:
                self._measured.append(record)
                self._tried.add(record.trace.key)
        self._learn(self._measured)
        self._count(start)

    def next_batch(self) -> list[meta_schedule.MeasureCandidate]:
        """Candidates to measure, each with a program of its own; empty when the tuning is over."""
        if self._is_left_out:
            return []
        start = time.perf_counter()
        wanted = self._next_size()
        self._num_batches += 1
        self._handed_out = []
        batch, illegal = [], []
        planned, self._planned = self._planned, None
        if wanted > 0 and not self.report.num_trials and _kind_of(self.program.target) in _CPU_KINDS:
            batch.append(self._hand_out(Trace(()), default_schedule(self.program.mod)))
        for _ in range(_MAX_ROUNDS):
            proposals = planned if planned is not None else self._propose(wanted - len(batch))
            planned = None
            if not proposals:
                break
            self._take(proposals, wanted, batch, illegal)
        if not batch:  # where nearly all is rejected, as on GPUs, a search that finds nothing must not end the tuning
            for _ in range(_MAX_SAMPLED // _SAMPLED_AT_ONCE if wanted > 0 else 0):
                if len(batch) == wanted or not (sampled := self._sample(_SAMPLED_AT_ONCE)):
                    break
                self._take(sampled, wanted, batch, illegal)
        if self._task is not None:
            self._learn(
                [MeasureRecord(Candidate(self._task, trace), Status.ILLEGAL, error=error) for trace, error in illegal]
            )
        self._count(start, num_trials=len(batch), num_illegal=len(illegal))
        return batch

    def _take(
        self,
        proposals: Sequence[Trace],
        wanted: int,
        batch: list[meta_schedule.MeasureCandidate],
        illegal: list[tuple[Trace, str]],
    ) -> None:
        """Replays proposals until a batch is full; what is rejected goes to `illegal`."""
        while proposals and len(batch) < wanted:
            part, proposals = proposals[: wanted - len(batch)], proposals[wanted - len(batch) :]
            for trace, schedule in zip(part, self._replayed(part)):
                self._tried.add(trace.key)
                if isinstance(schedule, IllegalActionError):
                    illegal.append((trace, str(schedule)))
                elif (candidate := self._hand_out(trace, schedule)) is not None:
                    batch.append(candidate)

    def expected_improvement(self) -> float | None:
        """How much the next batch is expected to decrease the logarithm of the best time; None where the model cannot
        tell.
        """
        timed = [r for r in self._measured if r.status is Status.OK]
        if self._planner is None or self._task is None or not any(len(r.trace) for r in timed):
            return None
        start = time.perf_counter()
        wanted = self._next_size()
        if self._planned is None:
            self._planned = self._propose(wanted)
        try:
            score, spread = self.online.model.predict_with_spread(
                self._task, [Candidate(self._task, t) for t in self._planned[:wanted]]
            )
            return expected_improvement(score, spread, -math.log(min(r.best_secs for r in timed)))
        except Exception as error:  # a guess must not end the tuning
            self._give_up_ranking(error)
            return None
        finally:
            self._count(start)

    def observe(self, results: Sequence[meta_schedule.runner.RunnerResult]) -> None:
        """Learns from the results of the last batch, in its order."""
        start = time.perf_counter()
        if self._task is not None:
            records = [
                record_of(Candidate(self._task, h.trace), r, h.program_hash) for h, r in zip(self._handed_out, results)
            ]
            self._measured += records
            self._learn(records)
        self._count(start)

    def _has_fixed_shapes(self) -> bool:
        """Whether TVM can make inputs for the program; what has symbolic extents cannot be measured."""
        try:
            meta_schedule.arg_info.ArgInfo.from_entry_func(self.program.mod, remove_preproc=True)
        except Exception as error:  # TVM raises TypeError and others of its own
            _log.warning(
                "%s is left out of the tuning, because its arguments have no fixed shapes: %s",
                self.program.name,
                telling_line(error),
            )
            return False
        return True

    def _next_size(self) -> int:
        """Candidates of the next batch: few at first, so that the model soon sees what it gets wrong."""
        return min(
            self.config.first_batch << min(self._num_batches, 32),
            self.config.batch_size,
            self.max_trials - self.report.num_trials,
        )

    def _replayed(self, proposals: Sequence[Trace]) -> list[tvm.s_tir.Schedule | IllegalActionError]:
        """The schedule of each trace, or why there is none; TVM replays without Python's lock."""

        def replay(trace: Trace) -> tvm.s_tir.Schedule | IllegalActionError:
            try:
                return self.program.schedule(trace)
            except IllegalActionError as error:
                return error

        with ThreadPoolExecutor(min(len(proposals), num_usable_cores())) as pool:
            return list(pool.map(replay, proposals))

    def _hand_out(self, trace: Trace, schedule: tvm.s_tir.Schedule) -> meta_schedule.MeasureCandidate | None:
        """The candidate of a finished schedule; None if its program was handed out before."""
        program_hash = module_hash(schedule.mod)
        if program_hash in self._programs:
            self._count(num_duplicates=1)
            return None
        self._programs.add(program_hash)
        self._handed_out.append(_HandedOut(trace, program_hash))
        return meta_schedule.MeasureCandidate(
            schedule, meta_schedule.arg_info.ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)
        )

    def _propose(self, num: int) -> list[Trace]:
        """Traces that were not tried, the most promising first, and then some spare ones; a search costs more than they
        do.
        """
        if num < 1 or not self._spaces:
            return []
        if self._planner is not None and self._task is not None:
            try:
                tried, num_elites = frozenset(self._tried), self.config.num_elites
                found = [
                    c.trace
                    for c in propose_in_turn(
                        self._planner, self._task, self._groups, self._measured, num + 2 + num // 8, tried, num_elites
                    )
                ]
                num_random = round(
                    self.config.planner.random_share * num
                )  # the planner's random ones come last, and are no spare ones
                first, last = max(0, num - num_random), len(found) - num_random
                return found[:first] + found[last:] + found[first:last] if first < last else found
            except Exception as error:  # a guess must not end the tuning
                self._give_up_ranking(error)
        return self._sample(num)

    def _sample(self, num: int) -> list[Trace]:
        found: dict[str, Trace] = {}
        for _ in range(20 * num):
            if len(found) >= num:
                break
            space = self._spaces[self._rng.integers(len(self._spaces))]
            trace = space.decode(space.sample(self._rng, 1)[0])
            if trace.key not in self._tried:
                found[trace.key] = trace
        return list(found.values())

    def _learn(self, records: Sequence[MeasureRecord]) -> None:
        if self._planner is None:
            return
        try:
            self.online.learn(records)
        except Exception as error:  # what was measured is with MetaSchedule all the same
            self._give_up_ranking(error)

    def _give_up_ranking(self, error: Exception) -> None:
        self._planner = None
        warn_once(
            _log,
            "%s is searched at random, because the model cannot rank it: %s: %s",
            self.program.name,
            type(error).__name__,
            telling_line(error),
        )

    def _make_task(self) -> Task | None:
        try:
            return self.online.task(self.program.mod, self.program.target, self.program.name)
        except Exception as error:  # MetaSchedule tunes programs of every kind
            self._give_up_ranking(error)
            return None

    def _design_spaces(self) -> tuple[DesignSpace, ...]:
        spaces: dict[str, DesignSpace] = {}
        for template in self.templates:
            try:
                spaces.update(
                    (space.space_id, space)
                    for space in spaces_of(
                        self.program.mod, [traces.tvm_trace(template)], num_cores(self.program.target)
                    )
                )
            except ForetuneError as error:
                warn_once(_log, "a design space of %s is left out: %s", self.program.name, error)
        rewritten = rewritten_spaces(self._task) if self.config.rewrites and self._task is not None else ()
        return self._ranked(spaces.values()) + rewritten

    def _ranked(self, spaces: Iterable[DesignSpace]) -> tuple[DesignSpace, ...]:
        """The design spaces that the model can rank; all of them, searched at random, if it can rank none."""
        if self._task is None:
            return tuple(spaces)
        readable, all_spaces, reason = [], tuple(spaces), None
        for space in all_spaces:
            try:
                loop_nest(space, self._task.workload.graph)
                readable.append(space)
            except IllegalActionError as error:
                reason = error
        if reason is not None and not readable:
            self._task = None
            self._give_up_ranking(reason)
            return all_spaces
        if reason is not None:
            num = len(all_spaces) - len(readable)
            _log.warning(
                "%d of %d design spaces of %s are left out, because the model cannot read them: %s",
                num,
                len(all_spaces),
                self.program.name,
                reason,
            )
        return tuple(readable)

    def _count(self, since: float | None = None, **more: Any) -> None:
        changed = {name: getattr(self.report, name) + number for name, number in more.items()}
        secs = time.perf_counter() - since if since is not None else 0.0
        self.report = replace(self.report, own_secs=self.report.own_secs + secs, **changed)
