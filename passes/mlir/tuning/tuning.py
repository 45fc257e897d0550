"""Tuning the schedule of an MLIR program within a budget of measurements."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.blame import Blame
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.measure import DEFAULT, MlirMeasurer, PreparedMlir, Timing, cost
from foretune.passes.mlir.tuning.search import MlirSearch
from foretune.passes.mlir.tuning.winners import Winners
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.target import dot_product_instructions, vector_bits
from foretune.trace import Trace
from foretune.tuning import loop
from foretune.tuning.callback import Callback
from foretune.tuning.domain import Built, Compared, Domain, Measured, Prepared
from foretune.tuning.paired import Comparison


@dataclass(frozen=True)
class MlirTuneConfig(loop.TuneConfig):
    """How a program is tuned; see `foretune.tuning.loop.TuneConfig`. A winner is told only by the second round, in
    turns with the default lowering, so that one measurement at least is kept for it.
    """

    budget: int = 64

    def __post_init__(self) -> None:
        loop.require_counts(self, budget=2, batch=1, finals=1, final_turns=3)

    @property
    def num_finals(self) -> int:
        """Measurements that are kept for the second round."""
        return max(1, super().num_finals)


class Trial(loop.Trial[Schedule]):
    """One measurement of a run; see `foretune.tuning.loop.Trial`."""

    @property
    def schedule(self) -> Schedule:
        """What was measured."""
        return self.candidate


@dataclass
class MlirTuneResult(loop.TuneResult[Schedule]):
    """What a run found; see `foretune.tuning.loop.TuneResult`. The baseline is the default lowering, an empty schedule.

    Attributes:
        entry: function of the program.
        difference: of the winner's outputs, over the largest element.
        script: the winner as one transform module; empty for the default lowering.
        banned: actions that alone killed MLIR or gave wrong outputs, with the reason; schedules with them were not
            tried again, and count as skipped.
        num_taken_over: answers of the first suggestion that come from a library of winners.
        num_learned: operations of which the library knows more now.
    """

    trial = Trial

    best: Schedule = DEFAULT
    entry: str = ""
    difference: float = 0.0
    script: str = ""
    banned: dict[str, str] = field(default_factory=dict)
    num_taken_over: int = 0
    num_learned: int = 0

    @property
    def default_secs(self) -> float:
        """Median of one call of the default lowering in the second round."""
        return self.baseline_secs

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
            "default_secs": self.baseline_secs,
            "best_secs": self.best_secs,
            "fastest_secs": self.fastest_secs,
            "difference": self.difference,
            "schedule": self.best.to_json(),
            "script": self.script,
            "num_trials": len(self.trials),
            "num_reused": self.num_reused,
            "banned": self.banned,
            "num_skipped": self.num_skipped,
            "num_taken_over": self.num_taken_over,
            "num_learned": self.num_learned,
            **self._space(),
            "statuses": self.statuses,
            "best_so_far": self.best_so_far(),
            "secs": self.secs,
            "rungs": self.rungs_json(),
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
    winners: Winners | None = None,
    callbacks: Many[Callback] = (),
) -> MlirTuneResult:
    """Searches for a schedule that beats the default lowering.

    Args:
        program: what to tune.
        measurer: builds and times.
        make_strategy: for the prepared program.
        config: budget.
        report: called after each trial.
        winners: library that the search begins with and that learns from its winner.
        callbacks: follow the run.

    Returns:
        The winner, measured again in turns with the default lowering, or the default lowering itself.

    Raises:
        DataError: the program cannot be lowered or checked; see `MlirMeasurer.prepare`.
    """
    session, domain = measurer.session, MlirDomain(program, measurer)
    template = Template(
        lambda schedule: session.describe(program.text, schedule), vector_bits(), dot_product_instructions()
    )
    result = MlirTuneResult(program.name, program.hash, entry=program.signature.name)

    def note(result: MlirTuneResult) -> None:
        result.banned = domain.banned
        report(result)

    def make() -> MlirSearch:
        strategy = make_strategy(session, domain.prepared, template)
        if winners is not None:
            result.num_taken_over = strategy.open_with(winners, session.cpu)
        return strategy

    loop.tune(domain, make, config, result, note, callbacks)
    if winners is not None:
        operations, answers = result.strategy.told(result.best)
        result.num_learned = winners.learn(session.cpu, operations, answers, result.gain)
    result.banned, result.script = domain.banned, domain.script(result.best)
    return result


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
    found = Comparison.of(timing.record, timing.default_secs)
    return {
        "status": found.status.value,
        "error": found.error,
        "gain": found.gain,
        "interval": list(found.interval),
        "default_secs": found.baseline_secs,
        "best_secs": found.best_secs,
        "fastest_secs": found.fastest_secs,
        "difference": timing.difference if found.status is Status.OK else None,
    }


class MlirDomain(Domain[Schedule]):
    """Schedules of one program.

    Args:
        program: what to tune.
        measurer: builds and times.

    Attributes:
        prepared: the program with what its schedules are compared with, after `prepare`.
    """

    noun = "schedule"
    idle_rounds = 12

    prepared: PreparedMlir

    def __init__(self, program: MlirProgram, measurer: MlirMeasurer) -> None:
        self._program, self._measurer = program, measurer
        self._blame = Blame(lambda schedule: measurer.attempt(self.prepared, schedule))

    @property
    def banned(self) -> dict[str, str]:
        """Actions that are to blame, with the reason."""
        return {str(action): why for action, why in self._blame.banned.items()}

    def script(self, schedule: Schedule) -> str:
        """A schedule as one transform module; empty for the default lowering."""
        if schedule == DEFAULT:
            return ""
        build = self._measurer.session.build(
            self._program.text, self._program.signature.name, schedule, (), ("script",)
        )
        return build.texts.get("script", "")

    def prepare(self) -> Prepared:
        """Builds and runs the program under the default lowering."""
        self.prepared = self._measurer.prepare(self._program)
        return Prepared(self.prepared.task, self.prepared.default.code_hash)

    def build(self, candidate: Schedule, known: Collection[str] = ()) -> Built[Schedule]:
        """Applies a schedule, lowers and generates code."""
        made = self._measurer.build(self._program, candidate)
        return Built(candidate, made.build.status, made.build.error, made.code_hash, made)

    def time(self, built: Built[Schedule]) -> Measured:
        """Times a schedule alone; the default lowering's time is that of the beginning."""
        timing = self._measurer.time(self.prepared, built.made)
        record = timing.record
        return Measured(record.status, cost(timing, self.prepared.default_secs), record.error, Trajectory(record))

    def compare(self, built: Many[Built[Schedule]], turns: int) -> list[Compared]:
        """All finalists in turns with each other and with the default lowering."""
        compared = []
        for timing in self._measurer.time_in_turns(self.prepared, [one.made for one in built], turns):
            found = Comparison.of(timing.record, timing.default_secs)
            facts = (("difference", timing.difference),)
            compared.append(Compared(found, 1 / found.gain if found.gain else math.inf, facts))
        return compared

    def read(self, trace: Trace) -> Schedule:
        """The schedule of a stored trace."""
        return Schedule.from_trace(trace)

    def stored_cost(self, record: MeasureRecord) -> float:
        """Relative to today's default lowering."""
        return record.best_secs / self.prepared.default_secs if record.status is Status.OK else math.inf

    def discard(self, built: Built[Schedule]) -> None:
        """Removes the machine code."""
        built.made.build.discard()

    def why_not(self, candidate: Schedule) -> str:
        """An action that is to blame for a crash or a wrong output."""
        return self._blame.why_not(candidate)

    def learn(self, candidate: Schedule, measured: Measured) -> None:
        """Finds out which action is to blame."""
        self._blame.note(candidate, measured.status, measured.error)
