"""The latent cost model of MLIR modules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretune.costmodel.mlir.model import MlirCostModel, MlirPrediction

__all__ = ["MlirCostModel", "MlirPrediction"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.model"), name)
