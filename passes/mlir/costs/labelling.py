"""From a module to its labels: lower, compile, count a run, time runs, and look at the hot blocks with llvm-mca.

All of this belongs into a child process with limits: it loads MLIR, and it runs programs.

Time is process CPU time of the whole process, single-threaded, of the code that was counted: a loop around the entry is
called so often that one sample takes half a millisecond, and the least of the samples counts. Inputs are those of
`signature.make_inputs`.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from mlir import ir

from foretune.costmodel.machine_code.assembly import COUNTERS, read_blocks, with_counters
from foretune.costmodel.machine_code.mca import HotBlock, Mca, hot_blocks
from foretune.errors import UnsupportedError
from foretune.passes.llvm.capi import LlvmError
from foretune.passes.mlir.costs.counting import count
from foretune.passes.mlir.costs.labels import Labels, dynamic_labels, static_labels
from foretune.passes.mlir.environment import lowering
from foretune.passes.mlir.environment.codegen import Codegen, LoadedCode
from foretune.passes.mlir.environment.signature import Signature, ValueType, make_buffer, make_inputs
from foretune.passes.mlir.grammar.options import LoweringOptions
from foretune.passes.mlir.grammar.types import MLIRError, functions_of

_REPEAT = "foretune_repeat"
_SAMPLE_SECS, _MIN_SAMPLES, _MAX_SAMPLES = 5e-4, 3, 7
_BUDGET_SECS = 0.06  # for the samples of one program
_MAX_RUN_SECS = 0.25
_COUNTED_MS = 250.0  # of a run that is counted and not timed


class Unlabelled(Exception):
    """A module cannot be labelled; `status` is one of `foretune.record.Status`'s values."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Compiled:
    """A program between its run and llvm-mca.

    Attributes:
        partial: the labels that are known.
        hot: what llvm-mca shall look at.
    """

    partial: dict[str, float]
    hot: list[HotBlock]

    def labels(self, mca: Mca) -> Labels:
        """All labels, once llvm-mca has looked at `hot`."""
        return Labels(**self.partial, **mca.labels(self.hot))

    def to_json(self) -> dict[str, Any]:
        """It as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Compiled:
        """Reads what `to_json` wrote."""
        return cls(data["partial"], [HotBlock(**block) for block in data["hot"]])


def quiet_context() -> ir.Context:
    """A context without threads."""
    context = ir.Context()
    context.enable_multithreading(False)
    return context


def parse_quietly(source: str, context: ir.Context | None = None) -> ir.Module:
    """A module in a context without threads, one of its own by default."""
    return ir.Module.parse(source, context or quiet_context())


def compile_and_run(
    codegen: Codegen,
    module: ir.Module,
    entry: str,
    cpu: str = "",
    options: LoweringOptions = LoweringOptions(),
    look: Callable[[str, ir.Module], None] = lambda stage, module: None,
) -> Compiled:
    """Lowers a module in place, compiles it, and runs it.

    Args:
        codegen: LLVM.
        module: any stage that the default lowering takes.
        entry: the function to run; its arguments and results are tensors or memrefs of known extents.
        cpu: processor to compile for; this machine's own by default.
        options: of the lowering.
        look: called with the module when it is in the LLVM dialect (`llvm`).

    Raises:
        Unlabelled: it cannot be lowered, compiled or run, or runs for too long.
    """
    try:
        signature = entry_signature(module, entry)
        lowering.lower(module, options)
        look("llvm", module)
        assembly = codegen.compile(lowering.to_llvm_ir(module), cpu)
        blocks = read_blocks(assembly)
        arguments = _Arguments(signature)
        repeat = _repeat_assembly(entry, arguments.values)
        counted, plain = (codegen.assemble(text + repeat) for text in (with_counters(assembly, blocks), assembly))
    except (MLIRError, ValueError, RuntimeError, LlvmError) as error:
        raise Unlabelled("build_error", " ".join(str(error).split())[:300]) from None
    partial = static_labels(blocks)
    with codegen.load(counted) as code:
        counts = np.ctypeslib.as_array((ctypes.c_uint64 * len(blocks)).from_address(code.address(COUNTERS)))
        once = _call(code, 1)
        runs = counts.astype(np.float64)
    partial |= dynamic_labels(blocks, runs)
    if once > 5 * _MAX_RUN_SECS:
        raise Unlabelled(
            "run_timeout", f"one run takes {once:.2g} s; programs of the data set run for at most {_MAX_RUN_SECS:g} s"
        )
    arguments.restore()
    with codegen.load(plain) as code:
        partial["secs"] = _measure(code, arguments)
    return Compiled(partial, hot_blocks(blocks, runs))


def compile_and_count(
    codegen: Codegen, module: ir.Module, cpu: str, options: LoweringOptions = LoweringOptions()
) -> Compiled:
    """As `compile_and_run`, of all functions that are called from outside, without times; what cannot be run here, or
    runs for long, is counted by trip counts.

    Raises:
        Unlabelled: it cannot be lowered, compiled or counted.
    """
    try:
        counted = count(codegen, module, options, cpu, _COUNTED_MS)
    except (MLIRError, ValueError, RuntimeError, LlvmError, UnsupportedError) as error:
        raise Unlabelled("build_error", " ".join(str(error).split())[:300]) from None
    if counted.stopped or counted.estimated:
        raise Unlabelled("run_error", counted.stopped or "its branches were not counted to the end")
    return Compiled({**counted.labels, "secs": float("nan")}, counted.hot)


def entry_signature(module: ir.Module, entry: str) -> Signature:
    """The types of the entry.

    Raises:
        Unlabelled: there is no such function, or its types cannot be made here.
    """
    for op in functions_of(module):
        if op.sym_name.value == entry:
            return Signature(entry, tuple(map(_value, op.type.inputs)), tuple(map(_value, op.type.results)))
    raise Unlabelled("build_error", f"the module has no function {entry!r}")


def _value(kind: Any) -> ValueType:
    if isinstance(kind, (ir.RankedTensorType, ir.MemRefType)) and kind.has_static_shape:
        return ValueType(
            "memref" if isinstance(kind, ir.MemRefType) else "tensor", str(kind.element_type), tuple(kind.shape)
        )
    raise Unlabelled(
        "build_error", f"arguments and results must be tensors or memrefs of known extents, but one is {kind}"
    )


class _Arguments:
    """Buffers for an entry, and what its bare-pointer descriptors are made of: allocated, aligned, offset, sizes,
    strides.
    """

    def __init__(self, signature: Signature) -> None:
        self._buffers = make_inputs(signature, seed=0) + [make_buffer(v) for v in signature.results]
        self._given = [b.copy() for b in self._buffers]
        self.values: list[int] = []
        for buffer in self._buffers:
            strides = [s // buffer.itemsize for s in buffer.strides]
            self.values += [buffer.ctypes.data, buffer.ctypes.data, 0, *buffer.shape, *strides]

    def restore(self) -> None:
        """Gives all buffers their first values."""
        for buffer, given in zip(self._buffers, self._given):
            buffer[...] = given


def _repeat_assembly(entry: str, arguments: list[int]) -> str:
    """A loop of calls by the System V convention: six arguments in registers, the rest on the stack, anew for each
    call.
    """
    in_registers, on_stack = arguments[:6], arguments[6:]
    room = 8 * (
        len(on_stack) + len(on_stack) % 2
    )  # the return address and a saved register lie before it; calls need the stack aligned to two words
    name = entry if entry.isidentifier() else f'"{entry}"'
    lines = [
        f"\t.text\n\t.globl {_REPEAT}\n\t.type {_REPEAT},@function\n{_REPEAT}:\n\tpushq %rbx\n\tmovq %rdi, %rbx\n\tsubq"
        f" ${room}, %rsp\n.Lforetune_again:"
    ]
    for i, value in enumerate(on_stack):
        lines.append(f"\tmovabsq ${value}, %rax\n\tmovq %rax, {8 * i}(%rsp)")
    lines += [
        f"\tmovabsq ${value}, %{register}"
        for value, register in zip(in_registers, ("rdi", "rsi", "rdx", "rcx", "r8", "r9"))
    ]
    lines.append(
        f"\tcallq {name}@PLT\n\tdecq %rbx\n\tjne .Lforetune_again\n\taddq ${room}, %rsp\n\tpopq %rbx\n\tretq\n"
    )
    return "\n".join(lines)


def _call(code: LoadedCode, times: int) -> float:
    """CPU seconds of some calls together."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64)(code.address(_REPEAT))
    start = time.process_time_ns()
    function(times)
    return (time.process_time_ns() - start) * 1e-9


def _measure(code: LoadedCode, arguments: _Arguments) -> float:
    once = _call(code, 1)
    if once > _MAX_RUN_SECS:
        raise Unlabelled(
            "run_timeout", f"one run takes {once:.2g} s; programs of the data set run for at most {_MAX_RUN_SECS:g} s"
        )
    calls = 1
    while once * calls < _SAMPLE_SECS:
        calls = max(2 * calls, min(10 * calls, round(_SAMPLE_SECS / max(once, 1e-8))))
        once = min(once, _call(code, calls) / calls)
    arguments.restore()
    spent, samples = 0.0, []
    while len(samples) < _MIN_SAMPLES or (len(samples) < _MAX_SAMPLES and spent < _BUDGET_SECS):
        samples.append(_call(code, calls))
        spent += samples[-1]
    return max(min(min(samples) / calls, once), 1e-10)
