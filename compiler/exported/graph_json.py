"""FX graphs of ATen operators as JSON, and back without executing anything."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

from foretune.compiler.exported.program_text import operator_named
from foretune.compiler.torch_private import OpOverload
from foretune.errors import DataError, UnsupportedError

_GETITEM = "getitem"
_NAMED: dict[str, type] = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


def graph_to_json(graph: fx.Graph) -> list[dict[str, Any]]:
    """A graph as JSON data, a row for each node.

    Modules that it calls and constants that it reads are in it by their names.

    Raises:
        UnsupportedError: a node is no operator of PyTorch's, or has an argument that is no plain value.
    """
    return [_row(node) for node in graph.nodes]


def _row(node: fx.Node) -> dict[str, Any]:
    row: dict[str, Any] = {"op": node.op, "name": node.name}
    if node.op in ("placeholder", "output"):
        target = ""
    elif node.op == "call_function":
        target = _operator(node)
    elif isinstance(node.target, str) and node.target.isidentifier():
        target = node.target
    else:
        raise UnsupportedError(f"the part {node.target} of a graph cannot be written to a file")
    if target:
        row["target"] = target
    if node.op != "placeholder":
        what = f"{node.target}"
        row["args"] = [value_to_json(argument, what) for argument in node.args]
        row["kwargs"] = {name: value_to_json(argument, what) for name, argument in node.kwargs.items()}
    return row


def _operator(node: fx.Node) -> str:
    if node.target is operator.getitem:
        return _GETITEM
    if not isinstance(node.target, OpOverload):
        raise UnsupportedError(f"{node.target} is no operator that can be written to a file")
    name = f"torch.ops.{node.target}"
    try:
        operator_named(name)
    except DataError as error:
        raise UnsupportedError(str(error)) from error
    return name


def value_to_json(value: Any, what: str) -> Any:
    """An argument of an operator as JSON data.

    Args:
        value: the argument.
        what: the operator, for messages.

    Raises:
        UnsupportedError: it is no plain value.
    """
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [value_to_json(item, what) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.device):
        return {"device": str(value)}
    for kind, cls in _NAMED.items():
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    raise UnsupportedError(f"{what} has an argument of type {type(value).__name__}, which no file can hold")


def graph_from_json(
    rows: Any, modules: Mapping[str, nn.Module] = {}, constants: Mapping[str, torch.Tensor] = {}
) -> fx.GraphModule:
    """Reads what `graph_to_json` wrote.

    Args:
        rows: the data.
        modules: name -> what the graph calls.
        constants: name -> what the graph reads.

    Raises:
        DataError: the data is damaged, names an operator that does more than compute, or a part that is not there.
    """
    root, graph = nn.Module(), fx.Graph()
    for name, module in modules.items():
        root.add_module(name, module)
    for name, tensor in constants.items():
        root.register_buffer(name, tensor)
    known: dict[str, fx.Node] = {}
    try:
        for row in rows:
            name, op = row["name"], row["op"]
            if name in known or not name.isidentifier():
                raise DataError(f"the name {name[:80]!r} of a node stands twice, or is none")
            known[name] = _node(graph, root, op, row, known)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise DataError(f"a graph is damaged: {type(error).__name__}: {str(error)[:120]}") from error
    return fx.GraphModule(root, graph)


def _node(graph: fx.Graph, root: nn.Module, op: str, row: Any, known: Mapping[str, fx.Node]) -> fx.Node:
    if op == "placeholder":
        return graph.placeholder(row["name"])
    args = tuple(value_from_json(argument, known) for argument in row["args"])
    kwargs = {str(name): value_from_json(argument, known) for name, argument in row["kwargs"].items()}
    if op == "output":
        [outputs] = args
        return graph.output(tuple(outputs) if isinstance(outputs, list) else outputs)
    target = row["target"]
    if op == "call_function":
        function = operator.getitem if target == _GETITEM else operator_named(target)
        return graph.create_node(op, function, args, kwargs, row["name"])
    if op not in ("call_module", "get_attr") or not hasattr(root, target):
        raise DataError(f"a graph has the node {op} {str(target)[:80]}, of which nothing is known")
    return graph.create_node(op, target, args, kwargs, row["name"])


def value_from_json(value: Any, known: Mapping[str, fx.Node] = {}) -> Any:
    """Reads what `value_to_json` wrote.

    Args:
        value: the data.
        known: name -> node of the graph that the argument stands in.

    Raises:
        DataError, KeyError, ValueError, TypeError, RuntimeError: it is damaged.
    """
    if isinstance(value, list):
        return [value_from_json(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, text)] = value.items()
    if kind == "node":
        return known[text]
    if kind == "float":
        return float(text)
    if kind == "device":
        return torch.device(text)
    found = getattr(torch, text, None)
    if kind not in _NAMED or not isinstance(found, _NAMED[kind]):
        raise DataError(f"there is no {kind[:40]} {text[:40]!r}")
    return found
