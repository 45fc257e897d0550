"""MLIR program graphs as arrays: a row for each statement, and which statements are nested in the same loops.

Dimension letters: S statements, F features of a statement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretune.errors import ModelError
from foretune.program import ProgramGraph


@dataclass(frozen=True)
class EncodedProgram:
    """One program.

    Attributes:
        statements: [S, F] float32.
        nest: [S] int64: statements with equal numbers share their outermost loop; those outside loops have numbers of
            their own.
        parent: [S] int64: statements with equal numbers are in the same loop, or in loops directly inside of the same
            one.
    """

    statements: np.ndarray
    nest: np.ndarray
    parent: np.ndarray


def encode(graph: ProgramGraph) -> EncodedProgram:
    """Encodes a graph of `foretune.passes.mlir.graph.graph`.

    Raises:
        ModelError: it has no statements, so there is nothing to predict.
    """
    rows = [node.features for node in graph.nodes if node.kind == "statement"]
    if not rows:
        raise ModelError("the module has no function with operations: there is nothing to predict")
    loop_of, parent_of = {}, {}
    for edge in graph.edges:
        if edge.kind == "has":
            loop_of[edge.dst] = edge.src
        elif edge.kind == "nests":
            parent_of[edge.dst] = edge.src
    nest, parent = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        top = loop_of.get(i, -1 - i)
        parent[i] = parent_of.get(top, top)
        while top in parent_of:
            top = parent_of[top]
        nest[i] = top
    return EncodedProgram(
        np.array(rows, np.float32), np.unique(nest, return_inverse=True)[1], np.unique(parent, return_inverse=True)[1]
    )
