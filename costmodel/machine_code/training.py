"""What the ranker of machine code is trained on, and how its weight beside the latent model is chosen.

Dimension letters: N candidates, S symbolic state, C counters.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foretune.costmodel import metrics
from foretune.costmodel.latent.encoding import observed_space
from foretune.costmodel.latent.labels import group_by_task
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.datasets.records.code_table import CodeTable
from foretune.errors import DataError, IllegalActionError
from foretune.record import Status, Trajectory
from foretune.task import Candidate, Task

_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodeTask:
    """The timed candidates of one task whose machine code is known.

    Attributes:
        task: theirs.
        candidates: N of them.
        states: [N, S] float32.
        counters: [N, C] float32.
        secs: [N] float64.
    """

    task: Task
    candidates: tuple[Candidate, ...]
    states: np.ndarray
    counters: np.ndarray
    secs: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """[N] log of relative speed, at most 0."""
        return np.log(self.secs.min() / self.secs)

    @cached_property
    def latent(self) -> np.ndarray:
        """[N] scores of the bundled latent model, which has seen the task if it is a training task."""
        return LatentCostModel.bundled().predict(self.task, self.candidates)


def code_tasks(trajectories: Iterable[Trajectory], table: CodeTable, fewest: int = metrics.MIN_TIMED) -> list[CodeTask]:
    """The tasks of some trajectories that have enough timed candidates with known machine code."""
    found = []
    for members in group_by_task(trajectories).values():
        timed = [t.record for t in members if t.record.status is Status.OK]
        rows, counters = table.find_all([record.candidate for record in timed])
        if len(rows) < fewest:
            continue
        records = [timed[i] for i in rows]
        task = records[0].candidate.task
        try:
            states = _states(task, [record.candidate for record in records])
        except IllegalActionError as error:
            _log.warning("%s is left out: %s", task.workload.name, error)
            continue
        secs = np.array([record.best_secs for record in records])
        found.append(CodeTask(task, tuple(r.candidate for r in records), states, counters, secs))
    return found


def _states(task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for i, candidate in enumerate(candidates):
        rows_of[candidate.trace.space_id].append(i)
    parts: dict[int, np.ndarray] = {}
    for rows in rows_of.values():
        space, points = observed_space([candidates[i].trace for i in rows])
        parts.update(zip(rows, loop_nest(space, task.workload.graph).features(points)))
    return np.stack([parts[i] for i in range(len(candidates))])


def train_ranker(
    training: Sequence[CodeTask],
    validation: Sequence[CodeTask],
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> CodeRanker:
    """Grows the trees on the training tasks, and gives them the weight that ranks the validation tasks best.

    Raises:
        DataError: there is nothing to train on, or to choose the weight with.
    """
    if not training or not validation:
        raise DataError(
            f"training needs tasks with {metrics.MIN_TIMED} timed candidates of known machine code in both parts of the"
            f" split, but got {len(training)} and {len(validation)}; `foretune data code` makes it known"
        )
    ranker = CodeRanker.fit([t.counters for t in training], [t.relative for t in training], seed)
    code = [ranker.score_code(t.counters) for t in validation]
    quality = {w: _quality(validation, [t.latent + w * c for t, c in zip(validation, code)]) for w in _WEIGHTS}
    for weight, value in quality.items():
        report(f"weight {weight:g}: {value:.4f}")
    ranker.weight = max(quality, key=lambda w: quality[w])
    return ranker


def _quality(tasks: Sequence[CodeTask], scores: Sequence[np.ndarray]) -> float:
    """Mean of top-1 score, top-5 score and pairwise accuracy; higher is better."""
    parts = [
        (
            metrics.top_k_score(s, t.secs, 1),
            metrics.top_k_score(s, t.secs, 5),
            metrics.pairwise_accuracy(s, t.secs),
        )
        for t, s in zip(tasks, scores)
    ]
    return float(np.nanmean(np.array(parts)))
