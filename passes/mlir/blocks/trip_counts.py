"""How often the loops of optimised LLVM IR go round, as LLVM's scalar evolution says it.

It writes, for the loop that a block heads, how often its back edge is taken: a constant, or a recurrence of a loop
around it, such as `{0,+,1}<nuw><%outer>` of a triangular nest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FUNCTION = re.compile(r"^Determining loop execution counts for: @(.+)$")
_LOOP = re.compile(
    r'^Loop %("[^"]+"|[^:\s]+): (?:backedge-taken count is (.+)|.*Unpredictable backedge-taken count.*)$'
)
_CONSTANT = re.compile(r"(?:i\d+ )?(-?\d+)")
_RECURRENCE = re.compile(r"\{(.+),\+,(-?\d+)\}(?:<[a-z]+>)*<%([^<>]+)>")


@dataclass(frozen=True)
class TripCount:
    """How often a loop's back edge is taken each time that it is entered.

    Attributes:
        constant: in the first iteration of the loops around it; None where nothing tells.
        steps: (header of a loop around it, what each of its iterations adds).
        varies: whether it depends on a loop around it, as far as it can be told.
    """

    constant: int | None = None
    steps: tuple[tuple[str, int], ...] = ()
    varies: bool = False

    def average(self, trips: Mapping[str, float]) -> float | None:
        """Iterations each time that the loop is entered, on average.

        Args:
            trips: iterations of the loops around it, by header; a loop that is missing makes the answer None.
        """
        if self.constant is None:
            return None
        total = float(self.constant)
        for header, step in self.steps:
            if header not in trips:
                return None
            total += step * (trips[header] - 1) / 2
        return total + 1 if total >= 0 else None


def read_trip_counts(said: str) -> dict[str, dict[str, TripCount]]:
    """Function -> header -> count, from what the pass `print<scalar-evolution>` wrote."""
    found: dict[str, dict[str, TripCount]] = {}
    loops: dict[str, TripCount] = {}
    for line in said.splitlines():
        if match := _FUNCTION.match(line):
            loops = found.setdefault(match[1].strip('"'), {})
        elif match := _LOOP.match(line):
            loops.setdefault(match[1].strip('"'), _read(match[2] or ""))
    return found


def _read(text: str) -> TripCount:
    steps: list[tuple[str, int]] = []
    rest = text
    while match := _RECURRENCE.fullmatch(rest):
        steps.append((match[3].strip('"'), int(match[2])))
        rest = match[1]
    if constant := _CONSTANT.fullmatch(rest):
        return TripCount(int(constant[1]), tuple(steps), bool(steps))
    return TripCount(varies="<%" in text)
