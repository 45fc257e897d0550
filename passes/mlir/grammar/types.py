"""Types of MLIR's bindings, asked without surprises: `hasattr(type, "shape")` raises on unranked ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mlir import ir

MLIRError: type[Exception] = cast("Any", ir).MLIRError
"""What a module that MLIR refuses raises; the bindings' type stubs leave it out."""

_RANKED = (ir.RankedTensorType, ir.MemRefType, ir.VectorType)
_MEMORY = (ir.RankedTensorType, ir.MemRefType, ir.UnrankedTensorType, ir.UnrankedMemRefType)


def functions_of(module: ir.Module) -> list[Any]:
    """The functions of a module, as `func.FuncOp`."""
    return [op for op in module.body.operations if op.operation.name == "func.func"]


def walk(module: ir.Module, look: Callable[[Any], ir.WalkResult]) -> None:
    """Shows all operations of a module, inner ones first."""
    cast("Any", module.operation).walk(look)


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
