"""The worker process of the MLIR environment; `python -m foretune.passes.mlir.environment.worker`.

It reads one JSON request a line and writes one JSON reply. Each request is worked on in a forked child with limits of
time and memory: MLIR's parser overflows the stack on deep nesting, passes crash and loop, compiled programs do what
they like. A builder process loads MLIR and LLVM; a runner process, pinned to one core, loads neither and runs what was
built.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foretune.errors import ForetuneError, UnsupportedError
from foretune.passes.mlir.environment import runner
from foretune.passes.mlir.environment.externals import External, empty_functions, read_externals
from foretune.passes.mlir.environment.signature import Signature
from foretune.support.tools import run_tool
from foretune.workers.child import in_child
from foretune.workers.descendants import become_subreaper, end_descendants

_SHOWN_CHARS = 600
_LINK_TIMEOUT_SECS = 30


def main(make_builder: Callable[[Path, str], Builder] | None = None) -> None:
    """Serves requests until standard input ends.

    Args:
        make_builder: makes what works on modules, from libLLVM and the linker; `Builder` by default.
    """
    hello = json.loads(sys.stdin.readline())
    become_subreaper()
    if hello["role"] == "run":
        os.sched_setaffinity(0, {hello["core"]})
        work, tool, failed = runner.run, "the program", "run"
        _reply({})
    else:
        builder = (make_builder or Builder)(Path(hello["library"]), hello["linker"])
        work, tool, failed = builder.work, "MLIR", "build"
        _reply({"cpu": builder.llvm.cpu, "version": list(builder.llvm.version)})
    for line in sys.stdin:
        request = json.loads(line)

        def in_own_child(request: dict[str, Any] = request) -> dict[str, Any]:
            return in_child(lambda: work(request), request["timeout_secs"], hello["memory_bytes"], tool, failed)

        if hello["role"] == "run":
            reply = in_own_child()
            end_descendants()
        else:
            reply = builder.serve(request, in_own_child)
        _reply(reply)


def _reply(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class Refused(Exception):
    """A request cannot be done; the message is for the user."""


class Builder:
    """What the builder process does; all of it in children.

    Args:
        library: path of libLLVM.
        linker: path of a C compiler.
    """

    def __init__(self, library: Path, linker: str) -> None:
        from foretune.passes.mlir.environment.codegen import Codegen

        self.llvm = Codegen(library)
        self._linker = linker
        from foretune.passes.mlir.environment import lowering, modules, specialise
        from foretune.passes.mlir.graph import explain, graph  # noqa: F401 - once, before any child

        self._lowering, self._modules, self._specialising = lowering, modules, specialise
        self._context = modules.quiet_context()
        lowering.warm_up(self._context)
        gc.collect()
        gc.freeze()  # children would copy every page that a collection touches

    def serve(
        self, request: dict[str, Any], in_own_child: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """The reply to a request, which a child works on."""
        return in_own_child(request)

    def work(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers one request; `op` says which.

        Returns:
            `status`, which is `ok`, or `illegal` where the module or an action is refused, or `build_error`; and
            `error`, or what was asked for.
        """
        try:
            return {"status": "ok", **getattr(self, f"_{request['op']}")(request)}
        except Refused as error:
            return {"status": "build_error", "error": str(error)[:_SHOWN_CHARS]}
        except self._modules.Illegal as error:
            return {"status": "illegal", "error": str(error)[:_SHOWN_CHARS], "step": error.step}
        except ForetuneError as error:
            return {"status": "build_error", "error": str(error)[:_SHOWN_CHARS]}
        except self._lowering.NotLowered as error:
            return {"status": "build_error", "error": str(error)[:_SHOWN_CHARS]}
        except Exception as error:  # the bindings raise MLIRError, ValueError, RuntimeError, TypeError, IndexError
            return {"status": "build_error", "error": f"{type(error).__name__}: {_told(error)}"}

    def _parse(self, request: dict[str, Any]) -> Any:
        return self._modules.parse(request["source"], self._context)

    # -- requests ----------------------------------------------------------------------------------

    def _inspect(self, request: dict[str, Any]) -> dict[str, Any]:
        """`text`, as MLIR prints it; `entries`, a signature for each public function that can be run; `refused`, name
        -> why one cannot be.
        """
        module = self._parse(request)
        entries, refused = self._modules.signatures(module)
        return {"text": str(module), "entries": [e.to_json() for e in entries], "refused": refused}

    def _specialise(self, request: dict[str, Any]) -> dict[str, Any]:
        """As `inspect`, of the module with known extents for the `?` of the `entry`'s arguments: `sizes`."""
        module = self._parse(request)
        self._specialising.specialise(module, request["entry"], request["sizes"])
        entries, refused = self._modules.signatures(module)
        return {"text": str(module), "entries": [e.to_json() for e in entries], "refused": refused}

    def _apply(self, request: dict[str, Any]) -> dict[str, Any]:
        """`texts`: the module after all `actions`, or after each of them where `each` is true."""
        module = self._parse(request)
        return {"texts": self._modules.apply(module, request["actions"], request.get("each", False))}

    def _script(self, request: dict[str, Any]) -> dict[str, Any]:
        """`text` of the module after a transform `script`."""
        module = self._parse(request)
        self._lowering.run_script(module, request["script"])
        return {"text": str(module)}

    def _graph(self, request: dict[str, Any]) -> dict[str, Any]:
        """`graph` of the module after `actions`, and `statements`, what each of its statements is; or `unsupported`,
        why there is none.
        """
        from foretune.passes.mlir.graph import explain, graph

        module = self._parse(request)
        self._modules.transform(module, request["actions"])
        try:
            self._lowering.erase_transforms(module)
            self._lowering.decompose(module, packing=False)
            self._lowering.simplify(module)
            made = graph.read_module(module, request.get("values", ()))
        except UnsupportedError as error:
            return {"unsupported": str(error)}
        return {
            "graph": made.graph.to_json(),
            "statements": [explain.describe(ops, chain) for ops, chain in made.statements],
            "facts": made.facts.to_json(),
        }

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        """`ops` and `loops` of the module after `actions`."""
        module = self._parse(request)
        self._modules.transform(module, request["actions"])
        return self._modules.describe(module)

    def _build(self, request: dict[str, Any]) -> dict[str, Any]:
        """Applies `actions`, lowers, and generates code.

        Request: `source`, `entry`, `actions`; `cpu`, a name or None for this machine's; `out`, suffix -> path, of `.ll`
        (before LLVM's passes), `.bc` (after them), `.s`, `.o` and `.so`; `texts`, which texts are wanted: of the stages
        `transformed`, `buffers` and `llvm`, and `script`, the schedule as one transform module.
        """
        module = self._parse(request)
        signature = self._modules.signature(module, request["entry"])
        wanted, texts = request.get("texts", ()), {}
        options, script = self._modules.transform(module, request["actions"])
        if "script" in wanted:
            texts["script"] = script
        if "transformed" in wanted:
            texts["transformed"] = str(module)
        low = self._lowering
        low.erase_transforms(module)
        low.decompose(module)
        low.bufferize(module)
        if "buffers" in wanted:
            texts["buffers"] = str(module)
        low.finish(module, request["entry"], options)
        if "llvm" in wanted:
            texts["llvm"] = str(module)
        if request["out"]:
            self._generate(low.to_llvm_ir(module), signature, request, options)
        return {"texts": texts, "signature": signature.to_json()}

    def _generate(self, text: str, signature: Signature, request: dict[str, Any], options: Any) -> None:
        out = {suffix: Path(path) for suffix, path in request["out"].items()}
        ir = Path(f"{next(iter(out.values()))}.in.ll") if ".ll" not in out else out[".ll"]
        linked = ".so" in out or ".o" in out
        ir.write_text(text + (runner.repeat_ir(signature) if linked else ""))
        printed = [external for external in read_externals(text) if external.is_printed]
        if options.math == "libmvec":
            self.llvm.set_flags(["-vector-library=LIBMVEC"])
        module = self.llvm.read(ir)
        if ".ll" not in out:
            ir.unlink()
        machine = self.llvm.machine(module, request.get("cpu"))
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
    main()
