"""Notices that weights, of which something was computed ahead of time, have been changed or replaced."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
import xxhash


class StaticInputs:
    """Watches tensors that rarely change.

    PyTorch counts changes in place, but not those through `.data`, NumPy, another process or shared memory. The one
    sure test is to read the weights: their XXH3 hash of 128 bits costs 20 to 80 gigabytes a second. Where the user
    promised not to change them behind PyTorch's back, its own counts do.

    Args:
        frozen: whether there is that promise.
    """

    def __init__(self, frozen: bool = False) -> None:
        self._frozen = frozen
        self._state: list | None = None
        self._views: list[ctypes.Array] = []
        self._hashes: list[int] = []

    def unchanged(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether these are the tensors of the last call of `keep`, with the values of then."""
        if self._state is None or self._state != self._state_of(tensors):
            return False
        return self._frozen or [xxhash.xxh3_128_intdigest(view) for view in self._views] == self._hashes

    def keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Notes the tensors as they are; the caller keeps them alive."""
        self._state = self._state_of(tensors)
        self._views = [] if self._frozen else [_memory_of(t) for t in tensors if t.numel()]
        self._hashes = [xxhash.xxh3_128_intdigest(view) for view in self._views]

    def _state_of(self, tensors: Sequence[torch.Tensor]) -> list | None:
        if not self._frozen:
            return [t.data_ptr() for t in tensors]
        try:
            return [(t.data_ptr(), t._version) for t in tensors]
        except RuntimeError:  # made in inference mode, which counts as changed each time
            return None


def _memory_of(tensor: torch.Tensor) -> ctypes.Array:
    """The bytes from a tensor's first to its last element; strided tensors may have others between."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return (ctypes.c_ubyte * ((last + 1) * tensor.itemsize)).from_address(tensor.data_ptr())
