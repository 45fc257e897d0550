"""Measurers without a compiler and without a clock: what becomes of a candidate goes by its text alone. All else, the
searches, the loop, the records and the command line, is the real one.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from foretune.errors import IllegalActionError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.execution.outcome import Outcome
from foretune.passes.llvm.execution.running import Ran
from foretune.passes.llvm.measure import UNOPTIMISED, Build, PassMeasurer, PassMeasureSettings, ProgramRun
from foretune.passes.llvm.messages import Compiled
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.program import Program
from foretune.passes.mlir.environment.messages import GraphRead
from foretune.passes.mlir.environment.session import MlirBuild, Run, SessionSettings
from foretune.passes.mlir.environment.signature import Signature
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.measure import BuiltSchedule, MlirMeasurer
from foretune.program import ProgramGraph
from foretune.record import Status

BASELINE_SECS = 0.01
MLIR_PROGRAM = MlirProgram("made-up", "module {}", Signature("main", (), ()), "00000000deadbeef")


def number_of(text: str) -> int:
    """A number that goes by a text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def pass_program(folder: Path) -> Program:
    """A program that nobody compiles."""
    (folder / "made-up.bc").write_bytes(b"made up")
    return Program("made-up", folder / "made-up.bc")


class MadeUpCompiler:
    """Of the screening and of counted objectives: nine steps of ten change nothing."""

    version, cpu = "made-up", "made-up"

    def code_hashes(self, program, sequences, timeout_secs):
        return ["o3" if s == BASELINE or number_of(str(s)) % 10 else f"{number_of(str(s)):x}" for s in sequences]

    def cycles(self, program, sequence):
        return 100.0 if sequence == BASELINE else 80.0 + number_of(str(sequence)) % 50

    def allow(self, program, timeout_secs):
        pass

    def close(self):
        pass


class MadeUpPassMeasurer(PassMeasurer):
    """Flags with `threshold` help, long sequences cost a little, some steps crash or give a wrong output, and sequences
    of the same set of steps give the same machine code.
    """

    has_polly = False

    def __init__(self, settings=PassMeasureSettings(), toolchain=None):
        self.settings, self.compiler = settings, MadeUpCompiler()

    def close(self):
        pass

    def discard(self, build: Build) -> None:
        pass

    def _build(self, program, sequence, observe=False, known=(), link=True, worker=0):
        steps = [] if sequence == UNOPTIMISED else sorted({str(s) for s in (*sequence.passes, *sequence.flags)})
        counts = tuple(5.0 + number_of(f"{name}{steps}") % 7 for name in FEATURES)
        code = f"{number_of(str(steps)):x}" if steps else "plain"
        reply = Compiled("ok", before={"graph": ProgramGraph((), ()).to_json()})
        if number_of(str(sequence)) % 11 == 0 and sequence not in (UNOPTIMISED, BASELINE):
            return Build(sequence, Status.BUILD_ERROR, "the made-up compiler crashed"), reply
        path = program.module.parent / f"{sequence}"
        return Build(sequence, Status.OK, "", path, code, 50 + number_of(code) % 100, counts, counts), reply

    def _run(self, program, executable, given=None, timeout_secs=0.0):
        text = executable.relative_to(program.module.parent).as_posix()
        secs = BASELINE_SECS * (1 + 0.001 * len(text.split(",")))
        if text not in (str(UNOPTIMISED), str(BASELINE)):
            secs *= (0.9 + number_of(text) % 100 / 500) / (1 + 0.1 * min(3, text.count("threshold")))
        output = "wrong" if number_of(text) % 13 == 5 and text not in (str(UNOPTIMISED), str(BASELINE)) else "right"
        outcome = Outcome(output, False)
        return ProgramRun(Ran("ok", cpu_secs=secs), outcome)


class Forks:
    """A template with something to find."""

    operations: ClassVar[dict[str, str]] = {}

    def schedule(self, choose):
        sizes = choose("rows", (1, 2, 4, 8, 16)), choose("columns", (4, 8, 16, 32, 64))
        if choose("illegal", (False, True)):
            raise IllegalActionError("rows and columns must be legal")
        texts = [f"tile{{on=linalg:0 sizes={sizes[0]},{sizes[1]}}}"]
        texts += ["vectorize{on=linalg:0}"] * choose("vectorise", (False, True))
        return Schedule.of(*texts, *(["canonicalize", "cse"][i] for i in range(choose("tidy", (0, 1, 2)))))


class MadeUpSession:
    """What a measurer asks of MLIR, without MLIR."""

    settings, version, cpu = SessionSettings(), "made-up", "made-up"

    def __init__(self, settings=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def file(self, suffix):
        return Path(f"made-up{suffix}")

    def describe(self, text, schedule=Schedule()):
        return {"ops": []}

    def graph(self, text):
        return GraphRead("ok")

    def run(self, build, repeats=0, repeat_ms=0.0, seed=0, keep=None):
        return Run(Status.OK)

    def build(self, text, entry, schedule, suffixes=(), stages=()):
        return MlirBuild(Status.OK, texts={"script": f"transform of {schedule}"})


class MadeUpMlirMeasurer(MlirMeasurer):
    """Large tiles and vectors help; too large ones fail, some give wrong outputs, one kind kills MLIR."""

    def build(self, program, schedule):
        text = str(schedule)
        if "sizes=16,16}" in text:
            return BuiltSchedule(schedule, MlirBuild(Status.BUILD_ERROR, "MLIR was killed by signal 6"), "")
        code = f"{number_of(text.replace('; cse', '').replace(';cse', '')):x}"  # `cse` changes no code
        return BuiltSchedule(schedule, MlirBuild(Status.OK, signature=SimpleNamespace(text=text)), code)

    def _run(self, program, built, reference, repeats):
        if built.build.status is not Status.OK:
            return Run(built.build.status, error=built.build.error)
        if not built.schedule.actions:
            return Run(Status.OK, (BASELINE_SECS,) * repeats)
        (rows, columns), vector = dict(built.schedule.actions[0].options)["sizes"], "vectorize" in str(built.schedule)
        if rows * columns > 512:
            return Run(Status.RUN_TIMEOUT, error="no end")
        if number_of(f"{rows} {columns}") % 9 == 0:
            return Run(Status.WRONG_OUTPUT, difference=1.0, error="it differs")
        secs = BASELINE_SECS / (0.6 + vector + 0.2 * math.log2(rows) + 0.2 * math.log2(columns))
        return Run(Status.OK, (secs,) * repeats, 1e-7)


def scores(candidates: list[PassSequence] | list[Schedule]) -> list[float]:
    """A ranking that is not quite right."""
    return [float(str(c).count("threshold") + str(c).count("vectorize")) + number_of(str(c)) % 10 for c in candidates]
