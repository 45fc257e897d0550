"""Structured operations of a module: their loops, extents and accesses."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

from mlir import ir
from mlir.dialects import linalg

from foretune.passes.mlir.grammar.actions import NOT_STRUCTURED
from foretune.passes.mlir.grammar.types import shape_of, walk


@dataclass(frozen=True)
class Structured:
    """One structured operation.

    Attributes:
        op: it, in the bindings.
        name: such as `linalg.matmul`.
        position: among those of its name, as the module is walked.
        extents: of its loops; -1 where unknown.
        reduced: loops that are reductions.
        maps: an affine map for each operand, from loops to positions; the outputs last.
        num_outputs: operands that are written.
    """

    op: Any
    name: str
    position: int
    extents: tuple[int, ...]
    reduced: frozenset[int]
    maps: tuple[Any, ...]
    num_outputs: int

    @property
    def target(self) -> str:
        """How actions refer to it."""
        return f"{self.name}:{self.position}"


def structured_ops(module: ir.Module) -> list[Structured]:
    """All structured operations, in the order of the walk."""
    found: list[Structured] = []
    counts: Counter[str] = Counter()

    def look(op: Any) -> ir.WalkResult:
        if op.name.startswith("linalg.") and op.name not in NOT_STRUCTURED:
            found.append(read_structured(op, counts[op.name]))
            counts[op.name] += 1
        return ir.WalkResult.ADVANCE

    walk(module, look)
    return found


def read_structured(op: Any, position: int = 0) -> Structured:
    """What a structured operation does."""
    maps = tuple(getattr(m, "value", m) for m in cast("Any", linalg).get_indexing_maps(op.opview) or ())
    operands = list(op.operands)
    num_outputs = list(op.attributes["operandSegmentSizes"])[-1] if "operandSegmentSizes" in op.attributes else 1
    rank = maps[0].n_dims if maps else 0
    extents = [-1] * rank
    for amap, operand in zip(maps, operands):
        shape = shape_of(operand.type) or []
        for expr, extent in zip(amap.results, shape):
            if isinstance(expr, ir.AffineDimExpr):
                extents[ir.AffineDimExpr(expr).position] = extent if extent >= 0 else -1
    kept = {
        ir.AffineDimExpr(e).position
        for m in maps[len(maps) - num_outputs :]
        for e in m.results
        if isinstance(e, ir.AffineDimExpr)
    }
    return Structured(op, op.name, position, tuple(extents), frozenset(range(rank)) - kept, maps, num_outputs)
