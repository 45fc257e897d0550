"""The structure that a log tells of a program: arguments, tensors, stages and iterators.

These logs hold no program, only what it was made from. Its graph has a node for each argument, and for Ansor also
for each stage and each iterator whose extent the first record states.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from foretune.program import Edge, Node, ProgramGraph

_MAX_NUMBERS = 8


def argument_nodes(arguments: Sequence[Any]) -> list[Node]:
    """A node for each argument, with its position and its numbers.

    `["TENSOR", shape, dtype]` becomes a `tensor` node with element bytes, log2 of the elements and the shape.
    """
    nodes = []
    for i, argument in enumerate(arguments):
        if (
            isinstance(argument, list)
            and len(argument) >= 3
            and argument[0] == "TENSOR"
            and isinstance(argument[1], list)
        ):
            shape = [float(d) for d in argument[1] if isinstance(d, int)]
            elements = math.prod(shape) if all(d > 0 for d in shape) else 0.0
            features = (float(i), _element_bytes(str(argument[2])), math.log2(max(1.0, elements)), *_padded(shape))
            nodes.append(Node("tensor", f"a{i}", features))
        else:
            nodes.append(Node("argument", f"a{i}", (float(i), *_padded(_numbers(argument)))))
    return nodes


def argument_graph(arguments: Sequence[Any]) -> ProgramGraph:
    """The arguments around a root."""
    nodes = [Node("root", "root", ()), *argument_nodes(arguments)]
    return ProgramGraph(tuple(nodes), tuple(Edge(i, 0, "argument") for i in range(1, len(nodes))))


def stage_graph(arguments: Sequence[Any], stages: dict[int, dict[int, int]]) -> ProgramGraph:
    """Arguments, stages and iterators around a root.

    Args:
        arguments: of the workload.
        stages: stage -> original position of an iterator -> its extent.
    """
    graph = argument_graph(arguments)
    nodes, edges = list(graph.nodes), list(graph.edges)
    for stage, iterators in sorted(stages.items()):
        at = len(nodes)
        total = math.log2(max(1.0, math.prod(iterators.values())))
        nodes.append(Node("stage", f"s{stage}", (float(stage), float(len(iterators)), total)))
        edges.append(Edge(at, 0, "stage"))
        for position, extent in sorted(iterators.items()):
            edges.append(Edge(len(nodes), at, "iterator"))
            nodes.append(Node("iterator", f"s{stage}.i{position}", (float(position), math.log2(max(1, extent)))))
    return ProgramGraph(tuple(nodes), tuple(edges))


def _numbers(value: Any) -> list[float]:
    if isinstance(value, (bool, int, float)):
        return [float(value)]
    if isinstance(value, list):
        return [n for v in value for n in _numbers(v)][:_MAX_NUMBERS]
    return []


def _padded(numbers: list[float]) -> tuple[float, ...]:
    numbers = numbers[:_MAX_NUMBERS]
    return (*numbers, *([0.0] * (_MAX_NUMBERS - len(numbers))))


def _element_bytes(dtype: str) -> float:
    bits = re.search(r"\d+", dtype)
    return max(1.0, int(bits.group()[:4]) / 8) if bits else 1.0
