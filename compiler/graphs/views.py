"""Moves views behind the pointwise operators that follow them.

A linear layer on [batch, length, width] is a matrix product between two views. The view after the product
keeps TVM from fusing the bias, activation or residual sum that comes next, because it sees two shapes.
Pointwise operators do not care about shape: `op(view(x))` is `view(op(x))`, and a view of a whole tensor
costs nothing wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

_aten = torch.ops.aten
_VIEWS = (_aten.view.default, _aten.reshape.default, _aten._unsafe_view.default)
_POINTWISE = frozenset(
    {
        _aten.add.Tensor,
        _aten.sub.Tensor,
        _aten.mul.Tensor,
        _aten.div.Tensor,
        _aten.relu.default,
        _aten.neg.default,
        _aten.erf.default,
        _aten.exp.default,
        _aten.tanh.default,
        _aten.sigmoid.default,
        _aten.silu.default,
        _aten.abs.default,
        _aten.sqrt.default,
        _aten.rsqrt.default,
        _aten.hardswish.default,
        _aten.hardtanh.default,
        _aten.clamp.default,
        _aten.gelu.default,
        _aten.leaky_relu.default,
        _aten.elu.default,
    }
)


def sink_views(graph: torch.fx.GraphModule) -> None:
    """Rewrites a functional ATen graph in place until no view can sink further."""
    changed = True
    moved: set[torch.fx.Node] = set()  # each node moves once; between operands of two shapes it would go back and forth
    while changed:
        changed = False
        for node in list(graph.graph.nodes):
            source = _sinkable(node) if node not in moved else None
            if source is not None:
                moved.add(_sink(graph.graph, node, source))
                changed = True
    _merge_views(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _merge_views(graph: torch.fx.Graph) -> None:
    """Turns a view of a view into one view, and a view of the same shape into nothing."""
    for node in graph.nodes:
        if node.target not in _VIEWS:
            continue
        source = _viewed(node)
        while source.target in _VIEWS:
            source = _viewed(source)
        value, own = _value(source), _value(node)
        if value is None or own is None or not value.is_contiguous():
            continue
        if value.shape == own.shape:
            node.replace_all_uses_with(source)
        elif source is not node.args[0]:
            node.args = (source, node.args[1])


def _viewed(view: torch.fx.Node) -> torch.fx.Node:
    """What a view is of."""
    return cast("torch.fx.Node", view.args[0])


def _tensor(node: torch.fx.Node) -> torch.Tensor:
    return node.meta["val"]


def _value(node: torch.fx.Node) -> torch.Tensor | None:
    value = node.meta.get("val")
    return value if isinstance(value, torch.Tensor) else None


def _sinkable(node: torch.fx.Node) -> torch.fx.Node | None:
    """The tensor behind a view that is an operand of this pointwise node, if the view may sink below the node."""
    out = _value(node)
    if node.op != "call_function" or node.target not in _POINTWISE or out is None:
        return None
    operands = [a for a in node.args if isinstance(a, torch.fx.Node)]
    values = [_value(a) for a in operands]
    if (
        any(v is None or v.shape != out.shape or not v.is_contiguous() or v.dtype != out.dtype for v in values)
        or not out.is_contiguous()
    ):
        return None
    for operand in operands:
        if operand.target in _VIEWS and len(operand.users) == 1:
            source = _viewed(operand)
            value = _value(source)
            # only towards the shape that a computation produced, so that two views never chase each other
            if (
                value is not None
                and value.is_contiguous()
                and value.shape != out.shape
                and source.op == "call_function"
                and source.target not in _VIEWS
            ):
                return source
    return None


def _sink(graph: torch.fx.Graph, node: torch.fx.Node, source: torch.fx.Node) -> torch.fx.Node:
    """Replaces a node by one in the shape of a source, with a view behind it; returns the new one."""
    shape = list(_tensor(source).shape)
    out = _tensor(node)

    def reshaped(operand):
        if not isinstance(operand, torch.fx.Node):
            return operand
        if operand.target in _VIEWS and list(_tensor(_viewed(operand)).shape) == shape:
            return operand.args[0]
        view = graph.call_function(_aten.view.default, (operand, shape))
        view.meta["val"] = _tensor(operand).new_empty(shape)
        return view

    with graph.inserting_before(node):
        moved = graph.call_function(
            cast("Callable[..., Any]", node.target), tuple(reshaped(a) for a in node.args), dict(node.kwargs)
        )
        moved.meta["val"] = out.new_empty(shape)
        back = graph.call_function(_aten.view.default, (moved, list(out.shape)))
        back.meta["val"] = out
    node.replace_all_uses_with(back)
    graph.erase_node(node)
    return moved
