"""TIR modules <-> workloads."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import cast

import tvm_ffi

from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.packing import packing
from foretune.datasets.programs.tir_graph import program_graph
from foretune.errors import DataError
from foretune.target import Target
from foretune.task import Rewrite, Task, Workload

_MAX_PROGRAM_BYTES = 64 << 20


def module_hash(mod: tvm.IRModule) -> str:
    """TVM's structural hash, 16 hex digits; the same in every process."""
    return format(tvm_ffi.structural_hash(mod) & (2**64 - 1), "016x")


def workload_from_module(mod: tvm.IRModule, name: str = "", family: str = "") -> Workload:
    """Wraps a TIR module with one unscheduled function `main`.

    Raises:
        UnsupportedError: its structure cannot be read (a symbolic shape, say).
    """
    found = packing(mod)
    rewrites = (Rewrite(found[0], program_graph(found[1])),) if found is not None else ()
    return Workload(module_hash(mod), program_text(mod), program_graph(mod), name, family, rewrites)


def program_text(mod: tvm.IRModule) -> str:
    """A TIR module as the program text of a workload."""
    return base64.b64encode(zlib.compress(tvm.ir.save_json(mod).encode(), 9)).decode()


def task_from_module(mod: tvm.IRModule, target: Target, name: str = "", family: str = "", weight: float = 1.0) -> Task:
    """A tuning task of a TIR module with one unscheduled function `main`."""
    return Task(workload_from_module(mod, name, family), target, weight)


def module_from_program(program: str) -> tvm.IRModule:
    """The TIR module of a workload's program text.

    Raises:
        DataError: the text is damaged, or larger than a task can be.
    """
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(program, validate=True), _MAX_PROGRAM_BYTES)
        if not unpacker.eof:
            raise DataError(f"a program is truncated, or unpacks to more than {_MAX_PROGRAM_BYTES} bytes")
        decoded = text.decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"a stored program is damaged: {error}") from error
    try:
        return cast("tvm.IRModule", tvm.ir.load_json(decoded))
    except Exception as error:  # TVM raises plain RuntimeError and others of its own
        raise DataError(
            f"a stored program cannot be read by TVM {tvm.__version__}; another version may have written it"
        ) from error
