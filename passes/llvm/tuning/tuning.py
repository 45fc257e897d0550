"""Tuning a program's pass sequence within a budget of measurements."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.measure import Build, PassMeasurer, PreparedProgram, Timing
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.search import SearchStrategy
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.tuning.paired import ratio_of_medians
from foretune.tuning.trials import UNCERTAIN, TrialLog, append_records

_log = logging.getLogger(__name__)

OBJECTIVES = ("time", "instructions", "size", "cycles")
_IDLE_ROUNDS = 25  # a strategy that only repeats itself so often has nothing left
SOURCE = "passes"  # of records
SCREENS = "screens"  # folder beside the records
BASELINE_SECS = "baseline_secs"  # key of a record's environment: times of `-O3` that were taken in turns with it


@dataclass(frozen=True)
class PassTuneConfig:
    """How a program is tuned.

    Attributes:
        budget: measurements, those of the finalists' second round among them.
        objective: what shall be small: `time`, `instructions` of the final module, `size` of the code in bytes, or
            llvm-mca's `cycles`.
        batch: candidates suggested at once.
        finals: of the budget, for the second round of the best; none means that no winner is told.
        final_repeats: runs of each finalist and of the baseline in the second round.
        store: folder of all records, which a run that was stopped goes on from; None keeps nothing.
    """

    budget: int = 50
    objective: str = "time"
    batch: int = 4
    finals: int = 3
    final_repeats: int = 15
    store: Path | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise OptionError(f"objective must be one of {list(OBJECTIVES)}, but got {self.objective!r}")
        for name, least in (("budget", 1), ("batch", 1), ("finals", 0), ("final_repeats", 3)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise OptionError(
                    f"`{name} >= {least}` must hold and be an integer, but got {name}={getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class Trial:
    """One measurement of a run.

    Attributes:
        sequence: what was measured.
        status: how it ended.
        cost: relative to `-O3`'s; infinite if it failed. Lower is better.
        error: why it failed.
    """

    sequence: PassSequence
    status: Status
    cost: float
    error: str = ""


@dataclass
class PassTuneResult(TrialLog):
    """What a run found.

    Attributes:
        program, hash: which program.
        objective: what was made small.
        best: the winner; `-O3` if nothing was better.
        gain: `-O3`'s cost over the winner's, higher is better; 1 if `-O3` stays. Of times, the ratio of medians.
        interval: 95 % of it, by bootstrap over the runs; empty for costs that are counted.
        baseline_secs, best_secs: medians of the second round; 0 where time is not the objective.
        trials: in order.
        num_reused: of them, from an earlier run.
        secs: wall time of this run.
        strategy: what suggested, as it is in the end.
    """

    program: str
    hash: str
    objective: str
    best: PassSequence = BASELINE
    gain: float = 1.0
    interval: tuple[float, ...] = ()
    baseline_secs: float = 0.0
    best_secs: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    num_reused: int = 0
    secs: float = 0.0
    strategy: SearchStrategy | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data; `command` reproduces the winner."""
        return {
            "program": self.program,
            "hash": self.hash,
            "objective": self.objective,
            "gain": self.gain,
            "interval": list(self.interval),
            "baseline_secs": self.baseline_secs,
            "best_secs": self.best_secs,
            "command": f"opt {self.best}",
            "passes": [str(p) for p in self.best.passes],
            "flags": [str(f) for f in self.best.flags],
            "num_trials": len(self.trials),
            "num_reused": self.num_reused,
            "statuses": self.statuses,
            "best_so_far": self.best_so_far(),
            "secs": self.secs,
            "steps": list(self.strategy.steps) if self.strategy is not None else [],
            "failed": [
                {"sequence": str(t.sequence), "status": t.status.value, "error": t.error}
                for t in self.trials
                if t.status is not Status.OK
            ],
        }


def tune(
    program: Program,
    measurer: PassMeasurer,
    make_strategy: Callable[[PreparedProgram], SearchStrategy],
    config: PassTuneConfig = PassTuneConfig(),
    report: Callable[[PassTuneResult], None] = lambda result: None,
) -> PassTuneResult:
    """Searches for a sequence that beats `-O3`.

    Args:
        program: what to tune.
        measurer: builds and times.
        make_strategy: for the prepared program.
        config: budget and objective.
        report: called after each trial.

    Returns:
        The winner, measured again beside `-O3`, or `-O3` itself.

    Raises:
        DataError: the program cannot be built or checked; see `PassMeasurer.prepare`.
    """
    return _Run(program, measurer, config, report).run(make_strategy)


def confirm(prepared: PreparedProgram, sequence: PassSequence, measurer: PassMeasurer, repeats: int) -> dict[str, Any]:
    """Measures a sequence beside `-O3`: `status`, `gain` with `interval`, `baseline_secs` and `best_secs`, as in
    `PassTuneResult`.
    """
    build = measurer.build(prepared.program, sequence)
    wrong = build.status is Status.OK and measurer.check(prepared, build)
    timing = Timing(measurer.failed(prepared, build, wrong)) if wrong else measurer.time(prepared, [build], repeats)[0]
    measurer.discard(build)
    return _told(timing)


def _told(timing: Timing) -> dict[str, Any]:
    record = timing.record
    if record.status is not Status.OK:
        return {"status": record.status.value, "gain": 0.0, "interval": [], "baseline_secs": None, "best_secs": None}
    own, baseline = np.array(record.run_secs), np.array(timing.baseline_secs)
    gain, interval = ratio_of_medians(baseline, own)
    return {
        "status": "ok",
        "gain": gain,
        "interval": list(interval),
        "baseline_secs": float(np.median(baseline)),
        "best_secs": float(np.median(own)),
    }


class _Run:
    def __init__(
        self, program: Program, measurer: PassMeasurer, config: PassTuneConfig, report: Callable[[PassTuneResult], None]
    ) -> None:
        self._start = time.perf_counter()
        self._measurer, self._config, self._report = measurer, config, report
        self._prepared = self._prepare(program)
        self._result = PassTuneResult(program.name, program.hash, config.objective)
        self._baseline = self._count_baseline() if config.objective != "time" else 0.0
        self._built: dict[PassSequence, Build] = {}
        self._known = {self._prepared.baseline.object_hash: 1.0}  # machine code -> cost
        self._unwritten: list[Trajectory] = []

    def _prepare(self, program: Program) -> PreparedProgram:
        """The program; one that cannot be linked and run is only looked at, where no time is wanted."""
        try:
            return self._measurer.prepare(program)
        except DataError as error:
            if self._config.objective == "time":
                raise
            prepared = self._measurer.prepare(program, run=False)
            _log.warning("%s is not run, so that candidates are not checked by their output: %s", program.name, error)
            return prepared

    def _count_baseline(self) -> float:
        """The number of `-O3` that is to be made smaller."""
        objective, program = self._config.objective, self._prepared.program
        number = self._look(self._measurer.build(program, BASELINE, observe=objective == "instructions", link=False))
        if not 0 < number < math.inf:
            raise DataError(f"{program.name} has no {objective} under -O3 that could be made smaller")
        return number

    def run(self, make_strategy: Callable[[PreparedProgram], SearchStrategy]) -> PassTuneResult:
        strategy = self._result.strategy = make_strategy(self._prepared)
        strategy.observe(self._load())
        num_final = self._num_final
        idle = 0
        while (left := self._config.budget - num_final - len(self._result.trials)) > 0 and idle < _IDLE_ROUNDS:
            strategy.look_further(time.perf_counter() - self._start)
            suggested = strategy.next_batch(min(self._config.batch, left))
            before = len(self._result.trials)
            costs = []
            try:
                for sequence in suggested:
                    num_measured = len(self._result.trials)
                    costs.append((sequence, self._cost_of(sequence)))
                    if len(self._result.trials) == num_measured:
                        strategy.repeats.add(sequence)
            finally:
                self._write()
            strategy.observe(costs)
            idle = 0 if len(self._result.trials) > before else idle + 1
        self._decide(num_final)
        self._result.secs = time.perf_counter() - self._start
        return self._result

    @property
    def _num_final(self) -> int:
        return min(self._config.finals, self._config.budget // 4) if self._config.objective == "time" else 0

    def _cost_of(self, sequence: PassSequence) -> float:
        """Measures a sequence, unless it gives machine code that was measured before."""
        build = self._measurer.build(
            self._prepared.program, sequence, observe=True, known=self._known, link=self._prepared.runs
        )
        if build.status is Status.OK and build.object_hash in self._known:
            return self._known[build.object_hash]
        if not self._prepared.runs:
            return self._cost_of_look(build)
        [timing] = self._measurer.time(self._prepared, [build], None if self._config.objective == "time" else 1)
        cost = self._cost(build, timing)
        if build.status is Status.OK:
            self._known[build.object_hash] = cost
        self._keep(build, timing)
        self._note(sequence, timing.record, cost)
        self._built[sequence] = build
        self._forget_the_slow()
        return cost

    def _cost_of_look(self, build: Build) -> float:
        """The cost of what is not run; such a trial is no measurement, and is not stored."""
        cost = self._look(build) / self._baseline if build.status is Status.OK else math.inf
        if build.status is Status.OK:
            self._known[build.object_hash] = cost
        self._result.trials.append(Trial(build.sequence, build.status, cost, build.error))
        self._report(self._result)
        return cost

    def _note(self, sequence: PassSequence, record: MeasureRecord, cost: float) -> None:
        self._result.trials.append(Trial(sequence, record.status, cost, record.error))
        self._report(self._result)

    def _cost(self, build: Build, timing: Timing) -> float:
        if timing.record.status is not Status.OK:
            return math.inf
        if self._config.objective == "time":
            return 1 / timing.speedup
        return self._look(build) / self._baseline

    def _look(self, build: Build) -> float:
        """The number that is to be small, of objectives that are not timed."""
        if self._config.objective == "instructions":
            return build.after[FEATURES.index("instructions")]
        if self._config.objective == "size":
            return float(build.text_bytes)
        if self._config.objective == "cycles":
            return self._measurer.compiler.mca_cycles(self._prepared.program, build.sequence) or math.inf
        return 0.0

    def _forget_the_slow(self) -> None:
        """Keeps the finalists' programs only."""
        finite = {t.sequence: t.cost for t in self._result.trials}
        for sequence in sorted(self._built, key=lambda s: finite.get(s, math.inf))[2 * self._num_final :]:
            self._measurer.discard(self._built.pop(sequence))

    def _decide(self, num_final: int) -> None:
        """Measures the finalists again; the best of them wins if it is surely better than `-O3`, and right on all
        inputs.
        """
        trials = sorted((t for t in self._result.trials if t.cost < 1), key=lambda t: t.cost)
        if self._config.objective != "time":
            right = next((trial for trial in trials if self._right(trial, self._build_of(trial))), None)
            if right is not None:
                self._result.best, self._result.gain = right.sequence, 1 / right.cost
            return
        for trial in trials:
            if not num_final:
                break
            if self._right(trial, self._build_of(trial)):
                num_final -= 1
                self._decide_on(trial, self._build_of(trial))

    def _build_of(self, trial: Trial) -> Build:
        """A finalist's program."""
        if trial.sequence not in self._built:
            self._built[trial.sequence] = self._measurer.build(
                self._prepared.program, trial.sequence, link=self._prepared.runs
            )
        return self._built[trial.sequence]

    def _right(self, trial: Trial, build: Build) -> bool:
        """Whether a finalist is right on the program's further inputs; if not, its trial says so."""
        if not self._prepared.checks or build.status is not Status.OK:
            return True
        wrong = self._measurer.check(self._prepared, build)
        if wrong:
            at = next(i for i, known in enumerate(self._result.trials) if known is trial)
            self._result.trials[at] = replace(trial, status=Status.WRONG_OUTPUT, cost=math.inf, error=wrong)
            self._report(self._result)
        return not wrong

    def _decide_on(self, trial: Trial, build: Build) -> None:
        [timing] = self._measurer.time(self._prepared, [build], self._config.final_repeats)
        record = timing.record
        self._note(trial.sequence, record, 1 / timing.speedup if record.status is Status.OK else math.inf)
        found = _told(timing)
        if self._result.gain == 1 and found["interval"]:
            self._result.baseline_secs = self._result.best_secs = found["baseline_secs"]
        if found["interval"] and found["interval"][0] > UNCERTAIN and found["gain"] > self._result.gain:
            self._result.best, self._result.gain, self._result.interval = (
                trial.sequence,
                found["gain"],
                tuple(found["interval"]),
            )
            self._result.baseline_secs, self._result.best_secs = found["baseline_secs"], found["best_secs"]

    # -- records ---------------------------------------------------------------------------------

    def _keep(self, build: Build, timing: Timing) -> None:
        if self._config.store is None:
            return
        told = ("objective", self._config.objective), (BASELINE_SECS, json.dumps(timing.baseline_secs))
        record = replace(timing.record, environment=(*timing.record.environment, *told))
        self._unwritten.append(Trajectory(record, (self._prepared.features,), (build.after,) if build.after else ()))

    def _write(self) -> None:
        """Stores what was measured since the last time."""
        if self._config.store is not None:
            append_records(self._config.store, self._prepared.task, self._unwritten, SOURCE, (self._prepared.features,))
        self._unwritten = []

    def _load(self) -> list[tuple[PassSequence, float]]:
        """What earlier runs measured of this program, as far as the budget goes."""
        store = self._config.store
        if (
            store is None
            or self._config.objective != "time"
            or not store.is_dir()
            or {path.name for path in store.iterdir()} <= {SCREENS}
        ):
            return []
        found: dict[PassSequence, float] = {}
        with RecordStore(store) as records:
            for trajectory in records.trajectories([self._prepared.task.workload.hash]):
                record = trajectory.record
                baseline = json.loads(dict(record.environment).get(BASELINE_SECS, "[]"))
                try:
                    sequence = PassSequence.from_trace(record.trace)
                except IllegalActionError as error:
                    _log.warning("a stored sequence is left out: %s", error)
                    continue
                if len(self._result.trials) < self._config.budget - self._num_final and sequence not in found:
                    cost = record.best_secs / min(baseline) if record.status is Status.OK and baseline else math.inf
                    found[sequence] = cost
                    self._result.trials.append(Trial(sequence, record.status, cost, record.error))
                    self._known[record.program_hash] = cost
        self._result.num_reused = len(found)
        return list(found.items())
