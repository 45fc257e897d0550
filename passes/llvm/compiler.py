"""Modules through LLVM, in worker processes: passes run over them, machine code made of them, and what they look
like.
"""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
from collections.abc import Collection
from collections.abc import Sequence as Many
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foretune.errors import DataError, IllegalActionError
from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.machine_code import code_hash
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.toolchain import Toolchain
from foretune.support.tools import run_tool
from foretune.target import num_usable_cores
from foretune.workers.process import Death, Silence, WorkerProcess

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
        self._hello = {"library": str(toolchain.library), "memory_bytes": memory_bytes, "core": None}
        self._workers = [self._new_worker()]
        self._count = 0

    def _new_worker(self) -> WorkerProcess:
        return WorkerProcess("foretune.passes.llvm.worker", self._hello)

    def close(self) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.close()

    @property
    def cpu(self) -> str:
        """The processor's name, as LLVM knows it."""
        self._workers[0].start()
        return self._workers[0].welcome["cpu"]

    @property
    def version(self) -> str:
        """Of LLVM."""
        self._workers[0].start()
        return ".".join(map(str, self._workers[0].welcome["version"]))

    def run_passes(
        self, program: Program, sequence: PassSequence, observe: bool, suffix: str, known: Collection[str] = ()
    ) -> tuple[dict[str, Any], Path]:
        """(the worker's reply, the file that it wrote): an object file, assembly or bitcode, by the suffix; of code
        with known hashes no look after.
        """
        self._count += 1
        out = self._folder / f"{self._count}{suffix}"
        return self._run_in(self._workers[0], program, sequence, observe, out, self._timeout_secs, known), out

    def _run_in(
        self,
        worker: WorkerProcess,
        program: Program,
        sequence: PassSequence,
        observe: bool,
        out: Path,
        timeout_secs: float,
        known: Collection[str] = (),
    ) -> dict[str, Any]:
        flags, features = _flags(sequence)
        request = {
            "op": "build",
            "source": str(program.module),
            "pipeline": sequence.pipeline,
            "flags": flags,
            "features": features,
            "opt": str(self._toolchain.tool("opt")) if sequence.uses_polly else None,
            "observe": observe,
            "out": str(out),
            "known": list(known),
            "timeout_secs": timeout_secs,
        }
        try:
            return worker.request(request, timeout_secs + _GRACE_SECS)
        except Silence:
            return {"status": "build_timeout", "error": "the worker did not answer"}
        except Death as error:
            return {"status": "build_error", "error": str(error)}

    def code_hashes(
        self, program: Program, sequences: Many[PassSequence], timeout_secs: float = _CODE_TIMEOUT_SECS
    ) -> list[str]:
        """Hash of the machine code that each sequence gives, on all cores; empty where it fails, or takes longer than
        the limit of one of them.
        """
        self._workers += [self._new_worker() for _ in range(num_usable_cores() - len(self._workers))]
        free = queue.SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def hash_of(number: int, sequence: PassSequence) -> str:
            worker = free.get()
            out = self._folder / f"code-{number}.o"
            try:
                reply = self._run_in(worker, program, sequence, False, out, timeout_secs)
                return code_hash(out.read_bytes()) if reply["status"] == "ok" else ""
            finally:
                out.unlink(missing_ok=True)
                free.put(worker)

        with ThreadPoolExecutor(len(self._workers)) as pool:
            return list(pool.map(hash_of, range(len(sequences)), sequences))

    def mca_cycles(self, program: Program, sequence: PassSequence) -> float | None:
        """The cycles that llvm-mca expects of a module's code, taken as one block; None where it cannot tell.

        Raises:
            UnsupportedError: llvm-mca is not installed.
        """
        self._toolchain.tool("llvm-mca")
        reply, out = self.run_passes(program, sequence, False, ".s")
        return self._mca(out) if reply["status"] == "ok" else None

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
        self._ask_of_module(
            {
                "op": "build",
                "source": str(module),
                "pipeline": "",
                "flags": [],
                "features": "",
                "opt": None,
                "observe": False,
                "known": [],
                "out": str(out),
            }
        )

    def signatures(self, module: Path) -> dict[str, tuple[str, list[str]]]:
        """Functions of a module that can be called from outside: name -> (type of the result, types of the parameters),
        as LLVM writes them.

        Raises:
            DataError: the module cannot be read.
        """
        return {
            name: (result, parameters)
            for name, result, parameters in self._ask_of_module({"op": "signatures", "source": str(module)})[
                "signatures"
            ]
        }

    def triplets(self, module: Path, optimised: bool) -> list[list]:
        """What an embedding's vocabulary is learnt from, of a module as it is or after `-O3`; see `embedding.triplets`.

        Raises:
            DataError: the module cannot be read.
        """
        return self._ask_of_module(
            {"op": "triplets", "source": str(module), "pipeline": BASELINE.pipeline if optimised else ""}
        )["triplets"]

    def observe_steps(self, program: Program, sequence: PassSequence) -> tuple[list[Look], str]:
        """What a module looks like before a sequence, and after each pass of it.

        Returns:
            (a look for each, the first one before all passes; why there are fewer, or nothing).

        Raises:
            DataError: the module cannot be read.
            IllegalActionError: the sequence needs Polly, which runs in another program.
        """
        if sequence.uses_polly:
            raise IllegalActionError(
                "a sequence with Polly cannot be looked at step by step: Polly runs in `opt` as a whole"
            )
        folder = self._folder / "steps"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        elements = [PassSequence((one,)).pipeline for one in sequence.passes]
        flags, features = _flags(sequence)
        request = {
            "op": "steps",
            "source": str(program.module),
            "elements": elements,
            "flags": flags,
            "features": features,
            "folder": str(folder),
        }
        reply = self._ask_of_module(request)
        looks = [
            Look(tuple(look["features"]), np.array(look["embedding"]), self._mca(Path(look["assembly"])))
            for look in reply["looks"]
        ]
        return looks, reply["error"]

    def _ask_of_module(self, request: dict[str, Any]) -> dict[str, Any]:
        limit = self._timeout_secs
        try:
            reply = self._workers[0].request({**request, "timeout_secs": limit}, limit + _GRACE_SECS)
        except (Silence, Death) as error:
            raise DataError(f"{request['source']}: {error}") from None
        if reply["status"] != "ok":
            raise DataError(f"{request['source']}: {reply['error'][:_SHOWN_CHARS]}")
        return reply


def _flags(sequence: PassSequence) -> tuple[list[str], str]:
    """(flags for the library's command line, features that functions ask for)."""
    features = ",".join(str(flag.value) for flag in sequence.flags if flag.name == "mattr")
    return PassSequence((), tuple(flag for flag in sequence.flags if flag.name != "mattr")).flag_texts, features
