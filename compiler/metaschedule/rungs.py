"""What each rung of the ladder did: rank by the model, look at machine code, measure."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rung:
    """One rung.

    Attributes:
        num: schedules that it saw.
        secs: that the run spent on it; looks at one task while another is ranked are not counted twice.
    """

    num: int = 0
    secs: float = 0.0


@dataclass
class RungClock:
    """Seconds of each rung, by name: `rank`, `look`, `measure`."""

    secs: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def spending(self, rung: str) -> Iterator[None]:
        """Counts what happens within the context."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.secs[rung] = self.secs.get(rung, 0.0) + time.perf_counter() - start

    def rung(self, name: str, num: int) -> Rung:
        """A rung that saw so many schedules."""
        return Rung(num, self.secs.get(name, 0.0))
