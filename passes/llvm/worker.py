"""The worker process: runs passes over modules and times programs; `python -m foretune.passes.llvm.worker`.

It answers the requests of `messages.py` and `execution/running.py`. Each module is worked on in a forked child with
limits of its own, because pass sequences crash, hang, eat memory, and set flags that hold for a whole process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from foretune.passes.llvm.capi import Llvm, LlvmError
from foretune.passes.llvm.execution.running import RunProgram, run
from foretune.passes.llvm.hints import give_hints
from foretune.passes.llvm.machine_code import code_hash
from foretune.passes.llvm.messages import (
    Compile,
    Compiled,
    ObserveSteps,
    ReadSignatures,
    ReadTriplets,
    Signatures,
    Start,
    Started,
    StepLook,
    Steps,
    Triplets,
)
from foretune.passes.llvm.observe import loop_depths, observe
from foretune.passes.llvm.trips import set_trip_weights
from foretune.support.text import telling_line
from foretune.workers.child import in_child
from foretune.workers.descendants import become_subreaper, end_descendants
from foretune.workers.messages import R, Reply
from foretune.workers.serve import Service, serve

_SHOWN_CHARS = 400
_T = TypeVar("_T", Compile, ReadSignatures, ObserveSteps, ReadTriplets)


def start(hello: Start) -> Service:
    """The worker, with LLVM loaded and on its core."""
    become_subreaper()
    llvm = Llvm(Path(hello.library))
    if hello.core is not None:
        os.sched_setaffinity(0, {hello.core})

    def in_own_child(job: Callable[[Llvm, _T], R], kind: type[R]) -> Callable[[_T], R]:
        return lambda request: in_child(lambda: job(llvm, request), kind, request.timeout_secs, hello.memory_bytes)

    handlers = {
        RunProgram: lambda request: run(request, sys.stdin.fileno()),
        Compile: in_own_child(compile_module, Compiled),
        ReadSignatures: in_own_child(read_signatures, Signatures),
        ObserveSteps: in_own_child(observe_steps, Steps),
        ReadTriplets: in_own_child(read_triplets, Triplets),
    }
    welcome = Started(version=llvm.version, cpu=llvm.cpu)
    return Service(welcome, {kind: _and_leave_nothing(handler) for kind, handler in handlers.items()})


def _and_leave_nothing(handler: Callable[[Any], Reply]) -> Callable[[Any], Reply]:
    """A handler after which all that it started is ended."""

    def handle(request: Any) -> Reply:
        try:
            return handler(request)
        finally:
            end_descendants()

    return handle


# -- modules -----------------------------------------------------------------------------------------


def compile_module(llvm: Llvm, request: Compile) -> Compiled:
    """Runs passes over a module and writes what is asked for."""
    out, before, after = Path(request.out), None, None
    try:
        llvm.set_flags(request.flags)
        module = llvm.read(Path(request.source))
        if request.observe:
            before = observe(llvm, module)
    except LlvmError as error:
        return Compiled("build_error", f"the module cannot be read: {error}")
    try:
        if request.features:
            llvm.add_features(module, request.features)
        give_hints(llvm, module, request.hints)
        machine = llvm.machine(module)
        if request.opt:
            module = _with_opt(llvm, request, module)
        elif request.pipeline:
            llvm.run_passes(module, request.pipeline, machine)
            llvm.verify(module)
        if request.weigh:
            set_trip_weights(llvm, module)
    except LlvmError as error:
        return Compiled("illegal", str(error)[:_SHOWN_CHARS])
    try:
        if out.suffix == ".bc":
            llvm.write_bitcode(module, out)
        else:  # generating code changes a module
            llvm.emit(llvm.clone(module) if request.observe else module, machine, out)
    except LlvmError as error:
        return Compiled("build_error", str(error)[:_SHOWN_CHARS])
    is_known = request.known and code_hash(out.read_bytes()) in request.known
    if request.observe and not is_known:
        after = observe(llvm, module)
    return Compiled(before=before, after=after)


def read_signatures(llvm: Llvm, request: ReadSignatures) -> Signatures:
    """The functions of a module that can be called from outside."""
    try:
        module = llvm.read(Path(request.source))
    except LlvmError as error:
        return Signatures("build_error", f"the module cannot be read: {error}")
    public = [function for function in llvm.functions(module) if llvm.is_public(function)]
    found = [(llvm.name(function), *llvm.signature(function)) for function in public]
    return Signatures(signatures=tuple((name, result, tuple(kinds)) for name, result, kinds in found))


def observe_steps(llvm: Llvm, request: ObserveSteps) -> Steps:
    """Looks at a module before a pipeline, and after each of its elements."""
    from foretune.passes.llvm.embedding import Vocabulary, embed  # takes NumPy, which other requests need not wait for

    looks, error = [], ""
    try:
        llvm.set_flags(request.flags)
        module = llvm.read(Path(request.source))
        if request.features:
            llvm.add_features(module, request.features)
        for number, element in enumerate(["", *request.elements]):
            if element:
                llvm.run_passes(module, element, llvm.machine(module))
                llvm.verify(module)
            assembly = Path(request.folder, f"{number}.s")
            llvm.emit(llvm.clone(module), llvm.machine(module), assembly)  # generating code changes a module
            embedding = embed(llvm, module, loop_depths(llvm, module), Vocabulary.bundled())
            looks.append(StepLook(tuple(observe(llvm, module)["features"]), tuple(embedding.tolist()), str(assembly)))
    except LlvmError as refused:
        error = str(refused)[:_SHOWN_CHARS]
    return Steps("ok" if looks else "illegal", error, tuple(looks))


def read_triplets(llvm: Llvm, request: ReadTriplets) -> Triplets:
    """What stands in which relation to an opcode in a module, before or after a pipeline."""
    from foretune.passes.llvm.embedding import triplet_rows, triplets

    try:
        module = llvm.read(Path(request.source))
        if request.pipeline:
            llvm.run_passes(module, request.pipeline, llvm.machine(module))
    except LlvmError as error:
        return Triplets("illegal", str(error)[:_SHOWN_CHARS])
    return Triplets(triplets=triplet_rows(triplets(llvm, module)))


def _with_opt(llvm: Llvm, request: Compile, module: int) -> int:
    """The module after `opt` has run over it; Polly lives there, and not in the library."""
    path = Path(f"{request.out}.bc")
    try:
        llvm.write_bitcode(module, path)
        command = [
            request.opt,
            "-relocation-model=pic",
            f"-passes={request.pipeline}",
            *request.flags,
            str(path),
            "-o",
            str(path),
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, errors="replace"
        )
        if done.returncode:
            raise LlvmError(telling_line(done.stderr) or f"opt ended with {done.returncode}")
        return llvm.read(path)
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    serve({Start: start})
