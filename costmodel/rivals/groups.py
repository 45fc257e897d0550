"""What rivals train on: the measured candidates of one task, with their labels.

The label is throughput relative to the fastest schedule measured on the task, in (0, 1]; a candidate
that failed has no time and gets 0, the lowest relevance (as in Ansor and MetaSchedule, whose cost of
a failure is 1e10). Models that regress on the logarithm of throughput leave failures out instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.base import Featurizer
from foretune.costmodel.latent.labels import group_by_task
from foretune.costmodel.metrics import pairwise_accuracy, top_k_score
from foretune.errors import DataError, ModelError
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.task import Candidate, Task

_NO_FEATURES = np.zeros((0, 0), np.float32)


@dataclass(frozen=True)
class Group:
    """The measured candidates of one task; N candidates.

    Attributes:
        task: the task.
        candidates: what was measured.
        finals: for each candidate, [S, F] float32 features of its final program; no rows where there are none.
        throughput: [N] best time / time; 0 where there is no time.
    """

    task: Task
    candidates: tuple[Candidate, ...]
    finals: tuple[np.ndarray, ...]
    throughput: np.ndarray

    def select(self, rows: np.ndarray) -> Group:
        """Some candidates of the group; labels stay relative to the best of all."""
        return Group(
            self.task,
            tuple(self.candidates[i] for i in rows),
            tuple(self.finals[i] for i in rows),
            self.throughput[rows],
        )


def labelled_groups(trajectories: Sequence[Trajectory], min_timed: int = 2) -> list[Group]:
    """Groups of the tasks that have enough timed schedules.

    Args:
        trajectories: of any tasks; default schedules are left out.
        min_timed: a task with fewer timed schedules is left out.
    """
    groups = []
    for members in group_by_task(trajectories).values():
        throughput = relative_throughput([t.record for t in members])
        if np.count_nonzero(throughput) >= min_timed:
            finals = tuple(np.array(t.final, np.float32) if t.final else _NO_FEATURES for t in members)
            candidates = tuple(t.record.candidate for t in members)
            groups.append(Group(candidates[0].task, candidates, finals, throughput))
    return groups


def training_groups(trajectories: Sequence[Trajectory]) -> list[Group]:
    """As `labelled_groups`, for fitting.

    Raises:
        DataError: there is nothing to rank.
    """
    groups = labelled_groups(trajectories)
    if not groups:
        raise DataError("training needs at least one task with two measured schedules")
    return groups


def relative_throughput(records: Sequence[MeasureRecord]) -> np.ndarray:
    """Best time over time of records of one task; 0 where there is no time.

    Returns:
        [N] float64 in [0, 1].
    """
    secs = np.array([r.best_secs if r.status is Status.OK else np.inf for r in records])
    best = secs.min(initial=np.inf)
    return best / secs if np.isfinite(best) else np.zeros(len(secs))


def graded_relevance(throughput: np.ndarray) -> np.ndarray:
    """Relevance for rankers, on a logarithmic scale: 1 for the fastest, 0 at a 64th of its throughput and for failures.

    Chosen over throughput itself because it ranks validation tasks better.

    Returns:
        [N] float32 in [0, 1].
    """
    return np.clip(1 + np.log2(np.maximum(throughput, 1e-9)) / 6, 0, 1).astype(np.float32)


def recorded_features(trajectories: Sequence[Trajectory]) -> Featurizer:
    """A featurizer that looks features up in trajectories; an unknown candidate is an error, not an unbuildable one."""
    known = {t.record.candidate.key: t.final for t in trajectories}

    def look_up(task: Task, candidates: Sequence[Candidate]) -> list[np.ndarray]:
        try:
            rows = [known[c.key] for c in candidates]
        except KeyError as error:
            raise ModelError(f"no recorded final-program features of candidate {error.args[0]}") from None
        return [np.array(final, np.float32) if final else _NO_FEATURES for final in rows]

    return look_up


def selection_score(predict: Callable[[Group], np.ndarray], groups: Sequence[Group]) -> float:
    """How well groups are ranked: mean of top-1 score, top-5 score and pairwise accuracy; higher is better.

    Every rival that stops early or chooses between variants does so by this figure on the validation tasks.
    """
    figures = []
    for group in groups:
        timed = np.flatnonzero(group.throughput)
        scores, secs = predict(group)[timed], 1.0 / group.throughput[timed]
        figures.append(
            (top_k_score(scores, secs, 1) + top_k_score(scores, secs, 5) + pairwise_accuracy(scores, secs)) / 3
        )
    return float(np.nanmean(figures)) if figures else 0.0
