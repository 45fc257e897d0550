"""How to tune; TVM is not imported for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foretune.errors import OptionError
from foretune.task import Task
from foretune.tuning.task_scheduler import SchedulerConfig

_SMALL_BATCH = 4


@dataclass(frozen=True)
class TunerConfig:
    """How to tune.

    Attributes:
        trials: measurements for each task on average, counting those already in the database. One task gets from a
            quarter of it to three times as many; less is spent where the model expects nothing more, or a task has
            fewer schedules.
        batch_size: most candidates measured between two adaptations.
        tolerance: largest error of a winner, relative to the largest magnitude of the reference output.
        seed: of the search.
        secs: no batch begins so long after the start; tasks that had none by then are left to the model.
        ops: words, such as `conv2d` or `matmul`; only tasks whose name or family has one of them are measured. All are,
            if there is none.
        looks: schedules of a task whose machine code is looked at before the model alone picks one, and so many more
            than its first batch has before that is measured; 0 to go by the model.
        look_secs: seconds that all tasks without measurements together wait for these looks, the heavy ones first.
    """

    trials: int = 64
    batch_size: int = 16
    tolerance: float = 1e-3
    seed: int = 0
    secs: float = math.inf
    ops: tuple[str, ...] = ()
    looks: int = 8
    look_secs: float = 4.0

    def __post_init__(self) -> None:
        if self.looks < 0 or not self.look_secs >= 0:
            raise OptionError(f"`looks >= 0` and `look_secs >= 0` must hold, but got {self.looks} and {self.look_secs}")
        if self.trials < 0 or self.batch_size < 1:
            raise OptionError(
                f"`trials >= 0` and `batch_size >= 1` must hold, but got {self.trials} and {self.batch_size}"
            )

    def measures(self, task: Task) -> bool:
        """Whether the budget is for this task."""
        return not self.ops or any(
            word in name for word in self.ops for name in (task.workload.name, task.workload.family)
        )

    def scheduler(self, num_tasks: int) -> SchedulerConfig:
        """How a scheduler spends the budget on some tasks: small budgets go in small batches, so that there is a
        choice.
        """
        batch_size = min(self.batch_size, self.trials, max(_SMALL_BATCH, self.trials // 4))
        return SchedulerConfig(batch_size, self.trials * num_tasks, max(batch_size, self.trials // 4), 3 * self.trials)
