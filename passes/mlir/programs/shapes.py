"""Draws of extents and element types whose product of work stays within bounds."""

from __future__ import annotations

import math

import numpy as np

_COMMON = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_ODD = (
    3,
    5,
    6,
    7,
    9,
    10,
    14,
    15,
    17,
    20,
    25,
    28,
    30,
    31,
    33,
    36,
    40,
    49,
    50,
    56,
    63,
    65,
    72,
    80,
    100,
    112,
    120,
    127,
    130,
    144,
    160,
    200,
    224,
)
_LONG = (300, 384, 500, 512, 640, 768, 1000, 1024, 1536, 2048, 3000, 4096, 8192, 10000, 16384, 32768)
_ELEMENTS = ("f32", "f32", "f32", "f64", "f64", "i32", "i64")


class Draw:
    """Random choices for one program.

    Args:
        rng: where they come from.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def element(self, floats: bool = False) -> str:
        """An element type."""
        return self.of(_ELEMENTS[:5] if floats else _ELEMENTS)

    def of(self, choices):
        """One of some choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        """True so often."""
        return bool(self.rng.random() < probability)

    def number(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def extent(self, low: int = 3, high: int = 256) -> int:
        """An extent in a range: a common one mostly."""
        kind = self.rng.random()
        pool = _COMMON if kind < 0.65 else _ODD
        fitting = [n for n in (*pool, *_LONG) if low <= n <= high] or [low]
        return self.of(fitting)

    def extents(
        self, count: int, max_work: float = 1.5e6, min_work: float = 3000.0, low: int = 3, high: int = 512
    ) -> list[int]:
        """Extents whose product is at most `max_work`, with its logarithm spread evenly."""
        work = math.exp(self.rng.uniform(math.log(min_work), math.log(max_work)))
        for _ in range(200):
            sizes = [self.extent(low, high) for _ in range(count)]
            if work / 3 <= math.prod(sizes) <= min(work * 1.5, max_work):
                return sizes
        size = max(low, min(high, int(work ** (1 / count))))
        return [size] * count
