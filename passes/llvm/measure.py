"""Builds candidates and times them beside `-O3`.

What counts is process CPU time, of whole runs or of one function's calls, taken on one core in turns with the baseline,
and the smallest of the repeats. Each candidate's output, exit code and written files are compared with those of the
program that no pass has run over: byte for byte, unless the program has a tolerance.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection
from collections.abc import Sequence as Many
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from foretune.errors import DataError, OptionError, UnsupportedError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.compiler import Compiler
from foretune.passes.llvm.execution.outcome import Input, Outcome, describe_difference, make_folder, read_outcome
from foretune.passes.llvm.execution.region import Region, take_region, why_untimed
from foretune.passes.llvm.execution.running import Ran, RunProgram, sandboxed
from foretune.passes.llvm.execution.tolerance import difference
from foretune.passes.llvm.machine_code import code_hash, text_bytes
from foretune.passes.llvm.messages import Compiled, Start
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.toolchain import Toolchain, find_toolchain
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status
from foretune.support.scratch import ScratchFolder
from foretune.support.tools import run_tool
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload
from foretune.workers.process import Death, Silence, WorkerProcess

UNOPTIMISED = PassSequence()
_GRACE_SECS = 10.0
_LINK_TIMEOUT_SECS = 30
_log = logging.getLogger(__name__)
_UNOPTIMISED_SLOWER = 10.0  # times the limit of a run, for the program without passes
_FIRST_SLOWER = 15.0  # times the limit of a compilation, for those that candidates are compared with
_SLOWER_THAN_BASELINE = 4.0  # that a candidate's compilation may be, where that is more than the limit
_HOPELESS = 1.3  # candidates so much slower than the baseline are run once
_SHORT_SECS = 5e-3
_SHOWN_CHARS = 400


@dataclass(frozen=True)
class PassMeasureSettings:
    """How candidates are built and timed.

    Attributes:
        repeats: runs of each candidate, and of the baseline between them.
        build_timeout_secs, run_timeout_secs: limits of one candidate; a program whose `-O3` takes long gets more for
            compiling.
        memory_bytes: of one compilation, and of all processes of one run together.
        max_processes: of one run.
        core: that programs run on; None for the last one that this process may use.
        sandbox: run programs in bubblewrap; by themselves they have the user's rights.
    """

    repeats: int = 3
    build_timeout_secs: float = 20.0
    run_timeout_secs: float = 10.0
    memory_bytes: int = 4 << 30
    max_processes: int = 512
    core: int | None = None
    sandbox: bool = False

    def __post_init__(self) -> None:
        for name in ("repeats", "build_timeout_secs", "run_timeout_secs", "memory_bytes", "max_processes"):
            if not getattr(self, name) > 0:
                raise OptionError(f"`{name} > 0` must hold, but got {name}={getattr(self, name)}")
        if self.core is not None and self.core not in os.sched_getaffinity(0):
            raise OptionError(f"core must be one of {sorted(os.sched_getaffinity(0))}, but got {self.core}")


@dataclass(frozen=True)
class Build:
    """What became of a sequence before it ran.

    Attributes:
        sequence: what was done.
        status: OK, or how it ended.
        error: the tool's words.
        executable: the linked program; None if there is none.
        object_hash: of its machine code; equal ones run equally long.
        text_bytes: size of its machine code.
        before, after: counts in the manner of `observe.FEATURES`; empty if not asked for.
        secs: that compiling took.
    """

    sequence: PassSequence
    status: Status
    error: str = ""
    executable: Path | None = None
    object_hash: str = ""
    text_bytes: int = 0
    before: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    secs: float = 0.0

    @property
    def linked(self) -> Path:
        """The executable of a build that is OK.

        Raises:
            DataError: there is none.
        """
        if self.executable is None:
            raise DataError(f"{self.sequence} was not linked, so that it cannot run: {self.error or self.status.value}")
        return self.executable


@dataclass(frozen=True)
class Timing:
    """What a candidate took.

    Attributes:
        record: as it is stored.
        baseline_secs: of the baseline's runs in turns with it; empty where it was not timed.
    """

    record: MeasureRecord
    baseline_secs: tuple[float, ...] = ()

    @property
    def speedup(self) -> float:
        """Baseline's time over the candidate's; 0 if it failed. Higher is better."""
        return min(self.baseline_secs) / self.record.best_secs if self.record.status is Status.OK else 0.0


@dataclass(frozen=True)
class PreparedProgram:
    """A program with what its candidates are compared with.

    Attributes:
        program: it.
        task: its module and this machine, as nouns.
        expected: (exit code, SHA-256 of what it printed and wrote) of the unoptimised program.
        baseline: built.
        features: of the unoptimised module, in the order of `observe.FEATURES`.
        checks: what is expected on each of the program's further inputs.
        runs: whether it is run at all; what has no `main` is only looked at.
        checked: what is expected of the program that is built to print more; None where there is none.
    """

    program: Program
    task: Task
    expected: tuple[int, str]
    baseline: Build
    features: tuple[float, ...]
    checks: tuple[tuple[int, str], ...] = ()
    runs: bool = True
    checked: PreparedProgram | None = None


@dataclass(frozen=True)
class ProgramRun:
    """One run of a program, and what it left.

    Attributes:
        ran: how it ended.
        outcome: what it printed and wrote; empty where it did not end well.
        region: of the function whose calls are timed; None where whole runs are, or where it was not counted.
    """

    ran: Ran
    outcome: Outcome = Outcome("", True)
    region: Region | None = None

    @property
    def is_ok(self) -> bool:
        """Whether it ended by itself."""
        return self.ran.status == "ok"

    @property
    def result(self) -> tuple[int, str]:
        """(exit code, SHA-256 of what it printed and wrote)."""
        return self.ran.exit, self.outcome.digest

    @property
    def secs(self) -> float:
        """The time that counts: of all of it, or of one function's calls."""
        return self.region.secs if self.region is not None else self.ran.cpu_secs


class PassMeasurer:
    """Builds and times candidates in worker processes, which crash and hang in its place.

    Args:
        settings: repeats and limits.
        toolchain: LLVM; the installed one by default.
    """

    def __init__(
        self, settings: PassMeasureSettings = PassMeasureSettings(), toolchain: Toolchain | None = None
    ) -> None:
        self.settings = settings
        self._toolchain = toolchain or find_toolchain()
        if settings.sandbox:
            sandboxed([], Path(), [])  # bubblewrap is there, before anything is built
        self._scratch = ScratchFolder("foretune-passes-")
        self._folder = self._scratch.path
        core = max(os.sched_getaffinity(0)) if settings.core is None else settings.core
        hello = Start(str(self._toolchain.library), settings.memory_bytes, core)
        self.compiler = Compiler(self._toolchain, self._folder, settings.build_timeout_secs, settings.memory_bytes)
        self._references: dict[str, Outcome] = {}  # by digest, of programs with a tolerance
        self._runner = WorkerProcess("foretune.passes.llvm.worker", hello, grace_secs=_GRACE_SECS)

    def __enter__(self) -> PassMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes and removes what was built."""
        self.compiler.close()
        self._runner.close()
        self._scratch.close()

    @property
    def has_polly(self) -> bool:
        """Whether Polly can be used: it lives in the `opt` of some distributions."""
        return self._toolchain.has_polly

    def prepare(self, program: Program, run: bool = True, is_timed: bool = True) -> PreparedProgram:
        """Builds and runs a program without passes and with `-O3`.

        Args:
            program: which.
            run: whether it is linked and run; what is not can only be looked at.
            is_timed: whether its time is what counts; if not, it may be short.

        Raises:
            DataError: it cannot be built, or ends by a crash, a time-out or an exit code that was not expected; or what
                it prints or writes differs between two runs, or under `-O3`.
        """
        self.compiler.allow(program, _FIRST_SLOWER * self.settings.build_timeout_secs)
        with ThreadPoolExecutor(1) as thread:  # of a large program both take their time
            waiting = thread.submit(self._build, program, UNOPTIMISED, observe=True, link=run, worker=1)
            baseline = self.build(program, BASELINE, link=run)
            plain, reply = waiting.result()
        for build in (plain, baseline):
            if build.status is not Status.OK:
                hint = "; --build-timeout allows more" if build.status is Status.BUILD_TIMEOUT else ""
                raise DataError(f"{program.name} cannot be built: {build.error}{hint}")
        least = self.settings.build_timeout_secs
        self.compiler.allow(program, max(least, _SLOWER_THAN_BASELINE * baseline.secs))
        task = Task(
            Workload(program.hash, "", ProgramGraph.from_json((reply.before or {})["graph"]), program.name, "llvm"),
            self.target(),
        )
        if not run:
            return PreparedProgram(program, task, (0, ""), baseline, plain.before, runs=False)
        options = program.options
        given = Input(options.arguments, options.stdin)
        expected = self._expect(program, plain, baseline, given, is_timed=is_timed)
        checks = [self._expect(program, plain, baseline, given, is_check=True) for given in options.run.checks]
        checked = self.prepare(program.checked, is_timed=False) if program.checked is not None else None
        return PreparedProgram(program, task, expected, baseline, plain.before, tuple(checks), checked=checked)

    def _expect(
        self,
        program: Program,
        plain: Build,
        baseline: Build,
        given: Input,
        is_check: bool = False,
        is_timed: bool = True,
    ) -> tuple[int, str]:
        """What the unoptimised program does with an input; see `prepare`."""
        slow = _UNOPTIMISED_SLOWER * self.settings.run_timeout_secs
        on = f" on the check input {' '.join(given.arguments)!r}" if is_check else ""
        runs = []
        fast = self.settings.run_timeout_secs
        for build, limit, how in ((baseline, fast, "under -O3"),) * 2 + ((plain, slow, "without passes"),):
            runs.append(self._run(program, build.linked, given, limit))
            if not runs[-1].is_ok:
                is_late = runs[-1].ran.status == Status.RUN_TIMEOUT.value
                hint = "; give it less to do, or more time with --run-timeout" if is_late else ""
                raise DataError(f"{program.name} does not run{on}: {runs[-1].ran.error} {how}{hint}")
        first, second, unoptimised = runs
        expected = unoptimised.result
        if not is_check and program.options.run.expect_exit not in (None, expected[0]):
            raise DataError(
                f"{program.name} ends with exit code {expected[0]}, but {program.options.run.expect_exit} is expected;"
                f" it prints {unoptimised.outcome.last_line!r}. Bring what it reads with --arg, --stdin, --file or"
                f" --cwd; if all is well, say --expect-exit {expected[0]}"
            )
        if second.result != first.result:
            raise DataError(
                f"{program.name} prints another output each time{on}, so that candidates cannot be checked:"
                f" {describe_difference(first.outcome, second.outcome)}"
            )
        if program.is_relaxed:
            self._references[expected[1]] = unoptimised.outcome
        if not is_check:
            self._warn(program, first, is_timed)
        if wrong := self._why_wrong(program, first, expected):
            if not program.is_relaxed and first.ran.exit == expected[0]:
                wrong = describe_difference(unoptimised.outcome, first.outcome)
            raise DataError(
                f"{program.name} prints something else under -O3 than without passes{on}: "
                + ("its numbers need another tolerance" if program.is_relaxed else "it is not well defined")
                + f", or needs `-ffp-contract=off`, or tells times: {wrong}"
            )
        return expected

    def _warn(self, program: Program, run: ProgramRun, is_timed: bool) -> None:
        """Tells what makes figures of a program worth little.

        Raises:
            DataError: the function whose calls are timed has none, or they are not seen to end.
        """
        if why := _why_untimed(program, run):
            raise DataError(f"{program.name} cannot be timed: {why}")
        if run.outcome.is_silent and program.checked is None:
            _log.warning(
                "%s prints nothing and writes no file, so that candidates are checked by their exit code alone;"
                " PolyBench needs --check-define POLYBENCH_DUMP_ARRAYS",
                program.name,
            )
        if is_timed and run.secs < _SHORT_SECS:
            _log.warning(
                "%s runs for %.1f ms%s: differences of a hundredth are seen from %.0f ms on; give it more to do",
                program.timed or program.name,
                1e3 * run.secs,
                " in all its calls" if program.timed else ", of which starting it is much",
                1e3 * _SHORT_SECS,
            )
        if run.region is not None and run.region.is_slowed:
            _log.warning(
                "%s is called %d times, and each time looking at the clock adds %.0f ns, which is much of it: gains are"
                " larger than they seem; time a function that calls it",
                program.timed,
                run.region.num_calls,
                1e9 * run.region.clock_secs,
            )

    def _why_wrong(self, program: Program, run: ProgramRun, expected: tuple[int, str]) -> str:
        """Where a run that ended differs from what is expected of it; empty where it does nowhere."""
        if run.result == expected:
            return ""
        if run.ran.exit != expected[0]:
            return f"exit code {run.ran.exit} for {expected[0]}"
        if not program.is_relaxed or expected[1] not in self._references:
            return "the output, or a file that it wrote, differs from the unoptimised program's"
        return difference(run.outcome, self._references[expected[1]], program.options.run.tolerance)

    def check(self, prepared: PreparedProgram, build: Build) -> str:
        """Runs a candidate on the program's further inputs, and the program that prints more: where it differs from the
        unoptimised program; empty where it does nowhere.
        """
        if prepared.checked is not None and (wrong := self._check_other(prepared.checked, build.sequence)):
            return wrong
        for given, expected in zip(prepared.program.options.run.checks, prepared.checks):
            run = self._run(prepared.program, build.linked, given)
            if wrong := run.ran.error or self._why_wrong(prepared.program, run, expected):
                on = f"on the check input {' '.join(given.arguments)!r}"
                return f"{on} it differs from the unoptimised program: {wrong}"
        return ""

    def _check_other(self, checked: PreparedProgram, sequence: PassSequence) -> str:
        build = self.build(checked.program, sequence)
        if build.status is not Status.OK:
            return f"the program that is checked cannot be built: {build.error}"
        try:
            run = self._run(checked.program, build.linked)
            if wrong := run.ran.error or self._why_wrong(checked.program, run, checked.expected):
                return f"the program that is checked differs from the unoptimised one: {wrong}"
            return self.check(checked, build)
        finally:
            self.discard(build)

    def target(self) -> Target:
        """This machine."""
        return Target("llvm", (("mcpu", self.compiler.cpu),), HardwareFeatures())

    def build(
        self,
        program: Program,
        sequence: PassSequence,
        observe: bool = False,
        known: Collection[str] = (),
        link: bool = True,
    ) -> Build:
        """Runs a sequence over a program's module and links the result, unless it gives machine code whose hash is
        known.
        """
        start = time.perf_counter()
        return replace(self._build(program, sequence, observe, known, link)[0], secs=time.perf_counter() - start)

    def _build(
        self,
        program: Program,
        sequence: PassSequence,
        observe: bool = False,
        known: Collection[str] = (),
        link: bool = True,
        worker: int = 0,
    ) -> tuple[Build, Compiled]:
        reply, out = self.compiler.run_passes(program, sequence, observe, ".o", known, worker=worker)
        if reply.status != "ok":
            out.unlink(missing_ok=True)
            return Build(sequence, Status(reply.status), reply.error[:_SHOWN_CHARS]), reply
        before, after = (tuple((look or {}).get("features", ())) for look in (reply.before, reply.after))
        machine_code = out.read_bytes()
        made = Build(sequence, Status.OK, "", None, code_hash(machine_code), text_bytes(machine_code), before, after)
        if made.object_hash in known or not link:
            out.unlink()
            return made, reply
        executable, error = self._link(program, out)
        if executable is None:
            return replace(made, status=Status.BUILD_ERROR, error=f"cannot be linked: {error}"), reply
        return replace(made, executable=executable), reply

    def _link(self, program: Program, made: Path) -> tuple[Path | None, str]:
        linker = shutil.which("cc") or (str(self._toolchain.tool("clang")) if self._toolchain.has("clang") else None)
        if linker is None:
            raise UnsupportedError("a C compiler is needed to link programs: install gcc or clang")
        executable = made.with_suffix("")
        libraries = [f"-l{name}" for name in program.options.libraries]
        command = [
            linker,
            str(made),
            *map(str, program.objects),
            "-o",
            str(executable),
            *program.options.ldflags,
            *libraries,
        ]
        try:
            done = run_tool(command, _LINK_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            return None, f"the linker took more than {_LINK_TIMEOUT_SECS} s"
        finally:
            made.unlink()
        return (executable, "") if done.returncode == 0 else (None, _why(done.stderr))

    def _run(
        self, program: Program, executable: Path, given: Input | None = None, timeout_secs: float = 0.0
    ) -> ProgramRun:
        timeout_secs = timeout_secs or self.settings.run_timeout_secs
        given = given or Input(program.options.arguments, program.options.stdin)
        stdout, folder = self._folder / "stdout", self._folder / "run"
        make_folder(folder, program.options.run)
        executable = self._at_one_place(executable, program.name)
        command = [str(executable), *given.arguments]
        if self.settings.sandbox:
            named = [path for path in map(Path, given.arguments) if path.is_absolute() and path.exists()]
            command = sandboxed(command, folder, [executable, *named])
        request = RunProgram(
            tuple(command),
            str(folder),
            str(given.stdin or os.devnull),
            str(stdout),
            timeout_secs,
            self.settings.memory_bytes,
            self.settings.max_processes,
        )
        try:
            ran = self._runner.request(request, timeout_secs + _GRACE_SECS)
        except (Silence, Death) as error:
            ran = Ran("run_error", str(error))
        if ran.status == "error":
            ran = replace(ran, status="run_error")
        if ran.status != "ok":
            return ProgramRun(ran)
        region = take_region(folder) if program.timed else None
        return ProgramRun(ran, read_outcome(stdout, folder, program.options.run), region)

    def _at_one_place(self, executable: Path, name: str) -> Path:
        """An executable under the program's own name: what a program is called by is on its stack, and some print it,
        so that it must be the same for all candidates.
        """
        place = self._folder / "program" / (Path(name).name.strip(".") or "program")
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        os.link(executable, place)
        return place

    def cpu_secs(self, program: Program, build: Build) -> float:
        """Process CPU time of one run.

        Raises:
            DataError: the program does not end well.
        """
        run = self._run(program, build.linked)
        if not run.is_ok:
            raise DataError(f"{program.name} does not run: {run.ran.error}")
        return run.ran.cpu_secs

    def compare(self, prepared: PreparedProgram, program: Program, build: Build) -> tuple[tuple[int, str], str]:
        """((exit code, digest of what it prints and writes) of one run, where that differs from what is expected).

        Args:
            prepared: the program that says what is expected.
            program: that was built: it, or another one in its place.
            build: which is run.

        Raises:
            DataError: the program does not end well.
        """
        run = self._run(program, build.linked)
        if not run.is_ok:
            raise DataError(f"{program.name} does not run: {run.ran.error}")
        return run.result, self._why_wrong(prepared.program, run, prepared.expected)

    def time(self, prepared: PreparedProgram, builds: Many[Build], repeats: int | None = None) -> list[Timing]:
        """Times candidates in turns with the baseline; one result for each, in order."""
        return [self._time(prepared, build, repeats or self.settings.repeats) for build in builds]

    def _time(self, prepared: PreparedProgram, build: Build, repeats: int) -> Timing:
        if build.status is not Status.OK:
            return Timing(self._record(prepared, build, build.status, (), build.error))
        own: list[float] = []
        baseline: list[float] = []
        for _ in range(repeats):
            run = self._run(prepared.program, build.linked)
            if not run.is_ok:
                return Timing(self._record(prepared, build, Status(run.ran.status), (), run.ran.error))
            if wrong := self._why_wrong(prepared.program, run, prepared.expected):
                return Timing(self._record(prepared, build, Status.WRONG_OUTPUT, (), wrong))
            if why := _why_untimed(prepared.program, run):
                return Timing(self._record(prepared, build, Status.RUN_ERROR, (), why))
            own.append(max(run.secs, 1e-6))
            other = self._run(prepared.program, prepared.baseline.linked)
            if not other.is_ok:
                raise DataError(f"{prepared.program.name} no longer runs under -O3: {other.ran.error}")
            if why := _why_untimed(prepared.program, other):
                raise DataError(f"{prepared.program.name} can no longer be timed under -O3: {why}")
            baseline.append(max(other.secs, 1e-6))
            if min(own) > _HOPELESS * min(baseline):
                break
        return Timing(self._record(prepared, build, Status.OK, tuple(own), ""), tuple(baseline))

    def failed(self, prepared: PreparedProgram, build: Build, error: str) -> MeasureRecord:
        """The record of a candidate that does something else on one of the program's further inputs."""
        return self._record(prepared, build, Status.WRONG_OUTPUT, (), error)

    def _record(
        self, prepared: PreparedProgram, build: Build, status: Status, secs: tuple[float, ...], error: str
    ) -> MeasureRecord:
        settings = MeasureSettings(
            self.settings.repeats,
            1e-3,
            self.settings.build_timeout_secs,
            self.settings.run_timeout_secs,
            self.settings.memory_bytes,
        )
        environment = (("llvm", self.compiler.version), ("machine", platform.machine()), ("cpu", self.compiler.cpu))
        candidate = Candidate(prepared.task, build.sequence.trace())
        return MeasureRecord(candidate, status, secs, error, build.object_hash, environment, settings, time.time())

    def discard(self, build: Build) -> None:
        """Removes a program that is not needed any more."""
        if build.executable is not None:
            with contextlib.suppress(FileNotFoundError):
                build.executable.unlink()


def _why_untimed(program: Program, run: ProgramRun) -> str:
    """Why a run has no time where one function's calls are timed; empty where it has one."""
    return why_untimed(run.region, program.timed) if program.timed else ""


def _why(said: str) -> str:
    """What a linker's messages come to."""
    lines = said.strip().splitlines() or ["the linker failed"]
    first = next(
        (line for line in lines if "undefined" in line or "multiple definition" in line or "cannot find" in line),
        lines[-1],
    )
    hint = (
        "; a file without a main is tuned by --call, or looked at with --objective instructions, size or cycles"
        if "`main'" in first
        else ""
    )
    return first[:_SHOWN_CHARS] + hint
