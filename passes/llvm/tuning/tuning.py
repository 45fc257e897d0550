"""Tuning a program's pass sequence within a budget of measurements."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.measure import Build, PassMeasurer, PreparedProgram, Timing
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.search import SearchStrategy
from foretune.passes.llvm.tuning.shorter import shortest
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.trace import Trace
from foretune.tuning import loop
from foretune.tuning.callback import Callback
from foretune.tuning.domain import Built, Compared, Domain, Measured, Prepared
from foretune.tuning.paired import Comparison

_log = logging.getLogger(__name__)

OBJECTIVES = ("time", "instructions", "size", "cycles")
_SIMPLIFY_SECS = 60.0
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
        loop.require_counts(self, budget=1, batch=1, finals=0, final_repeats=3)


class Trial(loop.Trial[PassSequence]):
    """One measurement of a run; see `foretune.tuning.loop.Trial`."""

    @property
    def sequence(self) -> PassSequence:
        """What was measured."""
        return self.candidate


@dataclass
class PassTuneResult(loop.TuneResult[PassSequence]):
    """What a run found; see `foretune.tuning.loop.TuneResult`.

    Attributes:
        objective: what was made small.
        timed: the function whose calls alone were timed; empty for whole runs.
        tolerance: that outputs may be off by; where there is one, `-O3` and all candidates are relaxed.
    """

    trial = Trial

    best: PassSequence = BASELINE
    objective: str = "time"
    timed: str = ""
    tolerance: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data; `command` reproduces the winner, `sequence` is it in short."""
        return {
            "program": self.program,
            "hash": self.hash,
            "objective": self.objective,
            **({"timed": self.timed} if self.timed else {}),
            **({"tolerance": self.tolerance} if self.tolerance else {}),
            "gain": self.gain,
            "interval": list(self.interval),
            "baseline_secs": self.baseline_secs,
            "best_secs": self.best_secs,
            "sequence": str(self.best),
            "command": f"opt {self.best.command}",
            "passes": [str(p) for p in self.best.passes],
            "flags": [str(f) for f in self.best.flags],
            "num_trials": len(self.trials),
            "num_reused": self.num_reused,
            "statuses": self.statuses,
            "best_so_far": self.best_so_far(),
            "secs": self.secs,
            "first_secs": self.first_secs,
            "rungs": self.rungs_json(),
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
    callbacks: Many[Callback] = (),
) -> PassTuneResult:
    """Searches for a sequence that beats `-O3`.

    Args:
        program: what to tune.
        measurer: builds and times.
        make_strategy: for the prepared program.
        config: budget and objective.
        report: called after each trial.
        callbacks: follow the run.

    Returns:
        The winner, measured again beside `-O3`, or `-O3` itself.

    Raises:
        DataError: the program cannot be built or checked; see `PassMeasurer.prepare`.
    """
    domain = PassDomain(program, measurer, config.objective)
    limits = loop.TuneConfig(config.budget, config.batch, config.finals, config.final_repeats, config.store)
    tolerance = program.options.run.tolerance
    result = PassTuneResult(
        program.name, program.hash, objective=config.objective, timed=program.timed, tolerance=tolerance
    )
    return loop.tune(domain, lambda: make_strategy(domain.prepared), limits, result, report, callbacks)


def confirm(prepared: PreparedProgram, sequence: PassSequence, measurer: PassMeasurer, repeats: int) -> dict[str, Any]:
    """Measures a sequence beside `-O3`: `status`, `gain` with `interval`, `baseline_secs` and `best_secs`, as in
    `PassTuneResult`.
    """
    build = measurer.build(prepared.program, sequence)
    wrong = build.status is Status.OK and measurer.check(prepared, build)
    timing = Timing(measurer.failed(prepared, build, wrong)) if wrong else measurer.time(prepared, [build], repeats)[0]
    measurer.discard(build)
    found = Comparison.of(timing.record, timing.baseline_secs)
    return {
        "status": found.status.value,
        "gain": found.gain,
        "interval": list(found.interval),
        "baseline_secs": found.baseline_secs,
        "best_secs": found.best_secs,
    }


class PassDomain(Domain[PassSequence]):
    """Sequences of passes for one program.

    Args:
        program: what to tune.
        measurer: builds and times.
        objective: of `OBJECTIVES`.

    Attributes:
        prepared: the program with what its candidates are compared with, after `prepare`.
    """

    noun = "sequence"
    source = SOURCE
    beside_records = frozenset({SCREENS})

    prepared: PreparedProgram

    def __init__(self, program: Program, measurer: PassMeasurer, objective: str = "time") -> None:
        self._program, self._measurer, self._objective = program, measurer, objective
        self.is_timed = objective == "time"
        self._baseline = 0.0  # the number that is to be made smaller, where it is counted

    def prepare(self) -> Prepared:
        """The program; one that cannot be linked and run is only looked at, where no time is wanted."""
        try:
            self.prepared = self._measurer.prepare(self._program)
        except DataError as error:
            if self.is_timed:
                raise
            self.prepared = self._measurer.prepare(self._program, run=False)
            name = self._program.name
            _log.warning("%s is not run, so that candidates are not checked by their output: %s", name, error)
        if not self.is_timed:
            self._baseline = self._count_baseline()
        return Prepared(self.prepared.task, self.prepared.baseline.object_hash, self.prepared.features)

    def _count_baseline(self) -> float:
        """The number of `-O3` that is to be made smaller."""
        observe = self._objective == "instructions"
        number = self._look(self._measurer.build(self._program, BASELINE, observe=observe, link=False))
        if not 0 < number < math.inf:
            raise DataError(f"{self._program.name} has no {self._objective} under -O3 that could be made smaller")
        return number

    def _look(self, build: Build) -> float:
        """The number that is to be small, of objectives that are not timed."""
        if self._objective == "instructions":
            return build.after[FEATURES.index("instructions")]
        if self._objective == "size":
            return float(build.text_bytes)
        return self._measurer.compiler.cycles(self._program, build.sequence) or math.inf

    def build(self, candidate: PassSequence, known: Collection[str] = ()) -> Built[PassSequence]:
        """Runs the passes and links, unless the machine code is known."""
        build = self._measurer.build(self._program, candidate, observe=True, known=known, link=self.prepared.runs)
        return Built(candidate, build.status, build.error, build.object_hash, build)

    def time(self, built: Built[PassSequence]) -> Measured:
        """Runs a candidate in turns with `-O3`; what is not run is only looked at, which is no measurement and is not
        stored.
        """
        build: Build = built.made
        if not self.prepared.runs:
            cost = self._look(build) / self._baseline if build.status is Status.OK else math.inf
            return Measured(build.status, cost, build.error)
        [timing] = self._measurer.time(self.prepared, [build], None if self.is_timed else 1)
        record = timing.record
        told = ("objective", self._objective), (BASELINE_SECS, json.dumps(timing.baseline_secs))
        stored = replace(record, environment=(*record.environment, *told))
        trajectory = Trajectory(stored, (self.prepared.features,), (build.after,) if build.after else ())
        return Measured(record.status, self._cost(build, timing), record.error, trajectory)

    def _cost(self, build: Build, timing: Timing) -> float:
        if timing.record.status is not Status.OK:
            return math.inf
        return 1 / timing.speedup if self.is_timed else self._look(build) / self._baseline

    def compare(self, built: Many[Built[PassSequence]], turns: int) -> list[Compared]:
        """Each finalist in turns with `-O3`."""
        timings = self._measurer.time(self.prepared, [one.made for one in built], turns)
        return [
            Compared(Comparison.of(t.record, t.baseline_secs), 1 / t.speedup if t.speedup else math.inf)
            for t in timings
        ]

    def read(self, trace: Trace) -> PassSequence:
        """The sequence of a stored trace."""
        return PassSequence.from_trace(trace)

    def stored_cost(self, record: MeasureRecord) -> float:
        """Relative to the runs of `-O3` that were taken in turns with it."""
        baseline = json.loads(dict(record.environment).get(BASELINE_SECS, "[]"))
        return record.best_secs / min(baseline) if record.status is Status.OK and baseline else math.inf

    def discard(self, built: Built[PassSequence]) -> None:
        """Removes the linked program."""
        self._measurer.discard(built.made)

    def check(self, built: Built[PassSequence]) -> str:
        """Runs a finalist on the program's further inputs, and makes the checked program in the same way."""
        has_checks = self.prepared.checks or self.prepared.checked is not None
        return self._measurer.check(self.prepared, built.made) if has_checks else ""

    def simplify(self, candidate: PassSequence) -> PassSequence:
        """Without the steps that its machine code does not need, as far as a minute goes."""
        end = time.monotonic() + _SIMPLIFY_SECS
        return shortest(
            candidate,
            lambda sequence: self._measurer.build(self._program, sequence, link=False).object_hash,
            lambda: time.monotonic() < end,
        )
