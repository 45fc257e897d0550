"""DesignSpace: a trace whose decisions are open, each with a finite table of options.

A point of the space is a row of option indices, so that a planner can sample, mutate and score
many thousands of points with array operations and turn only the chosen ones back into traces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np

from foretune.errors import IllegalActionError
from foretune.trace import Trace, Value

MAX_OPTIONS = 4096


@dataclass(frozen=True)
class Domain:
    """What one decision may be.

    Attributes:
        action: index of the deciding action in the trace.
        options: the possible decisions.
    """

    action: int
    options: tuple[Value, ...]

    @cached_property
    def index(self) -> dict[Value, int]:
        """Option -> its position."""
        return {option: i for i, option in enumerate(self.options)}


@dataclass(frozen=True)
class DesignSpace:
    """All traces that differ only in their decisions.

    Attributes:
        template: one point of the space.
        domains: one for each decision, in order.
    """

    template: Trace
    domains: tuple[Domain, ...]

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(len(d.options) for d in self.domains)

    @property
    def space_id(self) -> str:
        """Identity of the space, shared by all its traces."""
        return self.template.space_id

    def sample(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Uniform points.

        Returns:
            [num, number of domains] int64, option indices.
        """
        columns = [rng.integers(len(d.options), size=num) for d in self.domains]
        return np.stack(columns, 1) if columns else np.zeros((num, 0), np.int64)

    def mutate(self, rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
        """Points with one decision each drawn anew."""
        mutated = points.copy()
        if not self.domains:
            return mutated
        columns = rng.integers(len(self.domains), size=len(points))
        sizes = np.array([len(d.options) for d in self.domains])
        mutated[np.arange(len(points)), columns] = (rng.random(len(points)) * sizes[columns]).astype(np.int64)
        return mutated

    def decode(self, point: np.ndarray) -> Trace:
        """The trace of a point."""
        return self.template.with_decisions((d.action, d.options[int(i)]) for d, i in zip(self.domains, point))

    def encode(self, trace: Trace) -> np.ndarray | None:
        """The point of a trace, or None if a decision is outside the options.

        Raises:
            IllegalActionError: the trace belongs to another space.
        """
        if trace.space_id != self.space_id:
            raise IllegalActionError(f"the trace is of design space {trace.space_id}, not {self.space_id}")
        point = [d.index.get(trace.actions[d.action].decision) for d in self.domains]
        return None if None in point else np.array(point, np.int64)


@lru_cache(maxsize=4096)
def factorizations(extent: int, parts: int, max_innermost: int) -> tuple[tuple[int, ...], ...]:
    """All ways to write `extent` as an ordered product of `parts` factors, the last at most `max_innermost`.

    More than `MAX_OPTIONS` of them are thinned evenly.
    """
    divisors = _divisors(extent)

    @cache
    def split(rest: int, count: int) -> tuple[tuple[int, ...], ...]:
        if count == 1:
            return ((rest,),)
        return tuple((d, *tail) for d in divisors if rest % d == 0 for tail in split(rest // d, count - 1))

    found = [f for f in split(extent, parts) if f[-1] <= max_innermost]
    if len(found) > MAX_OPTIONS:
        found = [found[i] for i in np.linspace(0, len(found) - 1, MAX_OPTIONS).astype(int)]
    return tuple(found)


def _divisors(number: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})
