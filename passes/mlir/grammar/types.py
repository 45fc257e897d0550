"""Types of MLIR's bindings, asked without surprises: `hasattr(type, "shape")` raises on unranked ones."""

from __future__ import annotations

from typing import Any

from mlir import ir

_RANKED = (ir.RankedTensorType, ir.MemRefType, ir.VectorType)
_MEMORY = (ir.RankedTensorType, ir.MemRefType, ir.UnrankedTensorType, ir.UnrankedMemRefType)


def shape_of(kind: Any) -> list[int] | None:
    """The extents of a tensor, memref or vector, negative where unknown; None of anything else, and where not even the
    rank is known.
    """
    return list(kind.shape) if isinstance(kind, _RANKED) else None


def is_memory(kind: Any) -> bool:
    """Whether a type is a tensor or a memref, of known rank or not."""
    return isinstance(kind, _MEMORY)


def identity_layout(memref: Any) -> Any:
    """The layout of a memref that lies row by row."""
    return ir.AffineMapAttr.get(ir.AffineMap.get_identity(memref.rank, memref.context))
