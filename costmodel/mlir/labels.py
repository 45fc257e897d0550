"""Labels on the scale that models are fitted on: logarithms of costs, shares as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from foretune.costmodel.mlir.network import LABELS

_SHARES = ("vector_share", "dynamic_vector_share")
_AT_LEAST = {
    "spills": 1.0,
    "reloads": 1.0,
    "memory_operands": 1.0,
    "bytes_read": 8.0,
    "bytes_written": 8.0,
    "gpr_registers": 1.0,
    "vector_registers": 1.0,
}
"""Added before the logarithm, where zero is common."""


def to_scale(labels: Mapping[str, float]) -> np.ndarray:
    """[A + Q] float64; NaN where a label is missing."""
    row = np.full(len(LABELS), np.nan)
    for i, name in enumerate(LABELS):
        value = labels.get(name)
        if value is not None and np.isfinite(value):
            row[i] = value if name in _SHARES else np.log(max(value + _AT_LEAST.get(name, 0.0), 1e-12))
    return row


def from_scale(row: np.ndarray) -> dict[str, float]:
    """The labels by name."""
    found = {}
    for i, name in enumerate(LABELS):
        found[name] = (
            float(np.clip(row[i], 0, 1))
            if name in _SHARES
            else max(0.0, float(np.exp(np.clip(row[i], -40, 60))) - _AT_LEAST.get(name, 0.0))
        )
    return found
