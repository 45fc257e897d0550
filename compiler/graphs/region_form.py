"""Which regions of a graph are the same program: the layers of a model mostly are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.fx.node import map_arg

if TYPE_CHECKING:
    from torch.fx.node import Argument


def form_of(graph: torch.fx.Graph) -> str | None:
    """A text that is equal for graphs that differ in names alone; None for a graph with constants or modules of its
    own.
    """
    numbers = {node: _Reference(i) for i, node in enumerate(graph.nodes)}
    lines = []
    for node in graph.nodes:
        if node.op not in ("placeholder", "call_function", "output"):
            return None
        target = node.target if node.op == "call_function" else node.op
        arguments = (
            map_arg((node.args, node.kwargs), lambda n: cast("Argument", numbers[n]))
            if node.op != "placeholder"
            else ()
        )
        lines.append(f"{target} {arguments} {_value_of(node.meta.get('val'))}")
    return "\n".join(lines)


class _Reference:
    """Another node, by its number; no argument is printed like it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __repr__(self) -> str:
        return f"<{self._number}>"


def _value_of(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(map(_value_of, value))
    if not isinstance(value, torch.Tensor):
        return str(type(value))
    return f"{value.dtype} {tuple(value.shape)} {value.stride()} {value.device}"
