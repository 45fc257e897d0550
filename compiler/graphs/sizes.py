"""Symbolic sizes of a graph as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch.fx.node import map_arg


def put_in_sizes(gm: torch.fx.GraphModule, inputs: Sequence[Any], positions: Iterable[int]) -> torch.fx.GraphModule:
    """Puts numbers in place of the inputs that are sizes, and takes these away.

    Args:
        gm: a graph of Dynamo's; it is changed, and returned.
        inputs: of a call.
        positions: of the sizes.
    """
    placeholders = gm.graph.find_nodes(op="placeholder")
    for position in positions:
        node, size = placeholders[position], inputs[position]

        def number(argument: torch.fx.Node, node: torch.fx.Node = node, size: int = size) -> Any:
            return size if argument is node else argument

        for user in list(node.users):
            user.args = cast("tuple[Any, ...]", map_arg(user.args, number))
            user.kwargs = cast("dict[str, Any]", map_arg(user.kwargs, number))
        gm.graph.erase_node(node)
    gm.recompile()
    return gm
