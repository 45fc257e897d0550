"""TaskScheduler: which task of a model to measure next, so that the budget goes where the model's latency says it pays.

A task's gain is its weight times the seconds that its next batch is expected to save: what the cost model promises for
that batch, mixed with what the last batches brought. The mixture is that of Ansor's task scheduler, whose own guess of
the future stands in where no cost model promises anything.

Source: Zheng et al., Ansor: Generating High-Performance Tensor Programs for Deep Learning, OSDI 2020, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from foretune.errors import OptionError

_HYSTERESIS = 1.5  # times are taken again when a task is closed


@dataclass(frozen=True)
class SchedulerConfig:
    """How to spend a budget of measurements.

    Attributes:
        batch_size: most measurements of a task at a time.
        total: measurements of all tasks together, those made before included; None if somebody else counts them.
        min_trials: what each task gets, whatever it promises, and before any gets more.
        max_trials: most measurements of one task; None for no limit.
        momentum: share of the observed improvement in the expected gain; the cost model's promise is the rest.
        window: batches that the observed improvement is a mean over.
        min_gain: share of the model's latency; a task that is expected to gain less, batch after batch, is left.
        patience: such batches in a row.
        sure_after: trials of a task before which it is not left; a model that has seen little is sure too soon.
    """

    batch_size: int = 16
    total: int | None = None
    min_trials: int = 16
    max_trials: int | None = None
    momentum: float = 0.5
    window: int = 3
    min_gain: float = 0.003
    patience: int = 2
    sure_after: int = 32

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.window < 1 or self.patience < 1 or self.min_trials < 0:
            raise OptionError(
                f"`batch_size`, `window` and `patience` must be positive and `min_trials` not negative, but got {self}"
            )
        if not 0 <= self.momentum <= 1 or self.min_gain < 0:
            raise OptionError(
                f"`0 <= momentum <= 1` and `min_gain >= 0` must hold, but got {self.momentum} and {self.min_gain}"
            )


@dataclass
class _TaskProgress:
    weight: float
    num_trials: int = 0
    best_log_secs: list[float] = field(default_factory=list)  # after each batch; infinite as long as none worked
    gain: float | None = None  # log seconds that the next batch is expected to save; None: to be asked for
    num_small: int = 0  # batches in a row after which little was expected
    settled: bool = False
    closed: bool = False
    unspent: float = 0.0  # of its share of the budget, when its schedules ran out

    @property
    def best_secs(self) -> float:
        return math.exp(self.best_log_secs[-1]) if self.best_log_secs else math.inf


class TaskScheduler:
    """Picks tasks, batch by batch.

    Args:
        weights: how often one run of the model runs each task.
        promise: what the cost model expects of a task's next batch: the mean decrease of the logarithm of its best
            time; None where it cannot tell. Asked once after each batch, and only if the answer matters.
        config: limits.
    """

    def __init__(
        self,
        weights: Sequence[float],
        promise: Callable[[int], float | None],
        config: SchedulerConfig = SchedulerConfig(),
    ) -> None:
        self._tasks = [_TaskProgress(weight) for weight in weights]
        self._promise, self._config = promise, config

    @property
    def num_left(self) -> float:
        """Measurements that may still be made, infinite without a limit; early stops make it less."""
        open_tasks = [task for task in self._tasks if not task.closed]
        owed = sum(max(0, self._config.min_trials - task.num_trials) for task in open_tasks)
        return min(sum(max(0.0, self._room(task)) for task in open_tasks), max(owed, self._budget_left))

    def observe(self, task: int, num_trials: int, best_secs: float, settled: bool = False) -> None:
        """Notes a batch.

        Args:
            task: that was measured.
            num_trials: measurements in the batch.
            best_secs: best time of the task so far; infinite if nothing worked.
            settled: an earlier run closed the task. If little is expected of it now, it stays so, and if much is, it
                goes on.
        """
        progress = self._tasks[task]
        progress.num_trials += num_trials
        progress.best_log_secs.append(math.log(best_secs))
        progress.gain, progress.settled = None, settled

    @property
    def closed(self) -> frozenset[int]:
        """Tasks that have nothing left, or of which nothing more is expected."""
        return frozenset(i for i, task in enumerate(self._tasks) if task.closed)

    def close(self, task: int) -> None:
        """Notes that nothing is left to be measured of a task; what is left of its share of the budget is not spent on
        others.
        """
        progress = self._tasks[task]
        progress.closed = True
        if self._config.total is not None:
            progress.unspent = max(0.0, self._config.total / len(self._tasks) - progress.num_trials)

    def next(self) -> tuple[int, int] | None:
        """The next task and how many measurements to make of it; None when the budget is spent or no task is worth
        more.
        """
        starving = [
            i for i, task in enumerate(self._tasks) if not task.closed and task.num_trials < self._config.min_trials
        ]
        if starving:
            pick = min(starving, key=lambda i: self._tasks[i].num_trials)
            return pick, int(min(self._config.batch_size, self._config.min_trials - self._tasks[pick].num_trials))
        left = self._budget_left
        open_tasks = [i for i, task in enumerate(self._tasks) if not task.closed and self._room(task) > 0]
        if left <= 0 or not open_tasks:
            return None
        gains = {i: self._gain_secs(i) for i in open_tasks}
        worth = {i: gain for i, gain in gains.items() if not self._tasks[i].closed}
        if not worth:
            return None
        pick = max(worth, key=lambda i: worth[i])
        return pick, int(min(self._config.batch_size, left, self._room(self._tasks[pick])))

    @property
    def _budget_left(self) -> float:
        return (
            math.inf
            if self._config.total is None
            else self._config.total - sum(min(t.num_trials, self._limit) + t.unspent for t in self._tasks)
        )

    @property
    def _limit(self) -> float:
        return math.inf if self._config.max_trials is None else self._config.max_trials

    def _room(self, task: _TaskProgress) -> float:
        return self._limit - task.num_trials

    def _gain_secs(self, index: int) -> float:
        """Seconds that a run of the model is expected to save by the task's next batch; closes the task if that is too
        little.
        """
        task = self._tasks[index]
        fresh = task.gain is None
        gain = self._gain(index) if task.gain is None else task.gain
        task.gain = gain
        saved = task.weight * (1.0 - math.exp(-gain))
        latency = sum(t.weight * t.best_secs for t in self._tasks if math.isfinite(t.best_secs))
        if not math.isfinite(task.best_secs):  # nothing worked yet: as dear as all others together, for a while
            saved, small = saved * latency / max(task.weight, 1e-12), True
        else:
            saved *= task.best_secs
            small = saved < self._config.min_gain * latency * (_HYSTERESIS if task.settled else 1.0)
        if fresh:
            task.num_small = (
                task.num_small + 1 if small and (task.settled or task.num_trials >= self._config.sure_after) else 0
            )
            task.closed = task.num_small >= (1 if task.settled else self._config.patience)
        return saved

    def _gain(self, index: int) -> float:
        history = self._tasks[index].best_log_secs
        if not history or not math.isfinite(history[-1]):
            return 1.0
        batches = min(self._config.window, len(history) - 1)
        before = history[-1 - batches]
        observed = (before - history[-1]) / batches if batches and math.isfinite(before) else 0.0
        promised = self._promise(index)
        if promised is None:  # Ansor's guess
            promised = math.log1p(1.0 / len(history))
        return self._config.momentum * observed + (1.0 - self._config.momentum) * promised
