"""Sums over a program's statements that say what counts of its machine code do not: the C library's work, and how far
accesses reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foretune.costmodel.mlir.encoding import EncodedProgram

_SUMMED = (
    "n.libm",
    "n.fdiv",
    "n.sqrt",
    "n.idiv",
    "n.fma",
    "n.load",
    "n.store",
    "load.far",
    "store.far",
    "load.unknown",
    "store.unknown",
    "load.near",
    "n.call",
    "n.alloc",
    "n.copy",
    "operations",
)
_LARGEST = ("log_footprint", "log_largest", "log_runs", "depth")
STRUCTURE_FEATURES = (*(f"sum.{name}" for name in _SUMMED), *(f"max.{name}" for name in _LARGEST), "sum.footprint")


def structure_features(program: EncodedProgram, names: Sequence[str]) -> np.ndarray:
    """What a program's statements amount to; [len(STRUCTURE_FEATURES)] float32, logarithms to base 2 of 1 + x for sums.

    Args:
        program: its statements.
        names: of the statements' features.
    """
    column = {name: i for i, name in enumerate(names)}
    rows = program.statements.astype(np.float64)  # [S, F]
    runs = np.exp2(rows[:, column["log_runs"]])
    sums = [float((rows[:, column[name]] * runs).sum()) for name in _SUMMED]
    footprint = float(np.exp2(rows[:, column["log_footprint"]]).sum())
    return np.array(
        [
            *np.log2(1 + np.maximum(sums, 0)),
            *(float(rows[:, column[name]].max()) for name in _LARGEST),
            np.log2(1 + footprint),
        ],
        np.float32,
    )
