"""Static features of a program in words: what MetaSchedule's numbers say of each store.

The layout is that of TVM's `PerStoreFeature`: 57 columns of arithmetic and loop annotations, 5 buffers of 18, 10 of
arithmetic intensity, 4 of the allocation, 3 of the loop nest. Magnitudes x are kept as log2(1 + x).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_WIDTH = 164
_FLOAT_OPS, _INT_OPS = slice(0, 7), slice(7, 14)
_VECTORIZED, _UNROLLED, _PARALLEL = 17, 28, 39  # product of the extents of such loops
_BUFFERS, _BUFFER_WIDTH, _NUM_BUFFERS = 57, 18, 5
_BYTES, _UNIQUE_BYTES = 3, 4


@dataclass(frozen=True)
class StoreFigures:
    """What one store statement does in a whole run of the program.

    Attributes:
        float_ops, int_ops: arithmetic operations; a multiply-add is one.
        vectorized, unrolled, parallel: product of the extents of the loops around the store that are so annotated; 0 if
        none.
        bytes: read and written, counting each access.
        unique_bytes: of the memory touched.
    """

    float_ops: float
    int_ops: float
    vectorized: float
    unrolled: float
    parallel: float
    bytes: float
    unique_bytes: float

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON data."""
        return asdict(self)


def store_figures(rows: Sequence[Sequence[float]]) -> list[StoreFigures]:
    """Reads the static features of a program.

    Args:
        rows: a row of 164 numbers for each store.

    Returns:
        Figures of each store; empty if there are no rows or they have another layout.
    """
    if not rows or any(len(row) != _WIDTH for row in rows):
        return []
    magnitudes = np.exp2(np.asarray(rows, np.float64)) - 1  # [stores, F]
    buffers = magnitudes[:, _BUFFERS : _BUFFERS + _NUM_BUFFERS * _BUFFER_WIDTH].reshape(
        len(rows), _NUM_BUFFERS, _BUFFER_WIDTH
    )
    figures = np.stack(
        [
            magnitudes[:, _FLOAT_OPS].sum(1),
            magnitudes[:, _INT_OPS].sum(1),
            magnitudes[:, _VECTORIZED],
            magnitudes[:, _UNROLLED],
            magnitudes[:, _PARALLEL],
            buffers[..., _BYTES].sum(1),
            buffers[..., _UNIQUE_BYTES].sum(1),
        ],
        1,
    )
    return [StoreFigures(*map(float, np.rint(row))) for row in figures]
