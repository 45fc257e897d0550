"""LatentSearchStrategy: the latent planner as MetaSchedule's search strategy, for `tune_tir`, `tune_relax` and
`tune_tasks`.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.compiler.metaschedule.cost_model import find_cost_model
from foretune.compiler.metaschedule.online_model import OnlineModel
from foretune.compiler.metaschedule.task_search import SearchConfig, SearchReport, TaskSearch, TuningProgram
from foretune.compiler.tir._tvm import derived_object, meta_schedule, tvm
from foretune.costmodel.latent.model import LatentCostModel
from foretune.errors import OptionError

_log = logging.getLogger(__name__)
_live: weakref.WeakSet = weakref.WeakSet()


@derived_object
class LatentSearchStrategy(meta_schedule.search_strategy.PySearchStrategy):
    """Plans in latent space which candidates of a task to measure; the default schedule is in the first batch.

    Hand it to `tune_tir(..., cost_model=ForetuneCostModel(), strategy=LatentSearchStrategy())`. It plans with the model
    of the cost model that it is tuned with, if that is Foretune's.

    Args:
        config: how to search.
        model: what to plan with if the tuning has another cost model; the bundled weights by default.
    """

    def __init__(self, config: SearchConfig = SearchConfig(), model: LatentCostModel | None = None) -> None:
        super().__init__()
        self._config = config
        self._own = OnlineModel(model)
        self._program: TuningProgram | None = None
        self._search: TaskSearch | None = None
        self._address: int | None = None  # of TVM's handle of this strategy
        _live.add(self)

    @property
    def _started(self) -> TaskSearch:
        if self._search is None:
            raise OptionError("`pre_tuning` must come before candidates are asked for, but did not")
        return self._search

    @property
    def report(self) -> SearchReport:
        """Counts so far; of a strategy that was handed to `tune_tir`, its clones have them, and log them in the end."""
        return self._search.report if self._search is not None else SearchReport()

    def _initialize_with_tune_context(self, context: meta_schedule.TuneContext) -> None:
        """Notes the program; the context itself is not kept, because it owns this strategy."""
        if context.mod is None or context.target is None or context.space_generator is None:
            return
        postprocs = tuple(context.space_generator.postprocs or ())
        self._address = cast("Any", context.search_strategy).__chandle__()
        seed = int(context.rand_state) if self._config.seed is None else self._config.seed
        self._program = TuningProgram(
            context.mod, context.target, str(context.task_name), postprocs, seed & (2**31 - 1)
        )

    @one_torch_thread()
    def pre_tuning(
        self,
        max_trials: int,
        num_trials_per_iter: int,
        design_spaces: Sequence[tvm.s_tir.Schedule],
        database: meta_schedule.database.Database | None = None,
        cost_model: meta_schedule.cost_model.CostModel | None = None,
    ) -> None:
        """Starts the tuning of one task.

        Raises:
            OptionError: the tuning context has no program, target or space generator.
            ModelError: there is no model to plan with.
        """
        if self._program is None:
            raise OptionError(
                "a tuning context with `mod`, `target` and `space_generator` must be given, but one of them is missing"
            )
        found = find_cost_model(cost_model)
        config = replace(self._config, batch_size=min(int(num_trials_per_iter), self._config.batch_size))
        self._search = TaskSearch(
            self._program, design_spaces, found.online if found is not None else self._own, config, int(max_trials)
        )
        if database is not None:
            self._search.recall(database)

    def post_tuning(self) -> None:
        """Logs the counts."""
        report = self.report
        _log.info(
            "%s: %d candidates in %.2f s, illegal %d, duplicates %d",
            self._program.name if self._program is not None else "",
            report.num_trials,
            report.own_secs,
            report.num_illegal,
            report.num_duplicates,
        )

    @one_torch_thread()
    def expected_improvement(self) -> float | None:
        """How much the next batch is expected to decrease the logarithm of the best time; None where the model cannot
        tell.
        """
        return self._search.expected_improvement() if self._search is not None else None

    @one_torch_thread()
    def generate_measure_candidates(self) -> list[meta_schedule.MeasureCandidate] | None:
        """The next batch; None when the trials are spent, or the design spaces hold no more."""
        return self._started.next_batch() or None

    @one_torch_thread()
    def notify_runner_results(
        self,
        measure_candidates: Sequence[meta_schedule.MeasureCandidate],
        results: Sequence[meta_schedule.runner.RunnerResult],
    ) -> None:
        """Learns from the batch that was handed out last."""
        self._started.observe(results)

    def clone(self) -> LatentSearchStrategy:
        """A strategy for another task, with the same model."""
        clone = LatentSearchStrategy(self._config)
        clone._own = self._own
        return clone


def find_search_strategy(strategy: meta_schedule.search_strategy.SearchStrategy | None) -> Any:
    """The LatentSearchStrategy behind TVM's handle, when a tuning context has it; None if it is another strategy."""
    address = strategy.__chandle__() if strategy is not None else None
    return next((found for found in list(_live) if address is not None and found._address == address), None)
