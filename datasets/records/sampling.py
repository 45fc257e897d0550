"""TaskSampler: which candidates of one task are worth collecting next.

A good training set needs all of them: uniform samples for breadth, mutations of the best measured for depth, and
what the model believes in now, which shows it where it is wrong.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from foretune.errors import IllegalActionError, UnsupportedError
from foretune.record import Status, Trajectory
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace

_KEPT_BEST = 8
_MAX_SAMPLING_SECS = 5.0


class Guide(Protocol):
    """What proposes promising traces to a collector."""

    def suggest(self, task: Task, spaces: Sequence[DesignSpace], seen: frozenset[str], num: int) -> Sequence[Trace]:
        """At most `num` traces whose keys are not in `seen`, the most promising first."""
        ...

    def observe(self, trajectories: Sequence[Trajectory]) -> None:
        """Learns from new measurements of one task."""
        ...


class TaskSampler:
    """Proposes candidates of one task, none of them twice.

    Args:
        task: what to sample from.
        design_spaces: makes the task's spaces when they are first needed.

    Attributes:
        seen: keys of all traces proposed or measured.
        num_in_flight: candidates proposed whose measurements are not back yet.
        exhausted: nothing more can be proposed.
    """

    def __init__(self, task: Task, design_spaces: Callable[[Task], Sequence[DesignSpace]]) -> None:
        self.task = task
        self.seen: set[str] = set()
        self.num_in_flight = 0
        self.exhausted = False
        self._stored: set[str] = set()
        self._design_spaces = design_spaces
        self._spaces: list[DesignSpace] | None = None
        self._best: list[tuple[float, str]] = []  # heap of (-seconds, trace as JSON text), the slowest first

    def propose(
        self, rng: np.random.Generator, num: int, mutated_share: float, guided_share: float, guide: Guide | None
    ) -> list[Candidate]:
        """New candidates; the default schedule is always the first of all. None means that the task is exhausted."""
        default = Trace(())
        chosen: dict[str, Trace] = {} if default.key in self.seen else {default.key: default}
        if guide is not None and self.spaces and (num_guided := min(round(guided_share * num), num - len(chosen))) > 0:
            for trace in guide.suggest(self.task, self.spaces, frozenset(self.seen), num_guided):
                if trace.key not in self.seen:
                    chosen[trace.key] = trace
        for trace in self._samples(
            rng, 20 * num, mutated_share / max(1.0 - guided_share, 1e-9) if guide is not None else mutated_share
        ):
            if len(chosen) >= num:
                break
            if trace.key not in self.seen:
                chosen[trace.key] = trace
        self.seen.update(chosen)
        self.num_in_flight += len(chosen)
        self.exhausted = not chosen
        return [Candidate(self.task, trace) for trace in chosen.values()]

    def observe(self, num_proposed: int, trajectories: Iterable[Trajectory]) -> list[Trajectory]:
        """Takes note of what was measured of a proposal.

        Returns:
            Those trajectories that were not measured before: two traces can turn out to be the same.
        """
        self.num_in_flight -= num_proposed
        fresh = {t.record.trace.key: t for t in trajectories if t.record.trace.key not in self._stored}
        for trajectory in fresh.values():
            record = trajectory.record
            if record.status is Status.OK:
                self._keep_best(record.best_secs, json.dumps(record.trace.to_json()))
        self._stored.update(fresh)
        self.seen.update(fresh)
        return list(fresh.values())

    def restore(self, trace_key: str, run_secs: Sequence[float], trace: str) -> None:
        """Takes note of a record of an earlier run; `trace` is its JSON text."""
        self._stored.add(trace_key)
        self.seen.add(trace_key)
        if run_secs:
            self._keep_best(min(run_secs), trace)

    @property
    def num_stored(self) -> int:
        """Records of the task in the store."""
        return len(self._stored)

    @property
    def spaces(self) -> list[DesignSpace]:
        """The task's design spaces; empty if it has none."""
        if self._spaces is None:
            try:
                self._spaces = list(self._design_spaces(self.task))
            except UnsupportedError:
                self._spaces = []
        return self._spaces

    def _keep_best(self, secs: float, trace: str) -> None:
        heapq.heappush(self._best, (-secs, trace))
        if len(self._best) > _KEPT_BEST:
            heapq.heappop(self._best)

    def _samples(self, rng: np.random.Generator, num: int, mutated_share: float) -> Iterable[Trace]:
        best = [found for _, text in self._best if (found := self._located(text)) is not None]
        deadline = time.monotonic() + _MAX_SAMPLING_SECS
        for _ in range(num if self.spaces else 0):
            if time.monotonic() > deadline:
                return
            if best and rng.random() < mutated_share:
                space, point = best[rng.integers(len(best))]
                yield space.decode(space.mutate(rng, point[None])[0])
            else:
                space = self.spaces[rng.integers(len(self.spaces))]
                yield space.decode(space.sample(rng, 1)[0])

    def _located(self, text: str) -> tuple[DesignSpace, np.ndarray] | None:
        """A trace as a point of one of the spaces, if it is one."""
        try:
            trace = Trace.from_json(json.loads(text))
        except IllegalActionError:
            return None
        for space in self.spaces:
            if space.space_id == trace.space_id and (point := space.encode(trace)) is not None:
                return space, point
        return None
