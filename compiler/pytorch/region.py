"""A region of a PyTorch graph as a compiled TVM program that is called on torch tensors without copies."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch

from foretune.compiler.observed.ranges import profiled, profiler
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.tir._tvm import set_num_threads, tvm
from foretune.compiler.tir.call_sequence import aligned
from foretune.compiler.tir.openmp import range_check
from foretune.compiler.tir.program import Program


@dataclass(frozen=True)
class Signature:
    """How a region is called.

    Attributes:
        num_inputs: inputs of the region.
        static_inputs: positions of weights, of which something is prepared ahead of time.
        single: return the only output itself, not in a tuple.
        strides: of each output that must not be contiguous, by position.
        escaping: positions of outputs that the graph returns, which get memory of their own.
        indices: positions of inputs that hold indices -> sizes that these must be below.
    """

    num_inputs: int
    static_inputs: frozenset[int] = frozenset()
    single: bool = False
    strides: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    escaping: frozenset[int] = frozenset()
    indices: Mapping[int, int] = field(default_factory=dict)


class CompiledRegion(torch.nn.Module):
    """Calls a Relax program through DLPack.

    Static inputs (weights) go through `main_transform_params` once; it runs again when one of them has been changed or
    replaced. Where an index is negative or out of range, PyTorch runs the region: it wraps, or raises its own error.

    Args:
        program: what was compiled of it.
        signature: how it is called.
        reference: the region as PyTorch runs it.
        frozen: whether the user promised not to change weights behind PyTorch's back.
        label: its name in PyTorch's profiler.

    Attributes:
        signature, label: as they were given.
    """

    def __init__(
        self,
        program: Program,
        signature: Signature,
        reference: torch.nn.Module,
        frozen: bool = False,
        label: str = "foretune::region",
    ) -> None:
        super().__init__()
        set_num_threads()
        self.signature, self.label, self._frozen = signature, label, frozen
        self._reference = [reference]  # in a list: it is no submodule
        self._static = sorted(signature.static_inputs)
        self._dynamic = [i for i in range(signature.num_inputs) if i not in signature.static_inputs]
        self._indices = tuple(signature.indices.items())
        self._lock = threading.Lock()  # a program serves one call at a time
        self.replace(program)

    @property
    def reference(self) -> torch.nn.Module:
        """The region as PyTorch runs it."""
        return self._reference[0]

    def replace(self, program: Program) -> None:
        """Runs another build of the same program from now on."""
        with self._lock:
            self._program = program
            self._watched = StaticInputs(self._frozen)
            self._held: tuple = ()
            # outputs that are other tensors' memory; known after the first call
            self._borrowed: tuple[int, ...] | None = None

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Runs the region; inputs are copied only if they are not contiguous or not aligned."""
        for position, size in self._indices:
            if not _in_range(inputs[position], size):
                return self._reference[0](*inputs)
        with self._lock:
            if self._static:
                static = [inputs[i] for i in self._static]
                if not self._watched.unchanged(static):
                    self._held = tuple(_as_tvm(t) for t in static)
                    self._program.prepare(self._held)
                    self._watched.keep(static)
            dynamic = [_prepared(inputs[i]) for i in self._dynamic]
            results = self._profiled(dynamic) if profiler._is_profiler_enabled else self._program(dynamic)
            if self._borrowed is None:
                self._borrowed = self._find_borrowed(results, dynamic)
        for i in self._borrowed:
            results[i] = results[i].clone()
        for i, strides in self.signature.strides.items():
            results[i] = _restrided(results[i], strides)
        return results[0] if self.signature.single else tuple(results)

    def _profiled(self, dynamic: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        with profiled(self.label):
            return self._program(dynamic, in_ranges=True)

    def _find_borrowed(self, results: Sequence[torch.Tensor], dynamic: Sequence[torch.Tensor]) -> tuple[int, ...]:
        """Outputs to be copied, because the program returns an input, a prepared weight, or one tensor twice; the same
        in each call.
        """
        taken = {t.data_ptr() for t in (*dynamic, *self._program.prepared)}
        found = []
        for i, result in enumerate(results):
            if i in self.signature.escaping:
                if result.data_ptr() in taken:
                    found.append(i)
                taken.add(result.data_ptr())
        return tuple(found)


def _in_range(indices: torch.Tensor, size: int) -> bool:
    check = range_check(8 * indices.itemsize)
    if check is not None and indices.is_contiguous():
        return bool(check(indices.data_ptr(), indices.numel(), size))
    low, high = torch.aminmax(indices)
    return low.item() >= 0 and high.item() < size


def _restrided(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


def _as_tvm(tensor: torch.Tensor) -> tvm.runtime.Tensor:
    return cast("tvm.runtime.Tensor", tvm.runtime.from_dlpack(_prepared(tensor)))


def _prepared(tensor: torch.Tensor) -> torch.Tensor:
    """As TVM's kernels need it; TVM takes it over by DLPack itself, faster than from Python."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    return aligned(tensor)


def runner_of(fused: torch.fx.GraphModule, regions: Sequence[str]) -> Callable:
    """What runs a graph with built regions, past the graph's own Python code where all of it is one region."""
    return _direct_call(fused, regions) or fused


def _direct_call(fused: torch.fx.GraphModule, regions: Sequence[str]) -> Callable | None:
    """A shortcut past the graph's own Python code, where the whole graph is one region."""
    nodes = [n for n in fused.graph.nodes if n.op not in ("placeholder", "output") and n.target is not operator.getitem]
    if len(nodes) != 1 or len(regions) != 1 or nodes[0].target != regions[0]:
        return None
    placeholders = [n for n in fused.graph.nodes if n.op == "placeholder"]
    positions = [placeholders.index(a) for a in nodes[0].args]
    outputs = next(n for n in fused.graph.nodes if n.op == "output").args[0]
    region = getattr(fused, regions[0])
    if not isinstance(region, CompiledRegion) or not isinstance(outputs, (tuple, list)):
        return None
    if list(outputs) == [nodes[0]]:
        return lambda *inputs: (region.forward(*[inputs[i] for i in positions]),)
    if not all(isinstance(o, torch.fx.Node) and o.target is operator.getitem for o in outputs):
        return None
    picks = [o.args[1] for o in outputs]

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = region.forward(*[inputs[i] for i in positions])
        return tuple([results[k] for k in picks])

    return call
