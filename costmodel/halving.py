"""Which group of design spaces to search next.

Spaces that schedule different rewrites of a program are told apart by measuring, since a ranking model compares the schedules of
one program with each other, and not those of two. It is successive halving with two rungs: each group gets a few measurements,
or fewer where it is far behind, and then all go to the best.

Source: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, 2016.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from foretune.record import MeasureRecord, Status
from foretune.space import DesignSpace
from foretune.task import Task

_TRIALS = 8  # of each group
_FEWEST_TRIALS, _FAR_BEHIND = 3, 1.25  # after so many a group that is so many times as slow as another gets no more


def groups_of(task: Task, spaces: Sequence[DesignSpace]) -> list[list[DesignSpace]]:
    """Design spaces by the rewrite that their traces begin with; the program as it is comes last."""
    found: dict[int, list[DesignSpace]] = {}
    for space in spaces:
        rewrite = task.workload.rewrite_of(space.template)
        place = task.workload.rewrites.index(rewrite) if rewrite is not None else len(task.workload.rewrites)
        found.setdefault(place, []).append(space)
    return [group for _, group in sorted(found.items())]


def in_turn(groups: Sequence[Sequence[DesignSpace]], records: Iterable[MeasureRecord]) -> list[Sequence[DesignSpace]]:
    """The groups in the order in which to search them for the next batch; a later one only where the earlier ones hold no more.

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
