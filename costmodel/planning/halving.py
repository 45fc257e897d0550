"""Which group of design spaces to search next.

Spaces that schedule different rewrites of a program are told apart by measuring, since a ranking model compares the
schedules of one program with each other, and not those of two. It is successive halving with two rungs: each group gets
a few measurements, or fewer where it is far behind, and then all go to the best.

Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from foretune.costmodel.planning.archive import Archive
from foretune.costmodel.planning.planner import Planner
from foretune.record import MeasureRecord, Status
from foretune.space import DesignSpace
from foretune.task import Candidate, Task

_TRIALS = 8  # of each group
_FEWEST_TRIALS, _FAR_BEHIND = 3, 1.25  # after so many a group that is so many times as slow as another gets no more


def groups_of(task: Task, spaces: Sequence[DesignSpace]) -> list[list[DesignSpace]]:
    """Design spaces by the rewrite that their traces begin with; the program as it is comes last."""
    rewrite_of = [task.workload.rewrite_of(space.template) for space in spaces]
    groups = (
        [space for space, own in zip(spaces, rewrite_of) if own is rewrite]
        for rewrite in (*task.workload.rewrites, None)
    )
    return [group for group in groups if group]


def in_turn(groups: Sequence[Sequence[DesignSpace]], records: Iterable[MeasureRecord]) -> list[Sequence[DesignSpace]]:
    """The groups in the order in which to search them for the next batch; a later one only where the earlier ones hold
    no more.

    Args:
        groups: of design spaces; of equal ones the first comes first.
        records: measurements of the task.
    """
    group_of = {space.space_id: i for i, group in enumerate(groups) for space in group}
    count, best = [0] * len(groups), [math.inf] * len(groups)
    for record in records:
        i = group_of.get(record.trace.space_id)
        if i is not None and record.status is not Status.ILLEGAL:
            count[i] += 1
            best[i] = min(best[i], record.best_secs if record.status is Status.OK else math.inf)
    bar = _FAR_BEHIND * min(best, default=math.inf)
    open_ = {i for i in range(len(groups)) if count[i] < (_TRIALS if best[i] <= bar else _FEWEST_TRIALS)}
    order = sorted(range(len(groups)), key=lambda i: (i not in open_, count[i] if i in open_ else best[i], i))
    return [groups[i] for i in order]


def propose_in_turn(
    planner: Planner, task: Task, groups: Sequence[Sequence[DesignSpace]], records: Sequence[MeasureRecord], num: int,
    exclude: frozenset[str] = frozenset(), num_elites: int | None = None, **options: Any,
) -> list[Candidate]:  # fmt: skip
    """What a planner proposes of the first group in turn that holds anything new, starting from what was measured of
    it.

    Args:
        planner, task, num, exclude, options: as of `Planner.propose`.
        groups: of design spaces.
        records: measurements of the task.
        num_elites: measured traces to start from; by default the fastest of each kind.
    """
    for spaces in in_turn(groups, records):
        if found := planner.propose(
            task, spaces, num, exclude, Archive.of(spaces, records).elites(num_elites), **options
        ):
            return found
    return []
