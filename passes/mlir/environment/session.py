"""The MLIR environment, seen from the calling process: modules are texts, and all work on them happens in workers.

No MLIR is loaded here. A module that crashes MLIR, an action that loops, a program that eats memory: each is a status
or a clear error.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from foretune.errors import DataError, IllegalActionError, OptionError, UnsupportedError, WorkerError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.environment.messages import (
    Apply,
    ApplyScript,
    Build,
    Describe,
    GraphRead,
    Inspect,
    Inspected,
    OfModule,
    Ran,
    ReadGraph,
    RunEntry,
    Specialise,
    StartBuilder,
    StartRunner,
)
from foretune.passes.mlir.environment.signature import Signature
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.record import Status
from foretune.support.optional import missing
from foretune.support.scratch import ScratchFolder
from foretune.workers.messages import R, Request, reply_type
from foretune.workers.process import Death, Silence, WorkerProcess

_GRACE_SECS = 10.0
_MAX_TEXT_BYTES = 32 << 20


@dataclass(frozen=True)
class SessionSettings:
    """Limits of what the workers do.

    Attributes:
        build_timeout_secs, run_timeout_secs: of one request.
        memory_bytes: address space of one request.
        core: that programs run on; None for the last one that this process may use.
    """

    build_timeout_secs: float = 30.0
    run_timeout_secs: float = 30.0
    memory_bytes: int = 8 << 30
    core: int | None = None

    def __post_init__(self) -> None:
        for name in ("build_timeout_secs", "run_timeout_secs", "memory_bytes"):
            if not getattr(self, name) > 0:
                raise OptionError(f"`{name} > 0` must hold, but got {name}={getattr(self, name)}")
        if self.core is not None and self.core not in os.sched_getaffinity(0):
            raise OptionError(f"core must be one of {sorted(os.sched_getaffinity(0))}, but got {self.core}")


@dataclass(frozen=True)
class Inspection:
    """What a module has.

    Attributes:
        text: as MLIR prints it.
        entries: public functions that can be run.
        refused: name -> why a public function cannot be run.
        called: those of both that other functions call.
    """

    text: str
    entries: tuple[Signature, ...]
    refused: dict[str, str]
    called: tuple[str, ...] = ()

    def entry(self, name: str | None = None) -> Signature:
        """One of them; without a name, the only one, or the only one that no other function calls.

        Raises:
            OptionError, DataError: there is no such function, it cannot be run, or there are several.
        """
        found = {entry.name: entry for entry in self.entries}
        if name is not None:
            if name in self.refused:
                raise DataError(self.refused[name])
            if name not in found:
                raise OptionError(f"the entry must be one of {sorted(found)}, but got {name!r}")
            return found[name]
        outermost = [entry for entry in (*found, *self.refused) if entry not in self.called]
        if len(outermost) == 1 and outermost[0] in found:
            return found[outermost[0]]
        if not found and self.refused:
            raise DataError("; ".join(self.refused.values()))
        if not found:
            raise DataError("the module has no public function with a body")
        raise OptionError(
            f"the module has several public functions, {sorted((*found, *self.refused))}: choose one as the entry"
        )


@dataclass(frozen=True)
class MlirBuild:
    """What became of a module and a schedule before it ran.

    Attributes:
        status: OK, or how it ended.
        error: MLIR's words.
        step: index of the action that was refused; -1 otherwise.
        texts: of the stages that were asked for.
        files: suffix -> file that was written.
        signature: of the entry.
    """

    status: Status
    error: str = ""
    step: int = -1
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    signature: Signature | None = None

    def discard(self) -> None:
        """Removes the files."""
        for path in self.files.values():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


@dataclass(frozen=True)
class Run:
    """What became of a build when it ran.

    Attributes:
        status: OK, or how it ended.
        run_secs: CPU seconds of one call, for each repeat.
        difference: of the outputs from the reference's, over the largest element. Lower is better.
        error: what went wrong.
    """

    status: Status
    run_secs: tuple[float, ...] = ()
    difference: float = 0.0
    error: str = ""


class MlirSession:
    """Worker processes that parse, transform, build and run modules.

    Args:
        settings: limits.

    Attributes:
        worker: module of the process that works on modules.
    """

    worker = "foretune.passes.mlir.environment.worker"

    def __init__(self, settings: SessionSettings = SessionSettings()) -> None:
        linker = shutil.which("cc") or shutil.which("clang")
        if linker is None:
            raise UnsupportedError("a C compiler is needed to link programs: install gcc or clang")
        self.settings = settings
        self._scratch = ScratchFolder("foretune-mlir-")
        self._folder = self._scratch.path
        core = max(os.sched_getaffinity(0)) if settings.core is None else settings.core
        self._builder = WorkerProcess(
            self.worker, StartBuilder(str(find_toolchain().library), linker, settings.memory_bytes)
        )
        self._runner = WorkerProcess(
            "foretune.passes.mlir.environment.worker", StartRunner(core, settings.memory_bytes)
        )
        self._count = itertools.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes and removes what was built."""
        self._builder.close()
        self._runner.close()
        self._scratch.close()

    @property
    def cpu(self) -> str:
        """The processor's name, as LLVM knows it."""
        self._start()
        return self._builder.welcome.cpu

    @property
    def version(self) -> str:
        """LLVM's, of the code generator."""
        self._start()
        return ".".join(map(str, self._builder.welcome.version))

    def _start(self) -> None:
        try:
            self._builder.start()
        except WorkerError as error:
            if "No module named 'mlir'" in str(error):
                raise missing("mlir", "work on MLIR modules") from None
            raise

    # -- modules -----------------------------------------------------------------------------------

    def inspect(self, source: str) -> Inspection:
        """Parses and verifies a module.

        Raises:
            DataError: it is not valid, too large, or crashes MLIR.
        """
        return self._inspected(Inspect(source, self.settings.build_timeout_secs))

    def specialise(self, source: str, entry: str | None, sizes: Many[int]) -> Inspection:
        """Parses a module and gives the `?` of its entry's arguments extents, from left to right.

        Raises:
            OptionError: a size is no positive number.
            DataError: as `inspect`; or the number of sizes is another than that of the unknown extents.
        """
        if not all(type(size) is int and 0 < size < 1 << 31 for size in sizes):
            raise OptionError(f"sizes must be positive integers, but got {list(sizes)}")
        return self._inspected(Specialise(source, self.settings.build_timeout_secs, entry, tuple(sizes)))

    def _inspected(self, request: OfModule[Inspected]) -> Inspection:
        reply = self._ask_builder(request)
        if "was killed by signal" in reply.error or reply.status == "build_timeout":
            raise DataError(
                "the module is too much for MLIR's parser or verifier, by its depth, its size or a fault of theirs:"
                f" {reply.error}"
            )
        if reply.status != "ok":
            raise DataError(reply.error)
        entries = tuple(Signature.from_json(e) for e in reply.entries)
        return Inspection(reply.text, entries, reply.refused, tuple(reply.called))

    def apply(self, source: str, schedule: Schedule, each: bool = False) -> list[str]:
        """Applies a schedule, without the default lowering.

        Args:
            source: the module.
            schedule: what to do.
            each: whether the text after each action is wanted.

        Returns:
            The module's text after each action, or after all of them.

        Raises:
            IllegalActionError: an action cannot be applied, or the module is not valid.
            DataError: MLIR crashed or took too long.
        """
        reply = self._ask_builder(Apply(source, self.settings.build_timeout_secs, tuple(schedule.to_json()), each))
        if reply.status == "illegal":
            raise IllegalActionError(reply.error)
        if reply.status != "ok":
            raise DataError(reply.error)
        return list(reply.texts)

    def apply_script(self, source: str, script: str) -> str:
        """Applies a transform module, such as a schedule prints, in one go; the module's text afterwards.

        Raises:
            DataError: MLIR refuses the script, crashes or takes too long.
        """
        reply = self._ask_builder(ApplyScript(source, self.settings.build_timeout_secs, script))
        if reply.status != "ok":
            raise DataError(reply.error)
        return reply.text

    def describe(self, source: str, schedule: Schedule = Schedule()) -> dict[str, Any]:
        """The structured operations and the loops of a module after a schedule; see `modules.describe`.

        Raises:
            IllegalActionError, DataError: as `apply` does.
        """
        reply = self._ask_builder(Describe(source, self.settings.build_timeout_secs, tuple(schedule.to_json())))
        if reply.status == "illegal":
            raise IllegalActionError(reply.error)
        if reply.status != "ok":
            raise DataError(reply.error)
        return {"ops": list(reply.ops), "loops": list(reply.loops), "names": reply.names}

    def graph(self, source: str, schedule: Schedule = Schedule(), values: Many[int] = ()) -> GraphRead:
        """The structure of a module after a schedule, for the cost model; see `predict.read_graph`.

        Args:
            source: the module.
            schedule: what to do first.
            values: of the integer arguments of functions that are called from outside, from left to right.

        Raises:
            IllegalActionError, DataError: as `apply` does.
        """
        reply = self._ask_builder(
            ReadGraph(source, self.settings.build_timeout_secs, tuple(schedule.to_json()), tuple(values))
        )
        if reply.status == "illegal" and reply.step >= 0:
            raise IllegalActionError(reply.error)
        if "was killed by signal" in reply.error or reply.status == "build_timeout":
            raise DataError(
                "the module is too much for MLIR's parser or verifier, by its depth, its size or a fault of theirs:"
                f" {reply.error}"
            )
        if reply.status != "ok":
            raise DataError(reply.error)
        return reply

    def build(
        self,
        source: str,
        entry: str,
        schedule: Schedule = Schedule(),
        suffixes: Many[str] = (".so",),
        texts: Many[str] = (),
        cpu: str | None = None,
    ) -> MlirBuild:
        """Applies a schedule, lowers, and generates code with LLVM's -O3.

        Args:
            source: the module.
            entry: name of the function that is called.
            schedule: what to do before the default lowering.
            suffixes: files that are wanted, of `.ll` (before LLVM's passes), `.bc` (after them), `.s`, `.o` and `.so`.
            texts: which are wanted: of the stages `transformed`, `buffers` and `llvm`, and `script`, the schedule as
                one transform module.
            cpu: processor to generate code for, as LLVM names it; None for this machine's.
        """
        stem = self._folder / str(next(self._count))
        files = {suffix: stem.with_suffix(suffix) for suffix in suffixes}
        reply = self._ask_builder(
            Build(
                source,
                self.settings.build_timeout_secs,
                entry,
                tuple(schedule.to_json()),
                {suffix: str(path) for suffix, path in files.items()},
                tuple(texts),
                cpu,
            )
        )
        if reply.status != "ok":
            for path in self._folder.glob(f"{stem.name}.*"):
                path.unlink(missing_ok=True)
            return MlirBuild(Status(reply.status), reply.error, reply.step)
        return MlirBuild(Status.OK, "", -1, reply.texts, files, Signature.from_json(reply.signature))

    def _ask_builder(self, request: OfModule[R]) -> R:
        self._check_size(request.source)
        self._start()
        return self._exchange(self._builder, request, request.timeout_secs, "build")

    def _check_size(self, source: str) -> None:
        if not isinstance(source, str) or len(source) > _MAX_TEXT_BYTES:
            raise DataError(f"a module must be a text of at most {_MAX_TEXT_BYTES >> 20} MiB")

    def _exchange(self, worker: WorkerProcess[Any], request: Request[R], timeout_secs: float, failed: str) -> R:
        kind = reply_type(type(request))
        try:
            reply = worker.request(request, timeout_secs + _GRACE_SECS)
        except Silence:
            return kind(f"{failed}_timeout", "the worker did not answer")
        except Death as error:
            return kind(f"{failed}_error", str(error))
        return replace(reply, status=f"{failed}_error") if reply.status == "error" else reply

    # -- programs ----------------------------------------------------------------------------------

    def run(
        self,
        build: MlirBuild,
        repeats: int = 0,
        repeat_ms: float = 5.0,
        seed: int = 0,
        reference: Path | None = None,
        keep: Path | None = None,
    ) -> Run:
        """Runs a build once, compares its outputs, and times it.

        Args:
            build: with a `.so`.
            repeats: how many times are taken.
            repeat_ms: how long each of them lasts at least; of short programs, it is the mean of many calls.
            seed: of the inputs.
            reference: outputs to compare with, as `keep` of another run wrote them.
            keep: file for the outputs of the first call.
        """
        if build.status is not Status.OK:
            return Run(build.status, error=build.error)
        if build.signature is None:
            raise DataError("a build without a signature cannot be run")
        request = RunEntry(
            str(build.files[".so"]),
            build.signature.to_json(),
            seed,
            repeats,
            repeat_ms,
            self.settings.run_timeout_secs,
            str(reference) if reference else "",
            str(keep) if keep else "",
        )
        reply: Ran = self._exchange(self._runner, request, self.settings.run_timeout_secs, "run")
        return Run(Status(reply.status), reply.run_secs, reply.difference, reply.error)

    def file(self, suffix: str) -> Path:
        """A path for a file that goes when the session ends."""
        return self._folder / f"{next(self._count)}{suffix}"
