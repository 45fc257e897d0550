"""Relax modules as compiled programs: scheduled kernels, and what calls them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import tvm_ffi
from torch.utils.dlpack import from_dlpack as _from_capsule

from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.call_sequence import BoundCalls, CallSequence, call_sequence_of
from foretune.compiler.tir.openmp import launcher, on_openmp
from foretune.compiler.tir.target import tvm_target
from foretune.target import Target

_item = tvm_ffi.get_global_func("ffi.ArrayGetItem")  # half the time of `array[i]`


@dataclass(frozen=True)
class Code:
    """A compiled Relax module with `main`, and `main_transform_params` if something is prepared of weights ahead of
    time; any number of programs may run it.

    Attributes:
        module: for TVM's virtual machine.
        library: the same as a library, if a C compiler is found.
        sequence: the calls of `main`, if it is a plain sequence of them.
        binary: content of the library's file; empty if there is none.
    """

    module: tvm.runtime.Executable | tvm.runtime.Module
    library: ctypes.CDLL | None
    sequence: CallSequence | None
    binary: bytes = b""


class Program:
    """Runs code with prepared weights and memory of its own.

    C makes the calls of `main` where they are a plain sequence and a C compiler is found; TVM's virtual machine makes
    the others. Neither serves two calls at once.
    """

    def __init__(self, code: Code) -> None:
        from tvm import relax

        self._machine = relax.VirtualMachine(code.module, cast("Any", tvm.cpu()))
        self._main = self._machine["main"]
        self._prepared: tuple = ()
        self._prepared_tensors: list[torch.Tensor] = []
        self._calls: BoundCalls | None = None
        functions = launcher()
        if code.sequence is not None and code.library is not None and functions is not None:
            self._calls = BoundCalls(code.sequence, code.library, functions)

    @property
    def prepared(self) -> Sequence[torch.Tensor]:
        """What was prepared of weights, or the weights themselves."""
        return self._prepared_tensors

    def prepare(self, weights: tuple[Any, ...]) -> None:
        """Prepares what depends on weights alone.

        Args:
            weights: TVM's tensors; kept by the caller.
        """
        self._prepared = tuple(self._machine["main_transform_params"](weights))
        self._prepared_tensors = [_from_capsule(t.__dlpack__()) for t in self._prepared]
        if self._calls is not None and not self._calls.keep_last(self._prepared_tensors):
            self._calls = None

    def __call__(self, inputs: Sequence[torch.Tensor], in_ranges: bool = False) -> list[torch.Tensor]:
        """Outputs for contiguous and aligned inputs that are no weights.

        Args:
            inputs: of the call.
            in_ranges: whether PyTorch's profiler is told of each kernel, where C makes the calls.
        """
        if self._calls is not None:
            results = self._calls(inputs, in_ranges)
            if results is not None:
                return results
        outputs = self._main(*inputs, *self._prepared)  # which raises TVM's error if there is one
        results = [_item(outputs, i) for i in range(len(outputs))] if type(outputs) is tvm_ffi.Array else [outputs]
        if not inputs:  # a function that got no tensor of PyTorch's returns TVM's
            results = [_from_capsule(tensor.__dlpack__()) for tensor in results]
        return results


def build(mod: tvm.IRModule, target: Target) -> Code:
    """Compiles a Relax module of scheduled kernels: TVM's pipeline for CPUs, read when its memory is planned."""
    from tvm import relax
    from tvm.relax.backend.cpu_generic import pipeline

    transform, device = relax.transform, tvm_target(target)
    planned = [
        *pipeline.library_dispatch_passes(device),
        *pipeline.legalize_passes(device),
        *pipeline.dataflow_lower_passes(device),
        transform.StaticPlanBlockMemory(),
    ]
    rest = [p for p in pipeline.finalize_passes(device) if p.info.name != planned[-1].info.name]
    with tvm.transform.PassContext(opt_level=3):
        with device:
            mod = tvm.transform.Sequential(planned)(mod)
        sequence = call_sequence_of(mod)
        executable = tvm.compile(mod, target=device, relax_pipeline=tvm.transform.Sequential(rest))
    module, library, binary = on_openmp(executable)
    return Code(module, library, sequence, binary)
