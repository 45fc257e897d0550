"""Programs that must not be run twice, and so take part in no contest: random numbers, collectives, operators of the
user's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from foretune.compiler.measure.random_numbers import drops_nothing
from foretune.compiler.torch_private import (
    FakeTensorMode,
    HigherOrderOperator,
    OpOverload,
    OpOverloadPacket,
    TorchDispatchMode,
)

_PURE = ("aten", "prims", "prim", "quantized", "quantized_decomposed", "torchao")
_FOREIGN = "it has an operator that is not PyTorch's own"
_KNOWN_EFFECTS = ("_print",)


def effect_of(gm: torch.fx.GraphModule, inputs: Sequence[Any]) -> str:
    """Why a Dynamo graph must run exactly once a call; empty if it may be run again for comparison.

    The graph runs on tensors without data, and each operator that it reaches is looked at.

    Args:
        gm: the graph.
        inputs: example inputs.
    """
    for module in gm.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if isinstance(node.target, HigherOrderOperator):
                    return f"it has control flow or a program within it: {node.target.name()}"
                if isinstance(node.target, OpOverload) and (
                    why := _effect_of_operator(node.target, node.args, node.kwargs)
                ):
                    return why
                if isinstance(node.target, OpOverloadPacket) and not node.target._qualified_op_name.startswith(
                    tuple(f"{name}::" for name in _PURE)
                ):
                    return f"{_FOREIGN}: {node.target._qualified_op_name}"
    watch = _Watch()
    try:
        _run_without_data(gm, inputs, watch)
    except _Found:
        pass
    except Exception:  # what cannot be followed is judged by its nodes alone
        return watch.found
    return watch.found


def changed_inputs(gm: torch.fx.GraphModule, inputs: Sequence[Any]) -> frozenset[int]:
    """Positions of the inputs that a Dynamo graph changes in place; all, where it cannot be followed without data."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    try:
        with mode, torch.no_grad():
            fake = [_without_data(x) for x in inputs]
            before = [x._version if isinstance(x, torch.Tensor) else 0 for x in fake]
            gm(*fake)
    except Exception:  # of any kind: data decides what it does
        return frozenset(range(len(inputs)))
    return frozenset(
        i for i, (x, version) in enumerate(zip(fake, before)) if isinstance(x, torch.Tensor) and x._version != version
    )


class _Found(Exception):
    """An effect was found; the rest need not be looked at."""


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if isinstance(func, OpOverload) and (why := _effect_of_operator(func, args, kwargs or {})):
            self.found = why
            raise _Found
        return func(*args, **(kwargs or {}))


def _effect_of_operator(operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    if operator.namespace not in _PURE:
        return f"{_FOREIGN}: {operator.name()}"
    if torch.Tag.nondeterministic_seeded in operator.tags and not drops_nothing(operator, args, kwargs):
        return f"it draws random numbers: {operator.name()}"
    name = operator._schema.name.split("::")[-1]
    return f"it has a side effect: {operator.name()}" if name in _KNOWN_EFFECTS else ""


def _run_without_data(gm: torch.fx.GraphModule, inputs: Sequence[Any], watch: _Watch) -> None:
    """Runs a graph on fake tensors of its own, so that what it changes, or learns of sizes, stays here."""
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    with mode, watch:
        gm(*[_without_data(x) for x in inputs])


def _without_data(x: Any) -> Any:
    if isinstance(x, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return x.node.hint
    if not isinstance(x, torch.Tensor):
        return x
    size, stride = ([d.node.hint if isinstance(d, torch.SymInt) else d for d in dims] for dims in (x.shape, x.stride()))
    return torch.empty_strided(size, stride, dtype=x.dtype, device=x.device, requires_grad=x.requires_grad)
