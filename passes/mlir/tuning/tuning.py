"""Tuning the schedule of an MLIR program within a budget of measurements."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foretune.datasets.records.store import RecordStore
from foretune.errors import IllegalActionError, OptionError
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.blame import Blame
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.measure import DEFAULT, BuiltSchedule, MlirMeasurer, PreparedMlir, Timing, cost
from foretune.passes.mlir.tuning.search import MlirSearch
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.target import vector_bits
from foretune.tuning.paired import ratio_of_medians
from foretune.tuning.trials import UNCERTAIN, TrialLog, append_records

_log = logging.getLogger(__name__)

_IDLE_ROUNDS = 12  # a strategy that only repeats itself so often has nothing left


@dataclass(frozen=True)
class MlirTuneConfig:
    """How a program is tuned.

    Attributes:
        budget: measurements, those of the finalists' second round among them.
        batch: schedules suggested at once.
        finals: of the budget, for the second round of the best, in turns with the default lowering; a winner is told
            only by it.
        final_turns: runs of each finalist and of the default lowering in the second round.
        store: folder of all records, which a run that was stopped goes on from; None keeps nothing.
    """

    budget: int = 64
    batch: int = 4
    finals: int = 3
    final_turns: int = 9
    store: Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("budget", 2), ("batch", 1), ("finals", 1), ("final_turns", 3)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise OptionError(
                    f"`{name} >= {least}` must hold and be an integer, but got {name}={getattr(self, name)!r}"
                )

    @property
    def num_finals(self) -> int:
        """Measurements that are kept for the second round."""
        return max(1, min(self.finals, self.budget // 4))


@dataclass(frozen=True)
class Trial:
    """One measurement of a run.

    Attributes:
        schedule: what was measured.
        status: how it ended.
        cost: relative to the default lowering's; infinite if it failed. Lower is better.
        error: why it failed.
    """

    schedule: Schedule
    status: Status
    cost: float
    error: str = ""


@dataclass
class MlirTuneResult(TrialLog):
    """What a run found.

    Attributes:
        program, hash, entry: which program.
        best: the winner; empty, which is the default lowering, if nothing was better.
        gain: the default lowering's time over the winner's, a ratio of medians of the second round; higher is better.
        interval: 95 % of it, by bootstrap over the turns.
        default_secs, best_secs: medians of one call in the second round; the fastest turn of the winner is
        `fastest_secs`.
        difference: of the winner's outputs, over the largest element.
        script: the winner as one transform module; empty for the default lowering.
        trials: in order.
        num_reused: of them, from an earlier run.
        banned: actions that alone killed MLIR or gave wrong outputs, with the reason; schedules with them were not
            tried again.
        num_skipped: schedules that were not tried for that.
        secs: wall time of this run.
        strategy: what suggested, as it is in the end.
    """

    program: str
    hash: str
    entry: str
    best: Schedule = DEFAULT
    gain: float = 1.0
    interval: tuple[float, ...] = ()
    default_secs: float = 0.0
    best_secs: float = 0.0
    fastest_secs: float = 0.0
    difference: float = 0.0
    script: str = ""
    trials: list[Trial] = field(default_factory=list)
    num_reused: int = 0
    banned: dict[str, str] = field(default_factory=dict)
    num_skipped: int = 0
    secs: float = 0.0
    strategy: MlirSearch | None = None

    def _space(self) -> dict[str, Any]:
        """How large the space is that was searched, and what of it was illegal."""
        return (
            {"num_answers": self.strategy.num_answers, "illegal": dict(self.strategy.illegal.most_common(8))}
            if self.strategy is not None
            else {}
        )

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "program": self.program,
            "hash": self.hash,
            "entry": self.entry,
            "gain": self.gain,
            "interval": list(self.interval),
            "default_secs": self.default_secs,
            "best_secs": self.best_secs,
            "fastest_secs": self.fastest_secs,
            "difference": self.difference,
            "schedule": self.best.to_json(),
            "script": self.script,
            "num_trials": len(self.trials),
            "num_reused": self.num_reused,
            "banned": self.banned,
            "num_skipped": self.num_skipped,
            **self._space(),
            "statuses": self.statuses,
            "best_so_far": self.best_so_far(),
            "secs": self.secs,
            "failed": [
                {"schedule": t.schedule.to_json(), "status": t.status.value, "error": t.error}
                for t in self.trials
                if t.status is not Status.OK
            ],
        }


MakeStrategy = Callable[[MlirSession, PreparedMlir, Template], MlirSearch]


def tune(
    program: MlirProgram,
    measurer: MlirMeasurer,
    make_strategy: MakeStrategy,
    config: MlirTuneConfig = MlirTuneConfig(),
    report: Callable[[MlirTuneResult], None] = lambda result: None,
) -> MlirTuneResult:
    """Searches for a schedule that beats the default lowering.

    Args:
        program: what to tune.
        measurer: builds and times.
        make_strategy: for the prepared program.
        config: budget.
        report: called after each trial.

    Returns:
        The winner, measured again in turns with the default lowering, or the default lowering itself.

    Raises:
        DataError: the program cannot be lowered or checked; see `MlirMeasurer.prepare`.
    """
    return _Run(program, measurer, config, report).run(make_strategy)


def confirm(
    prepared: PreparedMlir, schedules: list[Schedule], measurer: MlirMeasurer, turns: int
) -> list[dict[str, Any]]:
    """Measures schedules in turns with the default lowering: `status`, `gain` with `interval`, `default_secs`,
    `best_secs`, `difference`.
    """
    built = [measurer.build(prepared.program, schedule) for schedule in schedules]
    try:
        return [_told(timing) for timing in measurer.time_in_turns(prepared, built, turns)]
    finally:
        for one in built:
            one.build.discard()


def _told(timing: Timing) -> dict[str, Any]:
    record = timing.record
    if record.status is not Status.OK:
        return {
            "status": record.status.value,
            "error": record.error,
            "gain": 0.0,
            "interval": [],
            "default_secs": None,
            "best_secs": None,
            "fastest_secs": None,
            "difference": None,
        }
    own, default = np.array(record.run_secs), np.array(timing.default_secs)
    gain, interval = ratio_of_medians(default, own)
    return {
        "status": "ok",
        "error": "",
        "gain": gain,
        "interval": list(interval),
        "default_secs": float(np.median(default)),
        "best_secs": float(np.median(own)),
        "fastest_secs": float(own.min()),
        "difference": timing.difference,
    }


class _Run:
    def __init__(
        self,
        program: MlirProgram,
        measurer: MlirMeasurer,
        config: MlirTuneConfig,
        report: Callable[[MlirTuneResult], None],
    ) -> None:
        self._start = time.perf_counter()
        self._measurer, self._config, self._report = measurer, config, report
        self._prepared = measurer.prepare(program)
        self._result = MlirTuneResult(program.name, program.hash, program.signature.name)
        self._known = {self._prepared.default.code_hash: 1.0}  # machine code -> cost
        self._unwritten: list[Trajectory] = []
        self._blame = Blame(lambda schedule: measurer.attempt(self._prepared, schedule))

    def run(self, make_strategy: MakeStrategy) -> MlirTuneResult:
        session, program = self._measurer.session, self._prepared.program
        template = Template(lambda schedule: session.describe(program.text, schedule), vector_bits())
        strategy = self._result.strategy = make_strategy(session, self._prepared, template)
        strategy.observe(self._load())
        idle = 0
        while (
            left := self._config.budget - self._config.num_finals - len(self._result.trials)
        ) > 0 and idle < _IDLE_ROUNDS:
            before = len(self._result.trials)
            try:
                costs = [
                    (schedule, self._cost_of(schedule)) for schedule in strategy.suggest(min(self._config.batch, left))
                ]
            finally:
                self._write()
            strategy.observe(costs)
            idle = 0 if len(self._result.trials) > before else idle + 1
        self._decide()
        self._result.secs = time.perf_counter() - self._start
        return self._result

    def _cost_of(self, schedule: Schedule) -> float:
        """Measures a schedule, unless it gives machine code that was measured before, or has an action that cannot
        work.
        """
        if self._blame.why_not(schedule):
            self._result.num_skipped += 1
            return math.inf
        built = self._measurer.build(self._prepared.program, schedule)
        try:
            if built.code_hash in self._known:
                return self._known[built.code_hash]
            timing = self._measurer.time(self._prepared, built)
        finally:
            built.build.discard()
        found = cost(timing, self._prepared.default_secs)
        if built.code_hash:
            self._known[built.code_hash] = found
        if self._config.store is not None:
            self._unwritten.append(Trajectory(timing.record))
        self._note(schedule, timing.record, found)
        self._blame.note(schedule, timing.record.status, timing.record.error)
        self._result.banned = {str(action): why for action, why in self._blame.banned.items()}
        return found

    def _note(self, schedule: Schedule, record: MeasureRecord, found: float) -> None:
        self._result.trials.append(Trial(schedule, record.status, found, record.error))
        self._report(self._result)

    def _decide(self) -> None:
        """Measures the finalists again, in turns; the best of them wins if it is surely better than the default
        lowering.
        """
        best: dict[Schedule, float] = {}
        for trial in sorted((t for t in self._result.trials if t.cost < 1), key=lambda t: t.cost):
            best.setdefault(trial.schedule, trial.cost)
        finalists = list(best)[: self._config.num_finals]
        built: list[BuiltSchedule] = [self._measurer.build(self._prepared.program, schedule) for schedule in finalists]
        try:
            timings = self._measurer.time_in_turns(self._prepared, built, self._config.final_turns) if built else []
        finally:
            for one in built:
                one.build.discard()
        for schedule, timing in zip(finalists, timings):
            told = _told(timing)
            self._note(schedule, timing.record, 1 / told["gain"] if told["gain"] else math.inf)
            if told["interval"] and told["interval"][0] > UNCERTAIN and told["gain"] > self._result.gain:
                self._result.best, self._result.gain, self._result.interval = (
                    schedule,
                    told["gain"],
                    tuple(told["interval"]),
                )
                for name in ("default_secs", "best_secs", "fastest_secs", "difference"):
                    setattr(self._result, name, told[name])
        if self._result.best != DEFAULT:
            program = self._prepared.program
            self._result.script = self._measurer.session.build(
                program.text, program.signature.name, self._result.best, (), ("script",)
            ).texts.get("script", "")

    # -- records -----------------------------------------------------------------------------------

    def _write(self) -> None:
        """Stores what was measured since the last time."""
        if self._config.store is not None:
            append_records(self._config.store, self._prepared.task, self._unwritten)
        self._unwritten = []

    def _load(self) -> list[tuple[Schedule, float]]:
        """What earlier runs measured of this program, as far as the budget goes; costs are relative to today's default
        lowering.
        """
        if self._config.store is None or not self._config.store.is_dir():
            return []
        found: dict[Schedule, float] = {}
        with RecordStore(self._config.store) as store:
            for trajectory in store.trajectories([self._prepared.task.workload.hash]):
                record = trajectory.record
                try:
                    schedule = Schedule.from_trace(record.trace)
                except IllegalActionError as error:
                    _log.warning("a stored schedule is left out: %s", error)
                    continue
                if len(self._result.trials) < self._config.budget - self._config.num_finals and schedule not in found:
                    found[schedule] = (
                        record.best_secs / self._prepared.default_secs if record.status is Status.OK else math.inf
                    )
                    self._result.trials.append(Trial(schedule, record.status, found[schedule], record.error))
                    if record.program_hash:
                        self._known[record.program_hash] = found[schedule]
        self._result.num_reused = len(found)
        return list(found.items())
