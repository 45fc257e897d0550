"""The worker process: runs passes over modules and times programs; `python -m foretune.passes.llvm.worker`.

It reads one JSON request a line and writes one JSON reply. Each module is worked on in a forked child with limits of
its own, because pass sequences crash, hang, eat memory, and set flags that hold for a whole process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from foretune.passes.llvm.capi import Llvm, LlvmError
from foretune.passes.llvm.execution.running import run
from foretune.passes.llvm.machine_code import code_hash
from foretune.passes.llvm.observe import loop_depths, observe
from foretune.support.text import telling_line
from foretune.workers.child import in_child
from foretune.workers.descendants import become_subreaper, end_descendants


def main() -> None:
    """Serves requests until standard input ends."""
    hello = json.loads(sys.stdin.readline())
    become_subreaper()
    llvm = Llvm(Path(hello["library"]))
    if hello["core"] is not None:
        os.sched_setaffinity(0, {hello["core"]})
    _reply({"version": list(llvm.version), "cpu": llvm.cpu})
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "run":
            reply = run(request, sys.stdin.fileno())
        else:
            job = {"build": work, "signatures": signatures, "steps": steps, "triplets": read_triplets}[request["op"]]
            reply = in_child(
                lambda request=request, job=job: job(llvm, request), request["timeout_secs"], hello["memory_bytes"]
            )
        end_descendants()
        _reply(reply)


def _reply(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


# -- modules -----------------------------------------------------------------------------------------


def work(llvm: Llvm, request: dict[str, Any]) -> dict[str, Any]:
    """Runs passes over a module and writes what is asked for.

    Args:
        request: `source`; `pipeline` and `flags`; `opt`, the path of the tool that shall run them instead of the
            library, or None; `features`, to be added to each function's, or None; `observe`, whether to look at the
            module before and after; `out`, path of an object file, assembly (`.s`) or bitcode, or None; `known`, hashes
            of machine code that nothing more needs to be told of.

    Returns:
        `status`, and `before` and `after` or `error`.
    """
    source, reply = Path(request["source"]), {"status": "ok"}
    try:
        llvm.set_flags(request["flags"])
        module = llvm.read(source)
        if request["observe"]:
            reply["before"] = observe(llvm, module)
    except LlvmError as error:
        return {"status": "build_error", "error": f"the module cannot be read: {error}"}
    try:
        if request["features"]:
            llvm.add_features(module, request["features"])
        machine = llvm.machine(module)
        if request["opt"]:
            module = _with_opt(llvm, request, module)
        elif request["pipeline"]:
            llvm.run_passes(module, request["pipeline"], machine)
            llvm.verify(module)
    except LlvmError as error:
        return {"status": "illegal", "error": str(error)[:400]}
    if request["out"]:
        out = Path(request["out"])
        try:
            if out.suffix == ".bc":
                llvm.write_bitcode(module, out)
            else:
                llvm.emit(
                    llvm.clone(module) if request["observe"] else module, machine, out
                )  # generating code changes a module
        except LlvmError as error:
            return {"status": "build_error", "error": str(error)[:400]}
        if request["known"] and code_hash(out.read_bytes()) in request["known"]:
            return reply
    if request["observe"]:
        reply["after"] = observe(llvm, module)
    return reply


def signatures(llvm: Llvm, request: dict[str, Any]) -> dict[str, Any]:
    """The functions of a module, `source`, that can be called from outside: rows of name, result and parameters in
    `signatures`.
    """
    try:
        module = llvm.read(Path(request["source"]))
    except LlvmError as error:
        return {"status": "build_error", "error": f"the module cannot be read: {error}"}
    return {
        "status": "ok",
        "signatures": [(llvm.name(f), *llvm.signature(f)) for f in llvm.functions(module) if llvm.is_public(f)],
    }


def steps(llvm: Llvm, request: dict[str, Any]) -> dict[str, Any]:
    """Looks at a module before a pipeline, and after each of its elements.

    Args:
        request: `source`; `elements`, the pipeline; `flags`; `features`; `folder` for the assembly of each step.

    Returns:
        `looks`, for each step `features`, `embedding` and `assembly`, a path; fewer than asked for where a step failed,
        and `error`.
    """
    from foretune.passes.llvm.embedding import Vocabulary, embed  # takes NumPy, which other requests need not wait for

    looks, error = [], ""
    try:
        llvm.set_flags(request["flags"])
        module = llvm.read(Path(request["source"]))
        if request["features"]:
            llvm.add_features(module, request["features"])
        for number, element in enumerate(["", *request["elements"]]):
            if element:
                llvm.run_passes(module, element, llvm.machine(module))
                llvm.verify(module)
            assembly = Path(request["folder"], f"{number}.s")
            llvm.emit(llvm.clone(module), llvm.machine(module), assembly)  # generating code changes a module
            embedding = embed(llvm, module, loop_depths(llvm, module), Vocabulary.bundled())
            looks.append(
                {
                    "features": observe(llvm, module)["features"],
                    "embedding": embedding.tolist(),
                    "assembly": str(assembly),
                }
            )
    except LlvmError as refused:
        error = str(refused)[:400]
    return {"status": "ok" if looks else "illegal", "looks": looks, "error": error}


def read_triplets(llvm: Llvm, request: dict[str, Any]) -> dict[str, Any]:
    """What stands in which relation to an opcode in a module, `source`, before or after `pipeline`: `triplets`."""
    from foretune.passes.llvm.embedding import triplet_rows, triplets

    try:
        module = llvm.read(Path(request["source"]))
        if request["pipeline"]:
            llvm.run_passes(module, request["pipeline"], llvm.machine(module))
    except LlvmError as error:
        return {"status": "illegal", "error": str(error)[:400]}
    return {"status": "ok", "triplets": triplet_rows(triplets(llvm, module))}


def _with_opt(llvm: Llvm, request: dict[str, Any], module: int) -> int:
    """The module after `opt` has run over it; Polly lives there, and not in the library."""
    path = Path(f"{request['out']}.bc")
    try:
        llvm.write_bitcode(module, path)
        command = [
            request["opt"],
            "-relocation-model=pic",
            f"-passes={request['pipeline']}",
            *request["flags"],
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
    main()
