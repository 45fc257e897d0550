"""What the latent model trains on: the trajectories of one task as arrays, with what was measured and observed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foretune.costmodel.latent.encoding import EncodedTask, Vocabulary
from foretune.costmodel.latent.store_features import pool_stores
from foretune.costmodel.latent.trace_encoder import ScheduleTraces, TraceEncoder
from foretune.costmodel.metrics import tie_of
from foretune.record import Status, Trajectory


@dataclass(frozen=True)
class LabelledTask:
    """All trajectories of one task; N trajectories.

    Attributes:
        encoded: program and steps.
        relative: [N] log of (best time / time), at most 0; NaN where there is no time.
        legal: [N] float32, 1 where the program could be built and run.
        final: [N, F] float32 pooled static features of the final programs; F is 0 where the data has none.
        observed: [N] whether `final` is known.
        tie: differences of `relative` below it are noise; 0 where nothing tells.
    """

    encoded: EncodedTask
    relative: np.ndarray
    legal: np.ndarray
    final: np.ndarray
    observed: np.ndarray
    tie: float = 0.0

    @property
    def num_timed(self) -> int:
        """Trajectories with a run time."""
        return int(np.isfinite(self.relative).sum())

    def drawn(self, limit: int, rng: np.random.Generator) -> LabelledTask:
        """The task with at most `limit` trajectories, drawn at random; labels stay relative to the best of all."""
        count = len(self.relative)
        if count <= limit:
            return self
        kept = np.sort(rng.choice(count, limit, replace=False))
        starts = np.cumsum([0] + [len(rows) for rows in self.encoded.ids])
        inside = [kept[(kept >= a) & (kept < b)] - a for a, b in itertools.pairwise(starts)]
        ids = tuple(rows[i] for rows, i in zip(self.encoded.ids, inside))
        nests = tuple(nest[i] for nest, i in zip(self.encoded.nests, inside))
        return LabelledTask(
            replace(self.encoded, ids=ids, nests=nests),
            self.relative[kept],
            self.legal[kept],
            self.final[kept],
            self.observed[kept],
            self.tie,
        )


def group_by_task(trajectories: Iterable[Trajectory]) -> dict[tuple[str, str], list[Trajectory]]:
    """Trajectories by task key; default schedules (empty traces) are left out."""
    groups: dict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if len(trajectory.record.trace):
            groups[trajectory.record.candidate.task.key].append(trajectory)
    return dict(groups)


def label_task(
    trajectories: Sequence[Trajectory],
    vocabulary: Vocabulary,
    final_width: int = 0,
    encoder: TraceEncoder = ScheduleTraces(),
) -> LabelledTask:
    """Encodes the trajectories of one task.

    Args:
        trajectories: of one task; they come out in the encoder's order.
        vocabulary: of the model.
        final_width: F, or 0 to leave static features out.
        encoder: of the domain.
    """
    encoded, order = encoder.encode(
        trajectories[0].record.candidate.task, [t.record.trace for t in trajectories], vocabulary
    )
    ordered = [trajectories[i] for i in order]
    records = [t.record for t in ordered]
    secs = np.array([r.best_secs if r.status is Status.OK else np.nan for r in records])
    relative = np.log(np.nanmin(secs) / secs) if np.isfinite(secs).any() else secs
    legal = np.array([r.status in (Status.OK, Status.WRONG_OUTPUT) for r in records], np.float32)
    final = np.zeros((len(ordered), final_width), np.float32)
    observed = np.array([bool(final_width and t.final) and pooled_width(t) == final_width for t in ordered])
    if observed.any():
        final[observed] = pool_stores([np.array(t.final, np.float32) for t, known in zip(ordered, observed) if known])
    return LabelledTask(encoded, relative, legal, final, observed, tie_of(r.run_secs for r in records))


def pooled_width(trajectory: Trajectory) -> int:
    """Width of the pooled static features of a trajectory's final program; 0 if it has none."""
    return 4 * len(trajectory.final[0]) + 1 if trajectory.final else 0
