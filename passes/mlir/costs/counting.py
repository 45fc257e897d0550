"""Counts of a module by compiling it: lower, LLVM's -O3, machine code, and one run of a copy that counts its blocks.
Where nothing can be run, or not to the end, runs of blocks are products of constant trip counts (`frequencies.py`).

All of this belongs into a child process with limits: it loads MLIR and runs programs. Every count is a deterministic
result of LLVM for the processor that is named, whatever this machine is. What the C library does is not counted; how
often it is called is.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from mlir import ir

from foretune.costmodel.machine_code.assembly import COUNTERS, Block, read_blocks, with_counters
from foretune.costmodel.machine_code.mca import HotBlock, hot_blocks
from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.structure import structure_features
from foretune.errors import ForetuneError, UnsupportedError
from foretune.passes.llvm.capi import LlvmError
from foretune.passes.mlir.blocks.frequencies import frequencies
from foretune.passes.mlir.blocks.trip_counts import read_trip_counts
from foretune.passes.mlir.costs.caller import CALLER, Call, caller_assembly, caller_ir, read_definition
from foretune.passes.mlir.costs.labels import dynamic_labels, static_labels
from foretune.passes.mlir.environment import lowering, modules
from foretune.passes.mlir.environment.codegen import Codegen
from foretune.passes.mlir.environment.externals import empty_functions, read_externals
from foretune.passes.mlir.environment.signature import Signature
from foretune.passes.mlir.grammar.options import LoweringOptions
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES
from foretune.passes.mlir.graph.functions import read_functions
from foretune.passes.mlir.graph.graph import ModuleGraph, read_module

_GRACE_SECS = 2  # of the clock on the wall, for a run that waits instead of working
_SHOWN_CHARS = 300
_PAGE, _MAP_FIXED = mmap.PAGESIZE, 0x10
_LEAST_BYTES, _BYTES_PER_MS = 64 << 20, 4 << 20  # of arguments and results of a run


def warm_up(codegen: Codegen, context: ir.Context) -> None:
    """Counts a small module, so that what MLIR and LLVM load and make once is there before children are forked."""
    module = ir.Module.parse(lowering.SMALL, context)
    count(codegen, module, LoweringOptions(), "", 20.0)


@dataclass
class Counted:
    """What compiling told.

    Attributes:
        labels: label -> value, of those that are known.
        hot: blocks that llvm-mca shall look at; none where nothing ran.
        stopped: why the blocks' runs could not be counted; empty where they were.
        estimated: labels that depend on how a run that was stopped would have gone on.
        structure: sums over the module's graph, for the model of time; None where it has none.
        graph: it, where something is left to be predicted from it.
        facts: what it leaves out.
        notes: what should be known of the numbers.
        ms: stage -> milliseconds that it took; `core`: of one core for all of them, without the counting run and
            llvm-mca.
    """

    labels: dict[str, float]
    hot: list[HotBlock] = field(default_factory=list)
    stopped: str = ""
    estimated: list[str] = field(default_factory=list)
    structure: list[float] | None = None
    graph: dict[str, Any] | None = None
    facts: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    ms: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """It as JSON data."""
        return asdict(self)


def count(
    codegen: Codegen,
    module: ir.Module,
    options: Any,
    cpu: str,
    run_ms: float,
    entry: str | None = None,
    values: list[int] | None = None,
) -> Counted:
    """Counts a module, which is lowered in place.

    Args:
        codegen: LLVM.
        module: at any stage.
        options: of the lowering.
        cpu: processor to compile for, as LLVM names it; empty for this machine's.
        run_ms: milliseconds of one core that the counting run may take.
        entry: the function that is run; by default all that are called from outside.
        values: of its integer arguments, from left to right.

    Raises:
        mlir.ir.MLIRError, ValueError, LlvmError: it cannot be lowered or compiled.
        UnsupportedError: the machine's assembly cannot be read.
    """
    watch = _Watch()
    lowering.erase_transforms(module)
    lowering.decompose(module)
    made = _graph(module, values or [])
    entries, stopped = _entries(module, entry, values)
    if kind := lowering.sparse_type(module):
        raise UnsupportedError(
            f"{kind} is sparse: only dense tensors are lowered here; run --sparsifier of mlir-opt first"
        )
    roots = (
        [entry] if entry is not None else [str(op.attributes["sym_name"].value) for op in read_functions(module).roots]
    )
    if not roots:
        raise UnsupportedError("the module has no function with a body: there is nothing to count")
    watch.note("graph")
    lowering.publish(module, roots)
    lowering.drop_dead_functions(module)
    lowering.bufferize(module)
    lowering.to_llvm_dialect(module, options)
    text = lowering.to_llvm_ir(module)
    watch.note("lower")
    assembly = codegen.compile(text, cpu)
    blocks = read_blocks(assembly)
    counted = Counted(
        static_labels(blocks),
        structure=made[1].tolist() if made else None,
        facts=made[0].facts.to_json() if made else None,
    )
    watch.note("compile")
    stopped, seen, crashed = stopped or _too_large(entries, run_ms), None, False
    if not stopped:
        try:
            runs = _runs(
                codegen,
                text,
                assembly,
                blocks,
                [Call(s, read_definition(text, s.name)) for s in entries],
                run_ms,
                counted.notes,
            )[: len(blocks)]
            counted.labels |= dynamic_labels(blocks, runs)
            counted.hot = hot_blocks(blocks, runs)
        except _NotCounted as error:
            stopped, seen, crashed = str(error)[:_SHOWN_CHARS], error.seen, error.crashed
        except (UnsupportedError, LlvmError) as error:
            stopped = str(error)[:_SHOWN_CHARS]
    if stopped and not crashed:
        stopped = _count_by_trips(codegen, text, cpu, blocks, roots, seen, counted, stopped)
    counted.stopped = stopped
    counted.graph = made[0].graph.to_json() if made and stopped else None
    watch.note("run")
    counted.ms = {**watch.ms, "core": round(time.process_time() * 1e3, 3)}
    return counted


class _Watch:
    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._at = time.perf_counter()

    def note(self, stage: str) -> None:
        now = time.perf_counter()
        self.ms[stage], self._at = round((now - self._at) * 1e3, 3), now


class _NotCounted(Exception):
    """A run gave no counts; the message says why.

    Attributes:
        seen: [2 B] what was counted until it was stopped; None where that says nothing.
        crashed: whether the program itself went wrong.
    """

    def __init__(self, message: str, seen: np.ndarray | None = None, crashed: bool = False) -> None:
        super().__init__(message)
        self.seen, self.crashed = seen, crashed


def _count_by_trips(
    codegen: Codegen,
    text: str,
    cpu: str,
    blocks: list[Block],
    roots: list[str],
    seen: np.ndarray | None,
    counted: Counted,
    stopped: str,
) -> str:
    """Adds what constant trip counts tell of how often blocks run; why nothing, or empty.

    Args:
        codegen, text, cpu, blocks: what was compiled.
        roots: functions that are called from outside.
        seen: [2 B] what was counted before a run was stopped.
        counted: what is known so far.
        stopped: why no run was counted.
    """
    try:
        assembly, said = codegen.compile_with_trips(text, cpu)
        named = read_blocks(assembly)
        if [block.text for block in named] != [block.text for block in blocks]:
            return stopped
        found = frequencies(assembly, named, read_trip_counts(said), roots, seen)
    except (UnsupportedError, LlvmError) as error:
        return f"{stopped}; its trip counts do not tell either: {error}"[: 2 * _SHOWN_CHARS]
    dynamic = dynamic_labels(blocks, found.runs)
    counted.labels |= dynamic
    counted.hot = hot_blocks(blocks, found.runs)
    how = "blocks times constant trip counts"
    if found.estimated:
        counted.estimated = [*dynamic, "mca_cycles", "mca_throughput"]
        how += ", and times the shares of branches in the part that ran"
    counted.notes.append(f"executed instructions are {how}, because there was no whole run: {stopped}")
    return ""


def _graph(module: ir.Module, values: list[int]) -> tuple[ModuleGraph, np.ndarray] | None:
    """The module's structure, and the sums over it; None where it cannot be read, because counting goes on without
    it.
    """
    try:
        made = read_module(module, values)
        return made, structure_features(encode(made.graph), STATEMENT_FEATURES)
    except ForetuneError:
        return None


def _entries(module: ir.Module, entry: str | None, values: list[int] | None) -> tuple[list[Signature], str]:
    """(signatures of what is run, why nothing can be)."""
    try:
        if entry is not None:
            found = [modules.signature(module, entry)]
        else:
            roots = [op.attributes["sym_name"].value for op in read_functions(module).roots if op.name == "func.func"]
            if not roots:
                return [], "its functions are LLVM's and take pointers: nothing tells what they lead to"
            found = [modules.signature(module, name) for name in roots]
        found = [signature.with_values(values or []) for signature in found]
        for signature in found:
            signature.check_values()
    except (modules.Illegal, ForetuneError) as error:
        return [], str(error)
    return found, ""


def _too_large(entries: list[Signature], run_ms: float) -> str:
    """Why buffers are not even made: filling them would take longer than the run may."""
    num_bytes, most = (
        sum(value.num_bytes for signature in entries for value in signature.buffers),
        max(_LEAST_BYTES, run_ms * _BYTES_PER_MS),
    )
    return (
        f"arguments and results have {num_bytes >> 20} MiB, too many for a run of {run_ms:g} ms (`run_ms`)"
        if num_bytes > most
        else ""
    )


def _runs(
    codegen: Codegen, text: str, assembly: str, blocks: list[Block], calls: list[Call], run_ms: float, notes: list[str]
) -> np.ndarray:
    """What `assembly.with_counters` counts in one call of each entry; [2 B].

    Raises:
        _NotCounted: the run takes too long or crashes.
        LlvmError: it cannot be linked.
    """
    outside = [external for external in read_externals(text) if not external.is_harmless]
    if outside:
        notes.append(
            f"calls of {', '.join('@' + e.name for e in outside[:6])} are counted, but not what they do: their code is"
            " not in the module"
        )
    caller = caller_assembly(calls)
    objects = [codegen.assemble(with_counters(assembly, blocks) + caller)]
    if not caller:
        objects.append(codegen.compile_object(caller_ir(calls)))
    if outside:
        objects.append(codegen.compile_object(empty_functions(outside)))
    code = codegen.load(*objects)  # it is not unloaded: this process ends soon
    address = code.address(COUNTERS)
    function = ctypes.CFUNCTYPE(None)(code.address(CALLER))
    return _in_child(function, address, 2 * len(blocks), run_ms).astype(np.float64)


def _in_child(function: Any, counters: int, num_counters: int, run_ms: float) -> np.ndarray:
    """The counters after a run in a child that is stopped after so much time of one core; they lie in memory that both
    processes see.
    """
    size = -(-8 * num_counters // _PAGE) * _PAGE
    shared = os.memfd_create("counters")
    try:
        os.ftruncate(shared, size)
        with mmap.mmap(shared, size) as memory:
            ended, number = _run_child(function, shared, counters, size, run_ms)
            seen = np.frombuffer(memory[: 8 * num_counters], np.uint64)
    finally:
        os.close(shared)
    if number in (signal.SIGVTALRM, signal.SIGALRM):
        raise _NotCounted(
            f"one run takes longer than the {run_ms:g} ms that a counting run may take (`run_ms`)",
            seen.astype(np.float64),
        )
    if number == signal.SIGILL:
        raise _NotCounted("this machine does not have the instructions of the processor that was compiled for")
    if number:
        raise _NotCounted(
            f"the program was killed by signal {number} ({signal.Signals(number).name}) on generated inputs",
            crashed=True,
        )
    if not ended:
        raise _NotCounted("the program ended its own process", crashed=True)
    return seen


def _run_child(function: Any, shared: int, counters: int, size: int, run_ms: float) -> tuple[bool, int]:
    """(whether a call in a child came back, the signal that ended the child or 0)."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            _map_shared(shared, counters, size)
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _GRACE_SECS + run_ms / 1e3)
            signal.setitimer(signal.ITIMER_VIRTUAL, run_ms / 1e3)
            function()
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            os.write(write, b"1")
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        ended = bool(file.read())
    _, code = os.waitpid(child, 0)
    return ended, os.WTERMSIG(code) if os.WIFSIGNALED(code) else 0


def _map_shared(file: int, address: int, size: int) -> None:
    """Puts a file's memory where the counters are."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    made = libc.mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED, file, 0)
    if made != address:
        raise OSError(ctypes.get_errno(), "the counters cannot be shared")
