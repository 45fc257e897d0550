"""Modules through LLVM, in worker processes: passes run over them, machine code made of them, and what they look
like.
"""

from __future__ import annotations

import itertools
import platform
import re
import shutil
import subprocess
from collections.abc import Collection
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foretune.errors import DataError, IllegalActionError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.cycles.assembly import public_names, read_functions
from foretune.passes.llvm.cycles.estimate import module_cycles
from foretune.passes.llvm.machine_code import code_hash
from foretune.passes.llvm.messages import (
    Compile,
    Compiled,
    ObserveSteps,
    OfModule,
    ReadSignatures,
    ReadTriplets,
    Start,
    Started,
)
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.toolchain import Toolchain
from foretune.support.tools import run_tool
from foretune.target import num_usable_cores
from foretune.workers.messages import R
from foretune.workers.pool import WorkerPool
from foretune.workers.process import Death, Silence, WorkerProcess

_PROCESSOR = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
_TRIPLE = f"-mtriple={_PROCESSOR}-unknown-linux-gnu"  # files of other systems have no map of blocks
_WITH_FREQUENCIES = ("-basic-block-address-map", "-pgo-analysis-map=bb-freq")
_AS_O0 = "always-inline"  # what -O0 runs, too: libraries lack some of what they say is always inlined
_GRACE_SECS = 10.0
_CODE_TIMEOUT_SECS = 4.0  # of a compilation that is only looked at
_SHOWN_CHARS = 400


@dataclass(frozen=True)
class Look:
    """What a module looks like at one point of a sequence.

    Attributes:
        features: counts, in the order of `observe.FEATURES`.
        embedding: as of `embedding.embed`, [D].
        mca_cycles: that llvm-mca expects of its code, taken as one block; None where it cannot tell.
    """

    features: tuple[float, ...]
    embedding: np.ndarray
    mca_cycles: float | None


class Compiler:
    """Works on modules in worker processes, which crash and hang in its place.

    Args:
        toolchain: LLVM.
        folder: where files go.
        timeout_secs, memory_bytes: limits of one compilation.
    """

    def __init__(self, toolchain: Toolchain, folder: Path, timeout_secs: float, memory_bytes: int) -> None:
        self._toolchain, self._folder, self._timeout_secs = toolchain, folder, timeout_secs
        hello = Start(str(toolchain.library), memory_bytes)
        self._workers: WorkerPool[Started] = WorkerPool(
            lambda: WorkerProcess("foretune.passes.llvm.worker", hello), num_workers=1
        )
        self._count = itertools.count(1)
        self._limits: dict[str, float] = {}  # of programs, by their hash

    def allow(self, program: Program, timeout_secs: float) -> None:
        """Lets each compilation of a program take so long."""
        self._limits[program.hash] = timeout_secs

    def limit_of(self, program: Program) -> float:
        """Seconds that one compilation of a program may take."""
        return self._limits.get(program.hash, self._timeout_secs)

    def close(self) -> None:
        """Ends the processes."""
        self._workers.close()

    @property
    def cpu(self) -> str:
        """The processor's name, as LLVM knows it."""
        self._workers[0].start()
        return self._workers[0].welcome.cpu

    @property
    def version(self) -> str:
        """Of LLVM."""
        self._workers[0].start()
        return ".".join(map(str, self._workers[0].welcome.version))

    def run_passes(
        self,
        program: Program,
        sequence: PassSequence,
        observe: bool,
        suffix: str,
        known: Collection[str] = (),
        weigh: bool = False,
        worker: int = 0,
    ) -> tuple[Compiled, Path]:
        """(the worker's reply, the file that it wrote): an object file, assembly or bitcode, by the suffix; of code
        with known hashes no look after; with the weights of `trips.py`, if it shall be weighed. Two threads may each
        use a worker of their own.
        """
        self._workers.grow(worker + 1)
        out = self._folder / f"{next(self._count)}{suffix}"
        return self._run_in(
            self._workers[worker], program, sequence, observe, out, self.limit_of(program), known, weigh
        ), out

    def _run_in(
        self,
        worker: WorkerProcess[Started],
        program: Program,
        sequence: PassSequence,
        observe: bool,
        out: Path,
        timeout_secs: float,
        known: Collection[str] = (),
        weigh: bool = False,
    ) -> Compiled:
        if sequence.relaxes and not program.is_relaxed:
            return Compiled("illegal", "fast-math changes what a program computes, and needs a tolerance")
        flags, features = _flags(sequence)
        request = Compile(
            str(program.module),
            str(out),
            timeout_secs,
            sequence.pipeline or (_AS_O0 if out.suffix == ".o" else ""),
            flags,
            features,
            tuple((hint.name, hint.options) for hint in sequence.hints_for(program.is_relaxed)),
            str(self._toolchain.tool("opt")) if sequence.uses_polly else "",
            observe,
            weigh,
            tuple(known),
        )
        try:
            reply = worker.request(request, timeout_secs + _GRACE_SECS)
        except Silence:
            return Compiled("build_timeout", "the worker did not answer")
        except Death as error:
            return Compiled("build_error", str(error))
        return replace(reply, status="build_error") if reply.status == "error" else reply

    def code_hashes(
        self, program: Program, sequences: Many[PassSequence], timeout_secs: float = _CODE_TIMEOUT_SECS
    ) -> list[str]:
        """Hash of the machine code that each sequence gives, on all cores; empty where it fails, or takes longer than
        the limit of one of them.
        """
        self._workers.grow(num_usable_cores())

        def hash_of(worker: WorkerProcess[Started], job: tuple[int, PassSequence]) -> str:
            number, sequence = job
            out = self._folder / f"code-{number}.o"
            try:
                reply = self._run_in(worker, program, sequence, False, out, timeout_secs)
                return code_hash(out.read_bytes()) if reply.status == "ok" else ""
            finally:
                out.unlink(missing_ok=True)

        return self._workers.map(hash_of, list(enumerate(sequences)))

    def cycles(self, program: Program, sequence: PassSequence) -> float | None:
        """The cycles of a module's code that llvm-mca expects, each block as often as it is thought to run; see
        `cycles/estimate.py`. None where it cannot tell.

        Raises:
            UnsupportedError: llc or llvm-mca is not installed.
        """
        llc, mca = self._toolchain.tool("llc"), self._toolchain.tool("llvm-mca")
        reply, module = self.run_passes(program, sequence, False, ".bc", weigh=True)
        assembly = module.with_suffix(".s")
        try:
            if reply.status != "ok":
                return None
            flags = tuple(f for f in sequence.flags if not f.kind.polly and f.name != "mattr")
            command = [str(llc), "-O3", "-relocation-model=pic", _TRIPLE, f"-mcpu={self.cpu}", *_WITH_FREQUENCIES]
            done = run_tool(
                [*command, *PassSequence((), flags).flag_texts, str(module), "-o", str(assembly)],
                self.limit_of(program),
            )
            if done.returncode:
                return None
            text = assembly.read_text(errors="replace")
        except subprocess.TimeoutExpired:
            return None
        finally:
            for path in (module, assembly):
                path.unlink(missing_ok=True)
        asked = [str(mca), f"-mcpu={self.cpu}", "-skip-unsupported-instructions=any"]
        return module_cycles(read_functions(text), public_names(text), asked, self.limit_of(program))

    def _mca(self, out: Path) -> float | None:
        tool = self._toolchain.tool("llvm-mca")
        command = [str(tool), f"-mcpu={self.cpu}", "-iterations=100", "-skip-unsupported-instructions=any", str(out)]
        try:
            done = run_tool(command, self._timeout_secs)
        except subprocess.TimeoutExpired:
            return None
        finally:
            out.unlink(missing_ok=True)
        found = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.M)
        return float(found[1]) / 100 if found else None

    def compile(self, module: Path, out: Path) -> None:
        """Compiles a module to an object file, without passes.

        Raises:
            DataError: it cannot be compiled.
        """
        self._ask_of_module(Compile(str(module), str(out), self._timeout_secs))

    def signatures(self, module: Path) -> dict[str, tuple[str, list[str]]]:
        """Functions of a module that can be called from outside: name -> (type of the result, types of the parameters),
        as LLVM writes them.

        Raises:
            DataError: the module cannot be read.
        """
        reply = self._ask_of_module(ReadSignatures(str(module), self._timeout_secs))
        return {name: (result, list(parameters)) for name, result, parameters in reply.signatures}

    def triplets(self, module: Path, optimised: bool) -> list[list]:
        """What an embedding's vocabulary is learnt from, of a module as it is or after `-O3`; see `embedding.triplets`.

        Raises:
            DataError: the module cannot be read.
        """
        pipeline = BASELINE.pipeline if optimised else ""
        return self._ask_of_module(ReadTriplets(str(module), pipeline, self._timeout_secs)).triplets

    def observe_steps(self, program: Program, sequence: PassSequence) -> tuple[list[Look], str]:
        """What a module looks like before a sequence, and after each pass of it.

        Returns:
            (a look for each, the first one before all passes; why there are fewer, or nothing).

        Raises:
            DataError: the module cannot be read.
            IllegalActionError: the sequence needs Polly, which runs in another program, or has hints.
        """
        if sequence.uses_polly:
            raise IllegalActionError(
                "a sequence with Polly cannot be looked at step by step: Polly runs in `opt` as a whole"
            )
        if sequence.hints:
            raise IllegalActionError("a sequence with hints cannot be looked at step by step: they are no passes")
        folder = self._folder / "steps"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        elements = tuple(PassSequence((one,)).pipeline for one in sequence.passes)
        flags, features = _flags(sequence)
        reply = self._ask_of_module(
            ObserveSteps(str(program.module), elements, flags, features, str(folder), self._timeout_secs)
        )
        looks = [Look(look.features, np.array(look.embedding), self._mca(Path(look.assembly))) for look in reply.looks]
        return looks, reply.error

    def _ask_of_module(self, request: OfModule[R]) -> R:
        try:
            reply = self._workers[0].request(request, self._timeout_secs + _GRACE_SECS)
        except (Silence, Death) as error:
            raise DataError(f"{request.source}: {error}") from None
        if reply.status != "ok":
            raise DataError(f"{request.source}: {reply.error[:_SHOWN_CHARS]}")
        return reply


def _flags(sequence: PassSequence) -> tuple[tuple[str, ...], str]:
    """(flags for the library's command line, features that functions ask for)."""
    features = ",".join(str(flag.value) for flag in sequence.flags if flag.name == "mattr")
    others = tuple(flag for flag in sequence.flags if flag.name != "mattr")
    return tuple(PassSequence(sequence.hints, others).flag_texts), features
