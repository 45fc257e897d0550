"""Runs a compiled entry function, in a child of the worker process."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

import numpy as np

from foretune.passes.mlir.environment.messages import Ran, RunEntry
from foretune.passes.mlir.environment.signature import (
    LLVM_SCALARS,
    SCALARS,
    TOLERANCE,
    Signature,
    ValueType,
    difference,
    make_buffer,
    make_inputs,
)

REPEAT = "foretune_repeat"
_ENOUGH_SECS = 2.0
_SHORT = ("half", "bfloat")


def repeat_ir(signature: Signature) -> str:
    """LLVM IR of a loop that calls the entry so often as its first argument says; the pointer is volatile, so that
    nothing is known of the callee.

    Numbers of 16 bits come as their bits, because C has no such type to pass.
    """
    kinds = signature.llvm_parameters()
    parameters = ["i16" if kind in _SHORT else kind for kind in kinds]
    returned = signature.scalar_results
    result = LLVM_SCALARS[returned[0].element] if len(returned) == 1 else "void"  # several are written to a struct
    arguments = "".join(f", {p} %a{i}" for i, p in enumerate(parameters))
    passed = ", ".join(f"{kind} %{'s' if kind in _SHORT else 'a'}{i}" for i, kind in enumerate(kinds))
    casts = "".join(f"  %s{i} = bitcast i16 %a{i} to {kind}\n" for i, kind in enumerate(kinds) if kind in _SHORT)
    keep = f"  store volatile {result} %r, ptr %result\n" if len(returned) == 1 else ""
    call = f"%r = call {result}" if len(returned) == 1 else "call void"
    return (
        f"\n@foretune_entry = internal global ptr @_mlir_ciface_{signature.name}\n\ndefine void @{REPEAT}(i64 %n, ptr"
        f" %result{arguments}) {{\nentry:\n{casts}  br label %loop\nloop:\n  %i = phi i64 [ 0, %entry ], [ %next, %loop"
        f" ]\n  %f = load volatile ptr, ptr @foretune_entry\n  {call} %f({passed})\n{keep}  %next = add i64 %i, 1\n "
        " %more = icmp ult i64 %next, %n\n  br i1 %more, label %loop, label %done\ndone:\n  ret void\n}\n"
    )


class Entry:
    """A loaded entry function with buffers for its arguments.

    Args:
        library: path of the shared library.
        signature: of the entry.
        seed: of the inputs.
    """

    def __init__(self, library: Path, signature: Signature, seed: int) -> None:
        self._repeat = getattr(ctypes.CDLL(str(library)), REPEAT)
        self._repeat.restype = None
        self._signature = signature
        inputs = make_inputs(signature, seed)
        self._given = [np.copy(x) if isinstance(x, np.ndarray) else x for x in inputs]
        self.buffers: list[np.ndarray] = [x for x in inputs if isinstance(x, np.ndarray)]
        returned = [make_buffer(v) for v in signature.results if v.kind != "scalar"]
        self._inputs = inputs
        self.buffers += returned
        scalars = [SCALARS[v.element] for v in signature.scalar_results]
        self._struct = type(
            "Results", (ctypes.Structure,), {"_fields_": [(f"f{i}", t) for i, t in enumerate(scalars)]}
        )()
        self._descriptors = [_descriptor(b, v.offset) for b, v in zip(self.buffers, signature.buffers)]
        arguments: list[Any] = [ctypes.byref(self._struct)] if len(scalars) > 1 else []
        pointers = iter(self._descriptors)
        for value, given in zip(signature.inputs, inputs):
            arguments.append(ctypes.byref(next(pointers)) if value.kind != "scalar" else SCALARS[value.element](given))
        self._arguments = [*arguments, *(ctypes.byref(p) for p in pointers)]

    def call(self, times: int = 1) -> float:
        """Calls the entry; CPU seconds of this thread for all calls together. (The clock of the process jumps where a
        limit of CPU time is set.)
        """
        start = time.thread_time()
        self._repeat(ctypes.c_int64(times), ctypes.byref(self._struct), *self._arguments)
        return time.thread_time() - start

    def restore(self) -> None:
        """Gives the inputs back their first values."""
        for buffer, given in zip(self._inputs, self._given):
            if isinstance(buffer, np.ndarray):
                buffer[...] = given

    def outputs(self) -> list[tuple[ValueType, np.ndarray]]:
        """Every buffer, and the scalars that were returned."""
        scalars = [
            (v, _number(v, getattr(self._struct, f"f{i}"))) for i, v in enumerate(self._signature.scalar_results)
        ]
        return [*zip(self._signature.buffers, self.buffers), *scalars]


def _number(value: ValueType, got: int | float) -> np.ndarray:
    """A number that was returned, as arrays hold it."""
    return np.asarray(got, np.uint16).view(np.float16) if value.element == "f16" else np.asarray(got)


def _descriptor(buffer: np.ndarray, offset: int = 0) -> ctypes.Structure:
    """What MLIR's C interface takes for a memref whose first element is so many elements behind its start."""
    rank = buffer.ndim
    fields: list[tuple[str, Any]] = [
        ("allocated", ctypes.c_void_p),
        ("aligned", ctypes.c_void_p),
        ("offset", ctypes.c_int64),
    ]
    if rank:
        fields += [("sizes", ctypes.c_int64 * rank), ("strides", ctypes.c_int64 * rank)]
    made = type("Descriptor", (ctypes.Structure,), {"_fields_": fields})()
    made.allocated = made.aligned = buffer.ctypes.data - offset * buffer.itemsize
    made.offset = offset
    if rank:
        made.sizes[:] = buffer.shape
        made.strides[:] = [s // buffer.itemsize for s in buffer.strides]
    return made


def run(request: RunEntry) -> Ran:
    """Runs an entry once to check it, then for its time; the status is `wrong_output` where outputs differ."""
    signature = Signature.from_json(request.signature)
    entry = Entry(Path(request.library), signature, request.seed)
    once = entry.call()
    outputs = entry.outputs()
    if request.keep:
        with open(request.keep, "wb") as file:
            np.savez(file, *(array for _, array in outputs))
    worst = 0.0
    if request.reference:
        with np.load(request.reference, allow_pickle=False) as wanted:
            found = [
                (difference(value, array, wanted[f"arr_{i}"]), TOLERANCE.get(value.element, 0.0))
                for i, (value, array) in enumerate(outputs)
            ]
        worst = max((error for error, _ in found), default=0.0)
        if any(error > tolerance for error, tolerance in found):
            said = f"outputs differ from the untransformed program's by {worst:.3g} of the largest element"
            return Ran("wrong_output", said)
    times = _times(entry, request.repeats, request.repeat_ms / 1e3, once) if request.repeats else []
    return Ran(run_secs=tuple(times), difference=worst)


def _times(entry: Entry, repeats: int, least_secs: float, once: float) -> list[float]:
    """Seconds of one call, so many times or until they last some seconds together; each time begins with the first
    inputs.

    Short calls are taken in growing numbers until they last long enough.
    """
    calls, took = 1, once
    while took < least_secs / 4:
        calls = min(8 * calls, max(2 * calls, round(calls * least_secs / max(took, 1e-7))))
        entry.restore()
        took = entry.call(calls)
    calls = max(1, round(1.1 * calls * least_secs / took))
    times = []
    for _ in range(repeats):
        entry.restore()
        times.append(max(entry.call(calls) / calls, 1e-10))
        if sum(times) * calls > _ENOUGH_SECS:
            break
    return times
