"""A region of a PyTorch graph as a compiled TVM program that is called on torch tensors without copies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.dlpack import from_dlpack as _from_capsule

from foretune.compiler._tvm import set_num_threads, tvm
from foretune.errors import UnsupportedError

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
    """

    def __init__(
        self, executable: tvm.runtime.Executable, num_inputs: int, static_inputs: frozenset[int] = frozenset(), single: bool = False
    ) -> None:
        super().__init__()
        from tvm import relax

        set_num_threads()
        self._vm = relax.VirtualMachine(executable, tvm.cpu())
        self._main = self._vm["main"]
        self._single = single
        self._static = sorted(static_inputs)
        self._dynamic = [i for i in range(num_inputs) if i not in static_inputs]
        self._transform = self._vm["main_transform_params"] if static_inputs else None
        self._state: tuple | None = None
        self._transformed: tuple = ()
        self._held: tuple = ()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Runs the region; inputs are copied only if they are not contiguous or not aligned."""
        if self._transform is not None:
            static = [inputs[i] for i in self._static]
            state = tuple([(t.data_ptr(), t._version) for t in static])
            if state != self._state:
                self._held = tuple(_as_tvm(t) for t in static)
                self._transformed = tuple(self._transform(self._held))
                self._state = state
        outputs = self._main(*[_as_tvm(inputs[i]) for i in self._dynamic], *self._transformed)
        if self._single:
            return _as_torch(outputs if isinstance(outputs, tvm.runtime.Tensor) else outputs[0])
        return tuple([_as_torch(o) for o in outputs])


def _as_torch(tensor: tvm.runtime.Tensor) -> torch.Tensor:
    return _from_capsule(tensor.__dlpack__())


def _as_tvm(tensor: torch.Tensor) -> tvm.runtime.Tensor:
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    if tensor.data_ptr() % _ALIGNMENT:
        tensor = tensor.clone()
    return tvm.runtime.from_dlpack(tensor)


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
