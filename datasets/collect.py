"""Collection: measures sampled traces of many tasks into a store, and survives anything.

A round visits every task that still lacks records, with a few candidates each, so that whatever moment
the collector is stopped at, tasks are covered evenly. What is on disk decides where the next run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from foretune.datasets.store import RecordStore
from foretune.errors import OptionError, UnsupportedError
from foretune.record import Trajectory
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace


class Environment(Protocol):
    """What a domain offers a collector: design spaces, and measurements with static observations."""

    def design_spaces(self, task: Task) -> Sequence[DesignSpace]:
        """The spaces to sample from; empty if the program has none."""
        ...

    def measure(self, candidates: Sequence[Candidate]) -> Sequence[Trajectory]:
        """One trajectory for each candidate, in order."""
        ...


@dataclass(frozen=True)
class CollectConfig:
    """How much to collect.

    Attributes:
        num_records: records the store shall hold in the end.
        batch_size: candidates of one task measured together, and written together.
        seed: of the sampling.
        guided_share: share of candidates that are mutations of the best measured so far.
    """

    num_records: int
    batch_size: int = 16
    seed: int = 0
    guided_share: float = 0.3

    def __post_init__(self) -> None:
        if self.num_records < 1 or self.batch_size < 1:
            raise OptionError(f"`num_records >= 1` and `batch_size >= 1` must hold, but got {self.num_records} and {self.batch_size}")
        if not 0 <= self.guided_share <= 1:
            raise OptionError(f"`0 <= guided_share <= 1` must hold, but got {self.guided_share}")


@dataclass
class _TaskState:
    task: Task
    spaces: list[DesignSpace] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    best: list[tuple[float, DesignSpace, np.ndarray]] = field(default_factory=list)
    exhausted: bool = False


def collect(
    tasks: Iterable[Task], environment: Environment, store: RecordStore, config: CollectConfig, report: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Fills a store up to `config.num_records`.

    Args:
        tasks: what to sample from.
        environment: spaces and measurements of the domain.
        store: open for writing.
        config: how much.
        report: called with (records in the store, records wanted) after each batch.

    Returns:
        Records in the store; fewer than wanted only if every design space is exhausted.
    """
    states = {task.workload.hash: _TaskState(task) for task in tasks}
    store.append_workloads(state.task for state in states.values())
    for row in store.rows(["workload", "trace_key"]):
        if row["workload"] in states:
            states[row["workload"]].seen.add(row["trace_key"])
    rng = np.random.default_rng([config.seed, store.manifest.num_records])
    while store.manifest.num_records < config.num_records:
        open_states = sorted((s for s in states.values() if not s.exhausted), key=lambda s: len(s.seen))
        if not open_states:
            break
        for state in open_states:
            wanted = min(config.batch_size, config.num_records - store.manifest.num_records)
            candidates = _propose(state, environment, rng, wanted, config.guided_share)
            if not candidates:
                state.exhausted = True
                continue
            trajectories = environment.measure(candidates)
            fresh = {t.record.trace.key: t for t in trajectories if t.record.trace.key not in state.seen}
            store.append(fresh.values())
            state.seen.update(fresh)
            state.seen.update(c.trace.key for c in candidates)
            _remember_best(state, trajectories)
            report(store.manifest.num_records, config.num_records)
            if store.manifest.num_records >= config.num_records:
                break
    return store.manifest.num_records


def _propose(state: _TaskState, environment: Environment, rng: np.random.Generator, wanted: int, guided_share: float) -> list[Candidate]:
    if not state.spaces:
        try:
            state.spaces = list(environment.design_spaces(state.task))
        except UnsupportedError:
            state.spaces = []
    default = Trace(())
    proposals: dict[str, Trace] = {} if default.key in state.seen else {default.key: default}
    deadline = time.monotonic() + 5.0
    for _ in range(20 * wanted):
        if len(proposals) >= wanted or not state.spaces or time.monotonic() > deadline:
            break
        if state.best and rng.random() < guided_share:
            _, space, point = state.best[rng.integers(len(state.best))]
            trace = space.decode(space.mutate(rng, point[None])[0])
        else:
            space = state.spaces[rng.integers(len(state.spaces))]
            trace = space.decode(space.sample(rng, 1)[0])
        if trace.key not in state.seen:
            proposals[trace.key] = trace
    return [Candidate(state.task, trace) for trace in proposals.values()]


def _remember_best(state: _TaskState, trajectories: Iterable[Trajectory], keep: int = 8) -> None:
    by_id = {space.space_id: space for space in state.spaces}
    for trajectory in trajectories:
        record = trajectory.record
        space = by_id.get(record.trace.space_id)
        point = space.encode(record.trace) if space is not None and record.run_secs else None
        if point is not None:
            state.best.append((record.best_secs, space, point))
    state.best = sorted(state.best, key=lambda b: b[0])[:keep]
