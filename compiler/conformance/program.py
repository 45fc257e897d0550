"""A program of the conformance suite, and what one call of it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from foretune.compiler.torch_private import pytree

FENCE_BYTES = 64  # before and after each input; TVM's kernels read aligned memory without a copy
_FENCE_VALUE = 1


@dataclass(frozen=True)
class Program:
    """What is compiled.

    Attributes:
        name: that it is asked for by.
        run: takes tensors, returns any nest of lists, tuples and dictionaries.
        inputs: kind values, on which it is compiled.
        trains: whether gradients are asked for.
        weights: positions of inputs that a module holds as parameters.
    """

    name: str
    run: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]
    trains: bool = False
    weights: tuple[int, ...] = ()


@dataclass
class Observation:
    """What a call did.

    Attributes:
        error: that it raised.
        outputs: flat.
        inputs: after the call.
        gradients: of the inputs, where they were asked for.
        shared: pairs of positions, in inputs and then outputs, of tensors that lie in one storage.
        fences_hold: whether memory around the inputs is as it was.
    """

    error: Exception | None = None
    outputs: list[Any] = field(default_factory=list)
    inputs: list[torch.Tensor] = field(default_factory=list)
    gradients: list[torch.Tensor | None] = field(default_factory=list)
    shared: frozenset[tuple[int, int]] = frozenset()
    fences_hold: bool = True


class FencedInputs:
    """Copies of tensors in the midst of memory that nobody may write to.

    Tensors that share a storage share its copy.

    Args:
        tensors: their strides are kept.
        misaligned: whether the copies lie one element beside TVM's alignment.
    """

    def __init__(self, tensors: Sequence[torch.Tensor], misaligned: bool = False) -> None:
        self._buffers: dict[int, tuple[torch.Tensor, int, int]] = {}
        self.tensors = [self._copied(t.detach(), misaligned) for t in tensors]

    def _copied(self, tensor: torch.Tensor, misaligned: bool) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() == 0:
            return tensor.clone()
        size = tensor.element_size()
        pad = FENCE_BYTES // size + misaligned
        if storage.data_ptr() not in self._buffers:
            length = storage.nbytes() // size
            buffer = torch.full((length + 2 * pad + FENCE_BYTES // size,), _FENCE_VALUE, dtype=tensor.dtype)
            start = pad + (-(buffer.data_ptr() // size)) % (FENCE_BYTES // size)
            buffer[start : start + length].copy_(
                torch.empty(0, dtype=tensor.dtype).set_(storage, 0, torch.Size((length,)), (1,))
            )
            self._buffers[storage.data_ptr()] = buffer, start, length
        buffer, start, _ = self._buffers[storage.data_ptr()]
        return buffer.as_strided(tensor.shape, tensor.stride(), start + tensor.storage_offset())

    def hold(self) -> bool:
        """Whether nothing was written around the copies."""
        return all(
            bool((part == _FENCE_VALUE).all()) for buffer, start, length in self._buffers.values()
            for part in (buffer[:start], buffer[start + length :])
        )  # fmt: skip


def observe(
    run: Callable[..., Any],
    inputs: Sequence[torch.Tensor],
    trains: bool = False,
    misaligned: bool = False,
    seed: int = 0,
) -> Observation:
    """Calls a program on copies of inputs, with a seeded random generator."""
    fenced = FencedInputs(inputs, misaligned)
    tensors = fenced.tensors
    if trains:
        tensors = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    torch.manual_seed(seed)
    seen = Observation(inputs=[t.detach() for t in tensors])
    try:
        with torch.set_grad_enabled(trains):
            # leaves cannot be changed in place
            outputs = run(*[t.view_as(t) if trains and t.requires_grad else t for t in tensors])
            seen.outputs = pytree.tree_leaves(outputs)
            if trains:
                seen.gradients = _gradients(seen.outputs, tensors)
    except Exception as error:  # of any kind: it is compared
        seen.error = error
    seen.outputs = [x.detach() if isinstance(x, torch.Tensor) else x for x in seen.outputs]
    seen.shared = frozenset(_shared([*seen.inputs, *seen.outputs]))
    seen.fences_hold = fenced.hold()
    return seen


def _gradients(outputs: Sequence[Any], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    ends = [o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad]
    starts = [x for x in inputs if x.requires_grad]
    if not ends or not starts:
        return []
    seeds = [torch.linspace(0.5, 1.5, max(1, o.numel()), dtype=o.dtype)[: o.numel()].view(o.shape) for o in ends]
    return list(torch.autograd.grad(ends, starts, seeds, allow_unused=True))


def _shared(leaves: Sequence[Any]) -> Iterator[tuple[int, int]]:
    places = [
        x.untyped_storage().data_ptr() if isinstance(x, torch.Tensor) and x.layout == torch.strided else 0
        for x in leaves
    ]
    for j, place in enumerate(places):
        yield from ((i, j) for i in range(j) if place and places[i] == place)
