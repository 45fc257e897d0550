"""Builds schedules of MLIR programs and times them beside the default lowering.

What counts is CPU time of one thread on one core, and the smallest of the repeats; each repeat is the mean over calls
that last some milliseconds together, and begins with the first inputs. Outputs are compared with those of the program
under the default lowering: no element may be off by more than `signature.TOLERANCE` of the largest element of its
buffer, integers must be equal. Schedules reorder sums, so that equality to the last bit is not asked for. Inputs come
from a fixed seed.
"""

from __future__ import annotations

import logging
import math
import platform
import time
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path

from foretune.errors import DataError, ForetuneError, OptionError
from foretune.passes.llvm.machine_code import code_hash
from foretune.passes.mlir.environment.session import MlirBuild, MlirSession, Run
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload

_log = logging.getLogger(__name__)

DEFAULT = Schedule()
_SHOWN_CHARS = 400


@dataclass(frozen=True)
class MlirMeasureSettings:
    """How schedules are timed.

    Attributes:
        repeats: times taken of each candidate.
        repeat_ms: how long each of them lasts, at least.
        seed: of the inputs.
    """

    repeats: int = 3
    repeat_ms: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("repeats", "repeat_ms"):
            if not getattr(self, name) > 0:
                raise OptionError(f"`{name} > 0` must hold, but got {name}={getattr(self, name)}")


@dataclass(frozen=True)
class BuiltSchedule:
    """A schedule and what became of it.

    Attributes:
        schedule: what was done.
        build: its code, or why there is none.
        code_hash: of the machine code; equal ones run equally long. Empty if there is none.
    """

    schedule: Schedule
    build: MlirBuild
    code_hash: str


@dataclass(frozen=True)
class PreparedMlir:
    """A program with what its schedules are compared with.

    Attributes:
        program: it.
        task: its module and this machine, as nouns.
        reference: file of the outputs under the default lowering.
        default: built.
        default_secs: of one call under the default lowering.
    """

    program: MlirProgram
    task: Task
    reference: Path
    default: BuiltSchedule
    default_secs: float


@dataclass(frozen=True)
class Timing:
    """What a schedule took.

    Attributes:
        record: as it is stored.
        default_secs: of the default lowering's runs in turns with it; empty where it was not run beside it.
        difference: of the outputs, over the largest element. Lower is better.
    """

    record: MeasureRecord
    default_secs: tuple[float, ...] = ()
    difference: float = 0.0


class MlirMeasurer:
    """Builds and times schedules.

    Args:
        session: whose workers do it.
        settings: repeats.
    """

    def __init__(self, session: MlirSession, settings: MlirMeasureSettings = MlirMeasureSettings()) -> None:
        self.session, self.settings = session, settings

    def prepare(self, program: MlirProgram) -> PreparedMlir:
        """Builds and runs a program under the default lowering.

        Args:
            program: what to tune.

        Raises:
            DataError: an integer argument that its loops depend on has no value; or it cannot be lowered, does not end,
                crashes, or gives other outputs the second time.
        """
        program.signature.check_values()
        default = self.build(program, DEFAULT)
        if default.build.status is not Status.OK:
            raise DataError(f"{program.name} cannot be lowered: {default.build.error}")
        reference = self.session.file(".npz")
        first = self.session.run(default.build, seed=self.settings.seed, keep=reference)
        if first.status is not Status.OK:
            raise DataError(f"{program.name} does not run: {first.error}")
        again = self._run(program, default, reference, self.settings.repeats)
        if again.status is Status.WRONG_OUTPUT or again.difference > 0:
            raise DataError(f"{program.name} gives other outputs each time, so that schedules cannot be checked")
        if again.status is not Status.OK:
            raise DataError(f"{program.name} does not run a second time: {again.error}")
        task = Task(Workload(program.hash, program.text, self._structure(program), program.name, "mlir"), self.target())
        return PreparedMlir(program, task, reference, default, min(again.run_secs))

    def _structure(self, program: MlirProgram) -> ProgramGraph:
        """The program's graph; an empty one where it has operations that no cost model reads, because measuring goes on
        without it.
        """
        try:
            graph = self.session.graph(program.text).graph
        except ForetuneError as error:
            _log.warning("%s has no graph: %s", program.name, error)
            graph = None
        return ProgramGraph.from_json(graph) if graph else ProgramGraph((), ())

    def target(self) -> Target:
        """This machine."""
        return Target("mlir", (("mcpu", self.session.cpu),), HardwareFeatures())

    def build(self, program: MlirProgram, schedule: Schedule) -> BuiltSchedule:
        """Applies a schedule, lowers and generates code."""
        build = self.session.build(program.text, program.signature.name, schedule)
        code = ""
        if build.status is Status.OK:
            code, build = (
                code_hash(build.files[".so"].read_bytes()),
                replace(build, signature=program.signature),
            )  # with the values of its arguments
        return BuiltSchedule(schedule, build, code)

    def _run(self, program: MlirProgram, built: BuiltSchedule, reference: Path, repeats: int) -> Run:
        return self.session.run(built.build, repeats, self.settings.repeat_ms, self.settings.seed, reference)

    def attempt(self, prepared: PreparedMlir, schedule: Schedule) -> tuple[Status, str]:
        """How a schedule ends, and why, without its time."""
        built = self.build(prepared.program, schedule)
        try:
            run = self._run(prepared.program, built, prepared.reference, 0)
        finally:
            built.build.discard()
        return run.status, run.error

    def time(self, prepared: PreparedMlir, built: BuiltSchedule) -> Timing:
        """Times a schedule alone: the default lowering may be a hundred times slower, and is timed in turns only with
        finalists.
        """
        run = self._run(prepared.program, built, prepared.reference, self.settings.repeats)
        return Timing(self._record(prepared, built, run), (), run.difference)

    def time_in_turns(self, prepared: PreparedMlir, built: Many[BuiltSchedule], turns: int) -> list[Timing]:
        """Times schedules in turns with each other and with the default lowering; one result for each, in order."""
        own: list[list[float]] = [[] for _ in built]
        last: list[Run] = [Run(b.build.status, error=b.build.error) for b in built]
        default: list[float] = []
        for _ in range(turns):
            run = self._run(prepared.program, prepared.default, prepared.reference, 1)
            if run.status is not Status.OK:
                raise DataError(f"{prepared.program.name} no longer runs under the default lowering: {run.error}")
            default += run.run_secs
            for i, one in enumerate(built):
                if last[i].status is Status.OK:
                    last[i] = self._run(prepared.program, one, prepared.reference, 1)
                    own[i] += last[i].run_secs
        results = []
        for one, run, secs in zip(built, last, own):
            kept = Run(run.status, tuple(secs) if run.status is Status.OK else (), run.difference, run.error)
            results.append(Timing(self._record(prepared, one, kept), tuple(default), run.difference))
        return results

    def _record(self, prepared: PreparedMlir, built: BuiltSchedule, run: Run) -> MeasureRecord:
        limits = self.session.settings
        settings = MeasureSettings(
            self.settings.repeats,
            self.settings.repeat_ms,
            limits.build_timeout_secs,
            limits.run_timeout_secs,
            limits.memory_bytes,
        )
        environment = (("llvm", self.session.version), ("machine", platform.machine()), ("cpu", self.session.cpu))
        candidate = Candidate(prepared.task, built.schedule.trace())
        secs = run.run_secs if run.status is Status.OK else ()
        return MeasureRecord(
            candidate, run.status, secs, run.error[:_SHOWN_CHARS], built.code_hash, environment, settings, time.time()
        )


def speedup(timing: Timing, default_secs: float) -> float:
    """The default lowering's time over the schedule's; 0 if it failed. Higher is better."""
    return default_secs / timing.record.best_secs if timing.record.status is Status.OK else 0.0


def cost(timing: Timing, default_secs: float) -> float:
    """The schedule's time over the default lowering's; infinite if it failed. Lower is better."""
    gain = speedup(timing, default_secs)
    return 1 / gain if gain else math.inf
