"""The latent model at work in a search: it rolls schedules out from the program as it is, and reads the few best as
they really become.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.ranker import MlirRanker
from foretune.costmodel.mlir.target import known_target
from foretune.errors import ForetuneError
from foretune.passes.mlir.costs.predict import read_graph
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.measure import PreparedMlir
from foretune.passes.mlir.tuning.search import MlirRanked
from foretune.task import Candidate

_READ_SHARE = 0.5  # of the pool, the best by rollout, whose real graphs are read
_REFUSED = -1e9


class MlirLatentSearch(MlirRanked):
    """The genetic search with the latent model's ranking.

    Args:
        model: trained on other programs.
        session: whose workers apply schedules, to read the graphs of the most promising ones.
        prepared: the program.
        template, seed: as in `MlirSearch`.

    Raises:
        UnsupportedError: the program has operations that the model does not know.
    """

    name = "latent"

    def __init__(
        self, model: MlirCostModel, session: MlirSession, prepared: PreparedMlir, template: Template, seed: int = 0
    ) -> None:
        super().__init__(template, self._scores, seed)
        self._model, self._session, self._task = model, session, prepared.task
        if not self._task.workload.graph.nodes:
            read_graph(session, self._task.workload.program)  # says why there is none
        self._target = known_target()
        self._ranker = MlirRanker(model, self._target)
        self._ranker.predict(self._task, ())  # a program that it does not know is refused here, not in the search
        self._known: dict[Schedule, float] = {}

    def _scores(self, schedules: Many[Schedule]) -> np.ndarray:
        """Minus the logarithm of the predicted seconds; those that the rollout leaves out come after all others."""
        rolled = self._ranker.predict(self._task, [Candidate(self._task, s.trace()) for s in schedules])
        scores = np.full(len(schedules), _REFUSED) + rolled
        for i in np.argsort(-rolled, kind="stable")[: max(1, round(_READ_SHARE * len(schedules)))]:
            scores[i] = self._read(schedules[i])
        return scores

    def _read(self, schedule: Schedule) -> float:
        if schedule not in self._known:
            try:
                graph = read_graph(self._session, self._task.workload.program, schedule)[0]
                self._known[schedule] = -float(
                    np.log(max(self._model.predict([encode(graph)], self._target)[0].costs["secs"], 1e-12))
                )
            except ForetuneError:  # it cannot be applied, or read: the measurement would say why
                self._known[schedule] = _REFUSED
        return self._known[schedule]
