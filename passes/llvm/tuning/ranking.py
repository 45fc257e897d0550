"""The latent model at work in a search: it ranks sequences before they are measured, and learns of each batch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many

import numpy as np

from foretune.costmodel.passes.model import PassCostModel
from foretune.costmodel.planning.acquisition import optimistic
from foretune.passes.llvm.actions import PassSequence
from foretune.passes.llvm.measure import PreparedProgram
from foretune.passes.llvm.tuning.moves import BASE
from foretune.passes.llvm.tuning.screening import Screen
from foretune.passes.llvm.tuning.search import RankedSearch
from foretune.record import MeasureRecord, Status
from foretune.task import Candidate

_OPTIMISM = 0.5  # standard deviations


class LatentSearch(RankedSearch):
    """The genetic search with the latent model's ranking.

    Args:
        model: trained on other programs; it is adapted to this one.
        prepared: the program.
        seed, polly, screen, experimental: as in `SearchStrategy`.
    """

    name = "latent"

    def __init__(
        self,
        model: PassCostModel,
        prepared: PreparedProgram,
        seed: int = 0,
        polly: bool = True,
        screen: Screen | None = None,
        experimental: bool = False,
    ) -> None:
        super().__init__(self._scores, seed, polly, screen=screen, experimental=experimental)
        self._model, self._task = model, prepared.task
        self._model.update([MeasureRecord(self._candidate(BASE), Status.OK, (1.0,))])

    def observe(self, costs: Iterable[tuple[PassSequence, float]]) -> None:
        """Learns costs, and adapts the model to them."""
        costs = list(costs)
        fresh = [(sequence, cost) for sequence, cost in costs if sequence not in self.costs and np.isfinite(cost)]
        super().observe(costs)
        # times relative to -O3's are what costs are; the adaptation looks at ratios alone
        self._model.update([MeasureRecord(self._candidate(sequence), Status.OK, (cost,)) for sequence, cost in fresh])

    def _scores(self, sequences: Many[PassSequence]) -> np.ndarray:
        score, spread = self._model.predict_with_spread(
            self._task, [self._candidate(sequence) for sequence in sequences]
        )
        return optimistic(score, spread, _OPTIMISM)

    def _candidate(self, sequence: PassSequence) -> Candidate:
        return Candidate(self._task, sequence.trace())
