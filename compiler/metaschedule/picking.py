"""Picking schedules for tasks that are not measured: the model ranks, the machine code of the first few is looked at.

What was measured before is not looked at, so the same model picks the same. While one task is ranked those before it
are compiled; the heavy ones come first, because the time is limited.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from foretune.compiler.metaschedule.code_rung import CodeRung, Shortlist, work_of
from foretune.costmodel.planning.halving import propose_in_turn
from foretune.costmodel.planning.planner import Planner
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace
from foretune.tuning.rungs import RungClock

_LIGHT_SHARE = 0.03  # of a model's work, which its lightest tasks do together; they are not looked at


class Pickable(Protocol):
    """A task with its design spaces.

    Attributes:
        task: the task.
        groups: design spaces by the rewrite of the program that they schedule.
    """

    task: Task
    groups: cached_property[list[list[DesignSpace]]]

    def program_hash(self, trace: Trace) -> str | None:
        """Of the program that a trace gives; None if the trace is illegal."""
        ...


class Picker:
    """Picks a schedule for each of some tasks.

    Args:
        planner: ranks.
        rung: looks; None to go by the model alone.
        looks: schedules of a task that are looked at.
        look_secs: seconds that all looks together may take, counted from the first.
        clock: of the rungs.
    """

    def __init__(self, planner: Planner, rung: CodeRung | None, looks: int, look_secs: float, clock: RungClock) -> None:
        self._planner, self._rung, self._clock = planner, rung, clock
        self._looks, self._look_secs = looks, look_secs

    def pick(
        self, states: Sequence[Pickable], report: Callable[[int, Task], None] = lambda number, task: None
    ) -> dict[tuple[str, str], Trace]:
        """Task key -> trace; tasks for which nothing legal was found are left out.

        Args:
            states: the tasks.
            report: called with how many are ranked and the next one, before each.
        """
        picks: dict[tuple[str, str], Trace] = {}
        waiting: list[tuple[CodeRung, Shortlist]] = []
        heavy = heavy_tasks([state.task for state in states])
        if any(self._looks_at(state.task, heavy) for state in states) and self._rung is not None:
            self._rung.start()
        begin = time.monotonic()
        for number, state in enumerate(sorted(states, key=lambda s: -work_of(s.task))):
            report(number, state.task)
            rung = self._rung if self._looks_at(state.task, heavy) else None
            ranked = self.ranked_first(state, self._looks if rung is not None else 1)
            if ranked:
                picks[state.task.key] = ranked[0].trace
            if rung is not None and len(ranked) > 1:
                waiting.append((rung, rung.submit(ranked)))
        with self._clock.spending("look"):
            for rung, shortlist in waiting:
                picks[shortlist.task.key] = rung.choose(shortlist, begin + self._look_secs)[0].trace
        return picks

    def ranked_first(self, state: Pickable, num: int) -> list[Candidate]:
        """What the model ranks first: legal schedules of different programs."""
        programs: set[str] = set()

        def accept(trace: Trace) -> bool:
            found = state.program_hash(trace)
            if found is None or found in programs:
                return False
            programs.add(found)
            return True

        with self._clock.spending("rank"):
            return propose_in_turn(self._planner, state.task, state.groups, (), num, greedy=True, accept=accept)

    def _looks_at(self, task: Task, heavy: set[tuple[str, str]]) -> bool:
        return self._rung is not None and task.key in heavy and self._rung.serves(task)


def heavy_tasks(tasks: Sequence[Task]) -> set[tuple[str, str]]:
    """Keys of the tasks that do nearly all of a model's work."""
    ordered = sorted(tasks, key=work_of, reverse=True)
    if not ordered:
        return set()
    rest = np.cumsum([work_of(task) for task in reversed(ordered)])[::-1]  # of a task and all after it
    return {task.key for task, left in zip(ordered, rest) if left > _LIGHT_SHARE * rest[0]}
