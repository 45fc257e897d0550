"""A region of a PyTorch graph as a compiled TVM program that is called on torch tensors without copies."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
import tvm_ffi
from torch.utils.dlpack import from_dlpack as _from_capsule

from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.tir._tvm import set_num_threads, tvm
from foretune.errors import UnsupportedError

_item = tvm_ffi.get_global_func("ffi.ArrayGetItem")  # half the time of `array[i]`
_ALIGNMENT = 64  # bytes that TVM's kernels assume

SUPPORTED_DTYPES = frozenset({torch.float32, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool})


class CompiledRegion(torch.nn.Module):
    """Calls a Relax program through DLPack.

    Static inputs (weights) go through `main_transform_params` once; it runs again when one of them has
    been changed in place or replaced.

    Args:
        executable: compiled Relax module with `main`, and `main_transform_params` if there are static inputs.
        num_inputs: inputs of the region.
        static_inputs: positions of those that rarely change.
        single: return the only output itself, not in a tuple.
        strides: of each output that must not be contiguous, by position.
    """

    def __init__(
        self, executable: tvm.runtime.Executable | tvm.runtime.Module, num_inputs: int, static_inputs: frozenset[int] = frozenset(), single: bool = False,
        strides: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        set_num_threads()
        self._single = single
        self._strides = dict(strides or {})
        self._static = sorted(static_inputs)
        self._dynamic = [i for i in range(num_inputs) if i not in static_inputs]
        self._lock = threading.Lock()  # a virtual machine serves one call at a time
        self.replace(executable)

    def replace(self, executable: tvm.runtime.Executable | tvm.runtime.Module) -> None:
        """Runs another build of the same program from now on."""
        from tvm import relax

        vm = relax.VirtualMachine(executable, tvm.cpu())
        with self._lock:
            self._vm, self._main = vm, vm["main"]
            self._transform = vm["main_transform_params"] if self._static else None
            self._watched = StaticInputs()
            self._transformed: tuple = ()
            self._held: tuple = ()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Runs the region; inputs are copied only if they are not contiguous or not aligned."""
        with self._lock:
            if self._transform is not None:
                static = [inputs[i] for i in self._static]
                if not self._watched.unchanged(static):
                    self._held = tuple(_as_tvm(t) for t in static)
                    self._transformed = tuple(self._transform(self._held))
                    self._watched.keep(static)
            outputs = self._main(*[_prepared(inputs[i]) for i in self._dynamic], *self._transformed)
        results = [_item(outputs, i) for i in range(len(outputs))] if type(outputs) is tvm_ffi.Array else [outputs]
        if not self._dynamic:  # a function that got no tensor of PyTorch's returns TVM's
            results = [_from_capsule(tensor.__dlpack__()) for tensor in results]
        for i, strides in self._strides.items():
            results[i] = _restrided(results[i], strides)
        return results[0] if self._single else tuple(results)


def _restrided(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


def _as_tvm(tensor: torch.Tensor) -> tvm.runtime.Tensor:
    return tvm.runtime.from_dlpack(_prepared(tensor))


def _prepared(tensor: torch.Tensor) -> torch.Tensor:
    """As TVM's kernels need it; TVM takes it over by DLPack itself, faster than from Python."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    if tensor.data_ptr() % _ALIGNMENT:
        tensor = tensor.clone()
    return tensor


def check_inputs(inputs: Sequence[object]) -> None:
    """Checks that a region's inputs can go to TVM.

    Raises:
        UnsupportedError: an input is no tensor on the CPU of a supported type and of fixed, non-zero size.
    """
    for value in inputs:
        if not isinstance(value, torch.Tensor):
            raise UnsupportedError(f"an input of type {type(value).__name__}")
        if any(not isinstance(d, int) for d in value.shape):
            raise UnsupportedError("a dynamic shape")
        if value.numel() == 0:
            raise UnsupportedError("a tensor of size zero")
        if value.dtype not in SUPPORTED_DTYPES:
            raise UnsupportedError(f"dtype {value.dtype}")
        if value.device.type != "cpu":
            raise UnsupportedError(f"device {value.device}")
