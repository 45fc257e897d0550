"""ProgramGraph: the structure of a program as nodes and edges with numeric features.

A domain (TIR tasks, LLVM IR, MLIR) builds one graph for each workload; the latent model encodes it
and never sees identifiers or text layout. Node names exist only so that an action can be resolved to
the node that it refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from foretune.errors import DataError


@dataclass(frozen=True)
class Node:
    """A block, loop, buffer, function or the like.

    Attributes:
        kind: what it is; the encoder has one input layer for each kind.
        name: how actions refer to it; not a feature.
        features: numbers, the same count for every node of this kind.
    """

    kind: str
    name: str
    features: tuple[float, ...]


@dataclass(frozen=True)
class Edge:
    """A directed relation between two nodes, by index."""

    src: int
    dst: int
    kind: str
    features: tuple[float, ...] = ()


@dataclass(frozen=True)
class ProgramGraph:
    """Nodes and edges of one program."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        for edge in self.edges:
            if not (0 <= edge.src < len(self.nodes) and 0 <= edge.dst < len(self.nodes)):
                raise DataError(f"edge {edge.src} -> {edge.dst} leaves the graph of {len(self.nodes)} nodes")

    @cached_property
    def index(self) -> dict[tuple[str, str], int]:
        """(kind, name) -> index of the node."""
        return {(node.kind, node.name): i for i, node in enumerate(self.nodes)}

    def to_json(self) -> dict[str, Any]:
        """The graph as JSON data."""
        return {
            "nodes": [[n.kind, n.name, list(n.features)] for n in self.nodes],
            "edges": [[e.src, e.dst, e.kind, list(e.features)] for e in self.edges],
        }

    @classmethod
    def from_json(cls, data: Any) -> ProgramGraph:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape.
        """
        try:
            nodes = tuple(Node(str(k), str(n), tuple(float(v) for v in f)) for k, n, f in data["nodes"])
            edges = tuple(Edge(int(s), int(d), str(k), tuple(float(v) for v in f)) for s, d, k, f in data["edges"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a program graph: {type(error).__name__}: {error}") from error
        return cls(nodes, edges)
