"""LatentTaskScheduler: Foretune's task scheduler as MetaSchedule's, for `tune_tir`, `tune_relax` and `tune_tasks`.

With `LatentSearchStrategy` it knows what the model expects of each task's next batch; with any other strategy it goes
by what the last batches brought, as TVM's own gradient scheduler does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.compiler.metaschedule.search_strategy import find_search_strategy
from foretune.compiler.tir._tvm import derived_object, meta_schedule
from foretune.compiler.tir.workload import module_hash
from foretune.tuning.task_scheduler import SchedulerConfig, TaskScheduler


@derived_object
class LatentTaskScheduler(meta_schedule.task_scheduler.PyTaskScheduler):
    """Spends the trials where the model's latency says it pays: each task's first batch, then weight times expected
    gain.

    Hand it to `tune_relax(..., strategy=LatentSearchStrategy(), task_scheduler=LatentTaskScheduler())`. Identical tasks
    are tuned once, with their weights added up; a task of which no more is expected ends early. The limits of the
    tuning call hold.

    Args:
        config: how to choose; MetaSchedule counts the trials itself, so that `total` and `max_trials` do not matter,
            nor does the size of batches.
    """

    def __init__(self, config: SchedulerConfig = SchedulerConfig(min_trials=1)) -> None:
        super().__init__()
        self._config = replace(config, total=None, max_trials=None)
        self._scheduler: TaskScheduler | None = None
        self._first: meta_schedule.task_scheduler.task_scheduler.TaskRecord | None = None
        self._running: int | None = None
        self._best_secs: list[float] = []

    @one_torch_thread()
    def next_task_id(self) -> int:
        """The task to measure a batch of; -1 when none is worth more. The batch before is finished first."""
        outer = cast("Any", self)._outer()  # of the object that TVM makes around this one
        records = list(outer.tasks_)
        scheduler = self._scheduler
        if scheduler is None or self._first is None or not self._first.same_as(records[0]):  # another run began
            scheduler = self._start(outer, records)
        self._finish_batch(scheduler, outer, records)
        while (turn := scheduler.next()) is not None:
            if not records[turn[0]].is_terminated:
                self._running = turn[0]
                return turn[0]
            scheduler.close(turn[0])
        return -1

    def _start(self, outer: meta_schedule.task_scheduler.TaskScheduler, records: list) -> TaskScheduler:
        """Finds identical tasks: the first of them has the weight of all, and the others end at once."""
        first: dict[tuple[str, str], int] = {}
        weights = [float(record.task_weight) for record in records]
        for i, record in enumerate(records):
            known = first.setdefault((module_hash(record.ctx.mod), str(record.ctx.target)), i)
            if known != i:
                weights[known] += weights[i]
                outer.terminate_task(i)
        self._first, self._running, self._best_secs = records[0], None, [math.inf] * len(records)
        self._scheduler = TaskScheduler(weights, lambda i: self._promise(records[i]), self._config)
        for i in set(range(len(records))) - set(first.values()):
            self._scheduler.close(i)
        return self._scheduler

    def _finish_batch(
        self, scheduler: TaskScheduler, outer: meta_schedule.task_scheduler.TaskScheduler, records: list
    ) -> None:
        task, self._running = self._running, None
        if task is None or records[task].is_terminated:
            return
        results = outer.join_running_task(task)
        times = [sum(map(float, r.run_secs)) / len(r.run_secs) for r in results if r.error_msg is None and r.run_secs]
        self._best_secs[task] = min([self._best_secs[task], *times])
        scheduler.observe(task, len(results), self._best_secs[task])

    def _promise(self, record: meta_schedule.task_scheduler.task_scheduler.TaskRecord) -> float | None:
        strategy = find_search_strategy(record.ctx.search_strategy)
        return strategy.expected_improvement() if strategy is not None else None
