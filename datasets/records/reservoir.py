"""Reservoir: a sample of a stream in bounded memory, exact as long as the stream fits."""

from __future__ import annotations

import numpy as np


class Reservoir:
    """Keeps all rows up to a capacity, and from there on an even random sample of them (Vitter's algorithm R).

    Args:
        capacity: rows kept at most.
        width: numbers in a row.
        seed: of the sampling.
    """

    def __init__(self, capacity: int, width: int = 1, seed: int = 0) -> None:
        self._capacity = capacity
        self._rows = np.empty((0, width))
        self._num_seen = 0
        self._rng = np.random.default_rng(seed)

    def add(self, rows: np.ndarray) -> None:
        """Offers rows, [N, width] or [N] for width 1."""
        rows = rows.reshape(-1, self._rows.shape[1])
        free = self._capacity - len(self._rows)
        if free > 0:
            self._rows = np.concatenate([self._rows, rows[:free]])
        self._num_seen += min(max(free, 0), len(rows))
        rest = rows[max(free, 0) :]
        if len(rest):
            places = (self._rng.random(len(rest)) * (self._num_seen + 1 + np.arange(len(rest)))).astype(np.int64)
            kept = places < self._capacity
            self._rows[places[kept]] = rest[kept]  # of rows that draw the same place, the last one stays, as one by one
            self._num_seen += len(rest)

    @property
    def rows(self) -> np.ndarray:
        """The rows kept, [M, width]."""
        return self._rows

    def quantile(self, q: float, column: int = 0) -> float | None:
        """A quantile of one column; None if nothing was seen."""
        return float(np.quantile(self._rows[:, column], q)) if len(self._rows) else None
