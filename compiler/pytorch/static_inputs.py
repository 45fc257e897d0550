"""Notices that weights and buffers, of which something was computed ahead of time, have been changed or replaced."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch


class StaticInputs:
    """Watches tensors that rarely change, for a fraction of a microsecond each.

    PyTorch counts changes in place, but for two kinds: it does not for tensors made in inference mode, which count as changed
    each time, nor for running statistics under batch norm. All channels of these differ then, so that the first and the last
    bytes of tensors that are not trained tell it.
    """

    def __init__(self) -> None:
        self._state: tuple | None = None
        self._probes: list[ctypes.c_ubyte | ctypes.c_int32] = []
        self._values: list[int] = []

    def unchanged(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether these are the tensors of the last call of `keep`, with the values of then."""
        state = _state_of(tensors)
        return state is not None and state == self._state and [p.value for p in self._probes] == self._values

    def keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Notes the tensors as they are; the caller keeps them alive."""
        self._state, self._probes = _state_of(tensors), _probes_of(tensors)
        self._values = [p.value for p in self._probes]


def _state_of(tensors: Sequence[torch.Tensor]) -> tuple | None:
    try:
        return tuple([(t.data_ptr(), t._version) for t in tensors])
    except RuntimeError:  # made in inference mode
        return None


def _probes_of(tensors: Sequence[torch.Tensor]) -> list[ctypes.c_ubyte | ctypes.c_int32]:
    probes = []
    for tensor in tensors:
        if not tensor.requires_grad and tensor.numel() and tensor.is_contiguous():
            kind = ctypes.c_int32 if tensor.nbytes >= 4 else ctypes.c_ubyte
            start = tensor.data_ptr()
            probes += [kind.from_address(start), kind.from_address(start + tensor.nbytes - ctypes.sizeof(kind))]
    return probes
