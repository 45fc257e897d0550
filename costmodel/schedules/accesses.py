"""What a program graph and a design space say in numbers: accesses of blocks, and tables of decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foretune.costmodel.schedules.generated_code import Access
from foretune.program import ProgramGraph
from foretune.trace import Action, Value


def table_of(action: Action, options: Sequence[Value]) -> np.ndarray | None:
    """The numbers that each option of a decision stands for, [options, numbers] float64; None if they are no
    numbers.
    """
    if action.op == "SampleCategorical" and action.attrs and isinstance(action.attrs[0], tuple):
        choices = action.attrs[0]
        options = [(choices[o],) if isinstance(o, int) and 0 <= o < len(choices) else None for o in options]
    rows = [o for o in options if isinstance(o, tuple)]
    if (
        not rows
        or len(rows) < len(options)
        or not all(len(o) == len(rows[0]) and all(isinstance(n, (int, float)) for n in o) for o in rows)
    ):
        return None
    return np.array(rows, np.float64)


def are_factors(table: np.ndarray | None) -> bool:
    """Whether all numbers of a table can be factors of an extent."""
    return table is not None and bool(np.all(np.isfinite(table) & (table >= 1)))


def read_of(graph: ProgramGraph, block: int, buffer: int | None) -> Access | None:
    """How a block reads a buffer; None if no index moves with a loop."""
    found = accesses_by_buffer(graph, block)
    return next((access for (node, is_write), access in found.items() if node == buffer and not is_write), None)


def accesses_of(graph: ProgramGraph, block: int) -> tuple[Access, ...]:
    """Accesses of a block: what it writes first, then what it reads, the largest first."""
    found = accesses_by_buffer(graph, block)
    written = {buffer for buffer, is_write in found if is_write}
    keys = sorted(
        (k for k in found if k[1] or k[0] not in written), key=lambda k: (not k[1], -graph.nodes[k[0]].features[0])
    )
    return tuple(found[k] for k in keys)


def accesses_by_buffer(graph: ProgramGraph, block: int) -> dict[tuple[int, bool], Access]:
    """(buffer, is write) -> access."""
    dims: dict[tuple[int, bool], dict[int, list[tuple[int, float]]]] = {}
    strides: dict[tuple[int, bool], dict[int, float]] = {}
    for edge in graph.edges:
        if edge.kind == "access" and int(edge.features[0]) == block:
            _, is_write, dim, coefficient, stride, *_ = edge.features
            key = edge.dst, bool(is_write)
            dims.setdefault(key, {}).setdefault(int(dim), []).append((edge.src, coefficient))
            strides.setdefault(key, {})[int(dim)] = stride / abs(coefficient)
    found = {}
    for key, per_dim in dims.items():
        features = graph.nodes[key[0]].features
        count = range(int(features[2]))
        found[key] = Access(
            features[3], tuple(tuple(per_dim.get(d, ())) for d in count), tuple(strides[key].get(d, 0.0) for d in count)
        )
    return found
