"""A language model's proposals between its answer and their measurement: ranked before anything is measured, the best
first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import numpy as np

Item = TypeVar("Item")

_MOST_WAITING = 64
_MOST_TOLD = 200
_PICKED_SHARE = 4  # of so many suggestions one may be the best-ranked proposal, whatever the search has itself
_SURE_SHARE = 8  # of so many proposals the best one is measured, whatever the search has itself


@dataclass
class Told:
    """What is told of a proposal.

    Attributes:
        rank, among: its predicted place among so many that waited with it, 1 is best; None if it was never ranked.
        gain: 0 if it failed, None if it was not measured.
        known_code: whether its machine code was measured before.
    """

    rank: int | None = None
    among: int = 0
    gain: float | None = None
    known_code: bool = False


class Proposals(Generic[Item]):
    """Proposals that wait.

    Attributes:
        waiting: that were not measured, the best first if they were ranked.
    """

    def __init__(self) -> None:
        self.waiting: list[Item] = []
        self._told: dict[Item, Told] = {}
        self._num_sure = 0

    @property
    def accepted(self) -> list[tuple[Item, Told]]:
        """All that were taken, in the order in which they came, with what is told of each."""
        return list(self._told.items())

    def add(self, items: Iterable[Item]) -> int:
        """Takes new ones; how many that were."""
        fresh = [item for item in dict.fromkeys(items) if item not in self._told]
        self._told |= {item: Told() for item in fresh}
        self.waiting = [*self.waiting, *fresh]
        return len(fresh)

    def answered(self) -> None:
        """Tells that an answer, or several to one question, is read whole: some of what waits now is sure to be
        measured.
        """
        self._num_sure = -(-len(self.waiting) // _SURE_SHARE)

    def rank(self, scores: Callable[[Many[Item]], np.ndarray]) -> None:
        """Puts those that wait in order.

        Args:
            scores: of items; higher is better.
        """
        if not self.waiting:
            return
        order = np.argsort(-np.asarray(scores(self.waiting)), kind="stable")
        self.waiting = [self.waiting[i] for i in order][:_MOST_WAITING]
        for place, item in enumerate(self.waiting, 1):
            self._told[item].rank, self._told[item].among = place, len(order)

    def pick(self, num: int, scores: Callable[[Many[Item]], np.ndarray] | None) -> list[Item]:
        """Those to be measured among so many suggestions: the best-ranked of the sure ones; half, where nothing ranks
        them.

        Args:
            num: suggestions.
            scores: of items, higher is better; None where nothing ranks.
        """
        if scores is None:
            return self.take((num + 1) // 2)
        self.rank(scores)
        return self.take_sure(max(1, num // _PICKED_SHARE))

    def take(self, num: int) -> list[Item]:
        """The first so many, which wait no longer."""
        taken, self.waiting = self.waiting[:num], self.waiting[num:]
        return taken

    def take_sure(self, num: int) -> list[Item]:
        """The best so many of those that are sure to be measured; the others must compete with the search's own
        candidates.
        """
        taken = self.take(min(num, self._num_sure))
        self._num_sure -= len(taken)
        return taken

    def drop(self, items: Iterable[Item]) -> None:
        """Lets some wait no longer: they are measured, or known."""
        gone = set(items)
        self.waiting = [item for item in self.waiting if item not in gone]

    def note(self, item: Item, cost: float, known_code: bool = False) -> None:
        """Notes what a measurement said, or an earlier one of the same machine code; `cost` is infinite if it
        failed.
        """
        if item in self._told:
            self._told[item].gain = 1 / cost if math.isfinite(cost) else 0.0
            self._told[item].known_code = known_code

    def to_json(self) -> list[dict[str, Any]]:
        """Each proposal with its predicted rank and, where it was measured, its gain; 0 if that failed. `known_code`:
        its machine code was measured before.
        """
        rows = [{"proposal": str(item), **asdict(told)} for item, told in self._told.items()]
        return rows[:_MOST_TOLD]
