"""The worker process of the MLIR environment; `python -m foretune.passes.mlir.environment.worker`.

It answers the requests of `messages.py`, each in a forked child with limits of time and memory: MLIR's parser overflows
the stack on deep nesting, passes crash and loop, compiled programs do what they like. A builder process loads MLIR and
LLVM; a runner process, pinned to one core, loads neither and runs what was built.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from foretune.errors import ForetuneError, UnsupportedError
from foretune.passes.mlir.environment import runner
from foretune.passes.mlir.environment.externals import External, empty_functions, read_externals
from foretune.passes.mlir.environment.messages import (
    Applied,
    Apply,
    ApplyScript,
    Build,
    Built,
    Describe,
    Described,
    GraphRead,
    Inspect,
    Inspected,
    ModuleReply,
    OfModule,
    Ran,
    ReadGraph,
    RunEntry,
    Scripted,
    Specialise,
    StartBuilder,
    Started,
    StartRunner,
)
from foretune.passes.mlir.environment.signature import Signature
from foretune.support.tools import run_tool
from foretune.workers.child import in_child
from foretune.workers.descendants import become_subreaper, end_descendants
from foretune.workers.messages import Reply, reply_type
from foretune.workers.serve import Handlers, Service, serve

_SHOWN_CHARS = 600
_LINK_TIMEOUT_SECS = 30
_M = TypeVar("_M", bound=ModuleReply)


def start_runner(hello: StartRunner) -> Service:
    """The process that runs programs, on its core."""
    become_subreaper()
    os.sched_setaffinity(0, {hello.core})

    def run(request: RunEntry) -> Ran:
        try:
            work = lambda: runner.run(request)  # noqa: E731
            return in_child(work, Ran, request.timeout_secs, hello.memory_bytes, "the program", "run")
        finally:
            end_descendants()

    return Service(Reply(), {RunEntry: run})


def start_builder(hello: StartBuilder) -> Service:
    """The process that works on modules."""
    become_subreaper()
    return Builder(hello).service


class Refused(Exception):
    """A request cannot be done; the message is for the user."""


class Builder:
    """What the builder process does; all of it in children.

    Args:
        hello: libLLVM, the linker, and limits.
    """

    def __init__(self, hello: StartBuilder) -> None:
        from foretune.passes.mlir.environment.codegen import Codegen

        self.llvm = Codegen(Path(hello.library))
        self._linker, self._memory_bytes = hello.linker, hello.memory_bytes
        from foretune.passes.mlir.environment import lowering, modules, specialise
        from foretune.passes.mlir.graph import explain, graph  # noqa: F401 - once, before any child

        self._lowering, self._modules, self._specialising = lowering, modules, specialise
        self._context = modules.quiet_context()
        lowering.warm_up(self._context)
        gc.collect()
        gc.freeze()  # children would copy every page that a collection touches

    @property
    def service(self) -> Service:
        """What the process answers."""
        return Service(Started(version=self.llvm.version, cpu=self.llvm.cpu), self.handlers)

    @property
    def handlers(self) -> Handlers:
        """What answers each kind of request."""
        return {
            Inspect: lambda request: self.in_own_child(self._inspect, request),
            Specialise: lambda request: self.in_own_child(self._specialise, request),
            Apply: lambda request: self.in_own_child(self._apply, request),
            ApplyScript: lambda request: self.in_own_child(self._script, request),
            ReadGraph: lambda request: self.in_own_child(self._graph, request),
            Describe: lambda request: self.in_own_child(self._describe, request),
            Build: lambda request: self.in_own_child(self._build, request),
        }

    def in_own_child(self, work: Callable[[Any], _M], request: OfModule[_M]) -> _M:
        """The reply to a request that a child works on."""
        kind = reply_type(type(request))
        job = lambda: self._try(work, request, kind)  # noqa: E731
        return in_child(job, kind, request.timeout_secs, self._memory_bytes, "MLIR", "build")

    def _try(self, work: Callable[[Any], _M], request: OfModule[_M], kind: type[_M]) -> _M:
        try:
            return work(request)
        except self._modules.Illegal as error:
            return kind("illegal", str(error)[:_SHOWN_CHARS], error.step)
        except (Refused, ForetuneError, self._lowering.NotLowered) as error:
            return kind("build_error", str(error)[:_SHOWN_CHARS])
        except Exception as error:  # the bindings raise MLIRError, ValueError, RuntimeError, TypeError, IndexError
            return kind("build_error", f"{type(error).__name__}: {_told(error)}")

    def _parse(self, request: OfModule[Any]) -> Any:
        return self._modules.parse(request.source, self._context)

    # -- requests ----------------------------------------------------------------------------------

    def _inspect(self, request: Inspect) -> Inspected:
        return self._inspected(self._parse(request))

    def _specialise(self, request: Specialise) -> Inspected:
        module = self._parse(request)
        self._specialising.specialise(module, request.entry, request.sizes)
        return self._inspected(module)

    def _inspected(self, module: Any) -> Inspected:
        entries, refused, called = self._modules.signatures(module)
        rows = tuple(entry.to_json() for entry in entries)
        return Inspected(text=str(module), entries=rows, refused=refused, called=tuple(called))

    def _apply(self, request: Apply) -> Applied:
        return Applied(texts=tuple(self._modules.apply(self._parse(request), request.actions, request.each)))

    def _script(self, request: ApplyScript) -> Scripted:
        module = self._parse(request)
        self._lowering.run_script(module, request.script)
        return Scripted(text=str(module))

    def _graph(self, request: ReadGraph) -> GraphRead:
        from foretune.passes.mlir.graph import explain, graph

        module = self._parse(request)
        self._modules.transform(module, request.actions)
        try:
            self._lowering.erase_transforms(module)
            self._lowering.decompose(module, packing=False)
            self._lowering.simplify(module)
            made = graph.read_module(module, request.values)
        except UnsupportedError as error:
            return GraphRead(unsupported=str(error))
        statements = tuple(explain.describe(ops, chain) for ops, chain in made.statements)
        return GraphRead(graph=made.graph.to_json(), statements=statements, facts=made.facts.to_json())

    def _describe(self, request: Describe) -> Described:
        module = self._parse(request)
        self._modules.transform(module, request.actions)
        told = self._modules.describe(module)
        return Described(ops=tuple(told["ops"]), loops=tuple(told["loops"]), names=told["names"])

    def _build(self, request: Build) -> Built:
        module = self._parse(request)
        signature = self._modules.signature(module, request.entry)
        self._lowering.publish(module, (request.entry,))
        texts = {}
        options, script = self._modules.transform(module, request.actions)
        if "script" in request.texts:
            texts["script"] = script
        if "transformed" in request.texts:
            texts["transformed"] = str(module)
        low = self._lowering
        low.erase_transforms(module)
        low.decompose(module)
        low.bufferize(module)
        if "buffers" in request.texts:
            texts["buffers"] = str(module)
        low.finish(module, request.entry, options)
        if "llvm" in request.texts:
            texts["llvm"] = str(module)
        if request.out:
            self._generate(low.to_llvm_ir(module), signature, request, options)
        return Built(texts=texts, signature=signature.to_json())

    def _generate(self, text: str, signature: Signature, request: Build, options: Any) -> None:
        out = {suffix: Path(path) for suffix, path in request.out.items()}
        ir = Path(f"{next(iter(out.values()))}.in.ll") if ".ll" not in out else out[".ll"]
        linked = ".so" in out or ".o" in out
        ir.write_text(text + (runner.repeat_ir(signature) if linked else ""))
        printed = [external for external in read_externals(text) if external.is_printed]
        if options.math == "libmvec":
            self.llvm.set_flags(["-vector-library=LIBMVEC"])
        module = self.llvm.read(ir)
        if ".ll" not in out:
            ir.unlink()
        machine = self.llvm.machine(module, request.cpu)
        self.llvm.run_passes(module, "default<O3>", machine)
        if options.math == "libmvec":
            self.llvm.run_passes(module, "function(replace-with-veclib)", machine)
        if ".bc" in out:
            self.llvm.write_bitcode(module, out[".bc"])
        if ".s" in out:
            self.llvm.emit(self.llvm.clone(module), machine, out[".s"])
        if linked:
            made = out.get(".o") or out[".so"].with_suffix(".o")
            self.llvm.emit(module, machine, made)
            if ".so" in out:
                self._link([made, *self._empty(printed, made)], out[".so"], options)
                if ".o" not in out:
                    made.unlink()

    def _empty(self, externals: list[External], beside: Path) -> list[Path]:
        """An object of empty functions that stand for some that print."""
        if not externals:
            return []
        source = beside.with_suffix(".empty.ll")
        source.write_text(empty_functions(externals))
        module = self.llvm.read(source)
        self.llvm.emit(module, self.llvm.machine(module), source.with_suffix(".o"))
        return [source.with_suffix(".o")]

    def _link(self, made: list[Path], out: Path, options: Any) -> None:
        libraries = ["-lmvec"] if options.math == "libmvec" else []
        command = [
            self._linker,
            "-shared",
            "-nostartfiles",
            "-Wl,-z,defs",
            *map(str, made),
            "-o",
            str(out),
            *libraries,
            "-lm",
            "-lc",
        ]
        done = run_tool(command, _LINK_TIMEOUT_SECS)
        if done.returncode:
            raise Refused("cannot be linked: " + _first_lines(done.stderr))


def _told(error: Exception) -> str:
    text = str(error)
    return (
        text.strip().splitlines()[-1][:_SHOWN_CHARS] if "Exception raised in callback" in text else _first_lines(text)
    )


def _first_lines(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines())[:_SHOWN_CHARS]


if __name__ == "__main__":
    serve({StartBuilder: start_builder, StartRunner: start_runner})
