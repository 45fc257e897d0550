"""What each rung of the ladder did, in every domain: rank by the model, compile and look, measure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RUNGS = ("rank", "look", "measure")
"""Their names, the cheapest first."""

_TOLD = {"rank": "ranked", "look": "compiled", "measure": "measured"}


@dataclass(frozen=True)
class Rung:
    """One rung.

    Attributes:
        num: candidates that it saw.
        secs: that the run spent on it; looks at one task while another is ranked are not counted twice.
    """

    num: int = 0
    secs: float = 0.0


@dataclass
class RungClock:
    """Seconds of each rung, by name, and candidates that were counted as they came."""

    secs: dict[str, float] = field(default_factory=dict)
    nums: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def spending(self, rung: str, num: int = 0) -> Iterator[None]:
        """Counts what happens within the context, and so many candidates."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.secs[rung] = self.secs.get(rung, 0.0) + time.perf_counter() - start
            self.nums[rung] = self.nums.get(rung, 0) + num

    def rung(self, name: str, num: int | None = None) -> Rung:
        """A rung that saw so many candidates; those that were counted, where nothing is said."""
        return Rung(self.nums.get(name, 0) if num is None else num, self.secs.get(name, 0.0))


def told(rungs: Mapping[str, Mapping[str, Any]]) -> str:
    """The rungs, as JSON data, in a line for people."""
    shown = [f"{_TOLD[name]} {rungs[name]['num']:,} in {rungs[name]['secs']:.1f} s" for name in RUNGS if name in rungs]
    return ", ".join(shown)
