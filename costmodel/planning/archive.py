"""Archive: good traces of one task that differ in kind.

A grid of cells over what a schedule looks like, each with the fastest trace of its kind: MAP-Elites. A search that
starts from them keeps several ways to be fast in sight, where one that starts from the fastest few sees neighbours of
one.

Source: Mouret and Clune, Illuminating search spaces by mapping elites, 2015.

Dimension letters: N points, C columns of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from foretune.record import MeasureRecord, Status
from foretune.space import DesignSpace, Domain
from foretune.trace import Trace

_BITS_OF_TILE, _BITS_OF_GRAIN = (
    2.0,
    3.0,
)  # width of a cell: doublings of the inner tile, and of the number of outermost iterations


def cells(space: DesignSpace, points: np.ndarray) -> np.ndarray:
    """What kind of schedule each point of a space is.

    The innermost factor of the last tiled axis, which becomes the vector; the size of the innermost tile; the number of
    outermost iterations, which are shared out among threads. Axes are those that are tiled the deepest. A space that
    tiles none is one cell.

    Args:
        points: [N, number of domains] option indices.

    Returns:
        [N, C] int64.
    """
    depth = max((_depth(d) for d in space.domains), default=0)
    tiles = [(column, _bits(d)) for column, d in enumerate(space.domains) if depth and _depth(d) == depth]
    if not tiles:
        return np.zeros((len(points), 3), np.int64)
    inner = np.stack([bits[points[:, column], -1] for column, bits in tiles], 1)  # [N, axes]
    outer = sum(bits[points[:, column], 0] for column, bits in tiles)
    return np.stack([inner[:, -1], inner.sum(1) / _BITS_OF_TILE, outer / _BITS_OF_GRAIN], 1).astype(np.int64)


class Archive:
    """The fastest trace of each cell.

    Args:
        spaces: design spaces of the task; traces of others are left out.
    """

    def __init__(self, spaces: Sequence[DesignSpace]) -> None:
        self._spaces = {space.space_id: space for space in spaces}
        self._best: dict[tuple, tuple[float, Trace]] = {}

    @classmethod
    def of(cls, spaces: Sequence[DesignSpace], records: Iterable[MeasureRecord]) -> Archive:
        """An archive of measured records."""
        archive = cls(spaces)
        archive.add(records)
        return archive

    def add(self, records: Iterable[MeasureRecord]) -> None:
        """Keeps each record that is the fastest of its cell so far; failed ones are not."""
        for record in records:
            space = self._spaces.get(record.trace.space_id)
            if record.status is not Status.OK or space is None or (point := space.encode(record.trace)) is None:
                continue
            cell = (space.space_id, *cells(space, point[None])[0].tolist())
            if record.best_secs < self._best.get(cell, (math.inf,))[0]:
                self._best[cell] = (record.best_secs, record.trace)

    def elites(self, num: int | None = None) -> list[Trace]:
        """The traces of the `num` fastest cells, the fastest first; of all cells by default."""
        return [trace for _, trace in sorted(self._best.values(), key=lambda kept: kept[0])[:num]]

    def __len__(self) -> int:
        return len(self._best)


def _depth(domain: Domain) -> int:
    """Factors of a tiling decision; 0 for a decision of another kind."""
    first = domain.options[0]
    return (
        len(first)
        if isinstance(first, tuple) and len(first) > 1 and all(isinstance(x, int) and x > 0 for x in first)
        else 0
    )


def _bits(domain: Domain) -> np.ndarray:
    """Logarithms to base 2 of a domain's factors: [options, factors]."""
    return np.log2(np.array(domain.options, float))
