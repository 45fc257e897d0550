"""Which tensors TVM's regions may take and give, as far as a graph knows them: without data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from foretune.compiler.torch_private import FakeTensorMode, pytree
from foretune.errors import UnsupportedError

SUPPORTED_DTYPES = frozenset(
    {torch.float32, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool}
)


def check_inputs(inputs: Sequence[object]) -> None:
    """Checks that a region's inputs can go to TVM.

    Raises:
        UnsupportedError: an input is no tensor on the CPU of a supported type and of fixed, non-zero size.
    """
    for value in inputs:
        if not isinstance(value, torch.Tensor):
            raise UnsupportedError(f"an input of type {type(value).__name__}")
        if why := reason_against_tensor(value):
            raise UnsupportedError(why)


def reason_against_tensor(value: torch.Tensor, may_be_empty: bool = False) -> str:
    """Why a tensor cannot go to TVM; empty if it can."""
    if any(not isinstance(d, int) for d in value.shape):
        return "a dynamic shape"
    if value.numel() == 0 and not may_be_empty:
        return "a tensor of size zero"
    if value.dtype not in SUPPORTED_DTYPES:
        return f"dtype {value.dtype}"
    return f"device {value.device}" if value.device.type != "cpu" else ""


def make_values_own(graph: torch.fx.Graph) -> None:
    """Gives the nodes of a graph values that share nothing with those of other graphs of the same tracing.

    While another thread runs an operator on tensors without data, all that were made together say that they are on
    another device.
    """
    with FakeTensorMode():
        for node in graph.nodes:
            if "val" in node.meta:
                node.meta["val"] = pytree.tree_map(_own, node.meta["val"])


def _own(value: Any) -> Any:
    is_plain = isinstance(value, torch.Tensor) and value.layout == torch.strided
    if not is_plain or any(not isinstance(d, int) for d in (*value.shape, *value.stride())):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
