"""Collection: measures sampled traces of many tasks into a store, and survives anything.

The task with the fewest records is always next, with a few candidates, so that whatever moment the collector
is stopped at, tasks are covered evenly. What is on disk decides where the next run goes on.

Batches are measured by as many threads as the environment has slots; proposing and writing are left to the
calling thread, the only writer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from foretune.datasets.records.sampling import Guide, TaskSampler
from foretune.datasets.records.schema import Rows
from foretune.datasets.records.store import RecordStore
from foretune.errors import OptionError
from foretune.record import Trajectory
from foretune.space import DesignSpace
from foretune.target import Target
from foretune.task import Candidate, Task


class Environment(Protocol):
    """What a domain offers a collector: design spaces, and measurements with static observations."""

    @property
    def slots(self) -> Sequence[Target | None]:
        """The target of each place that can measure a batch at the same time; None stands for the tasks' own."""
        ...

    def design_spaces(self, task: Task) -> Sequence[DesignSpace]:
        """The spaces to sample from; empty if the program has none."""
        ...

    def initial_features(self, task: Task) -> Rows:
        """Static features of the unscheduled program, a row for each store."""
        ...

    def measure(self, candidates: Sequence[Candidate]) -> Sequence[Trajectory]:
        """One trajectory for each candidate of one task, in order; called by one thread for each slot."""
        ...

    def interrupt(self) -> None:
        """Makes running and later calls of `measure` fail soon."""
        ...


@dataclass(frozen=True)
class CollectConfig:
    """How much to collect.

    Attributes:
        num_records: records the store shall hold in the end.
        batch_size: candidates of one task measured together, and written together.
        seed: of the sampling.
        mutated_share: share of candidates that are mutations of the best measured so far.
        guided_share: share of candidates that the model proposes, if there is one. The rest are uniform samples.
    """

    num_records: int
    batch_size: int = 16
    seed: int = 0
    mutated_share: float = 0.3
    guided_share: float = 0.3

    def __post_init__(self) -> None:
        if self.num_records < 1 or self.batch_size < 1:
            raise OptionError(
                f"`num_records >= 1` and `batch_size >= 1` must hold, but got {self.num_records} and {self.batch_size}"
            )
        if self.mutated_share < 0 or self.guided_share < 0 or self.mutated_share + self.guided_share > 1:
            raise OptionError(
                f"shares must not be negative or exceed 1 together, but got {self.mutated_share} and"
                f" {self.guided_share}"
            )


def collect(
    tasks: Iterable[Task],
    environment: Environment,
    store: RecordStore,
    config: CollectConfig,
    report: Callable[[int, int], None] = lambda done, total: None,
    guide: Guide | None = None,
) -> int:
    """Fills a store up to `config.num_records`.

    Args:
        tasks: what to sample from; where a slot has a target of its own, it takes the place of the task's.
        environment: spaces and measurements of the domain.
        store: open for writing.
        config: how much.
        report: called with (records in the store, records wanted) at the start and after each batch.
        guide: proposes a share of the candidates.

    Returns:
        Records in the store; fewer than wanted only if every design space is exhausted.
    """
    tasks = list(tasks)
    known = store.entries()
    fresh = {task.workload.hash: task for task in tasks if task.workload.hash not in known}
    store.append_workloads(fresh.values(), {key: environment.initial_features(task) for key, task in fresh.items()})
    collector = _Collector(tasks, environment, store, config, guide)
    pool = ThreadPoolExecutor(len(environment.slots))
    try:
        report(store.manifest.num_records, config.num_records)
        running: dict[Future, _Batch] = {}
        while True:
            for batch in collector.due():
                running[pool.submit(environment.measure, batch.candidates)] = batch
            if not running:
                return store.manifest.num_records
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                collector.land(running.pop(future), future.result())
            report(store.manifest.num_records, config.num_records)
    except BaseException:
        environment.interrupt()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Batch:
    sampler: TaskSampler
    slot: str
    candidates: list[Candidate]


class _Collector:
    """Samplers of every task on every target, and the slots that are free."""

    def __init__(
        self,
        tasks: Sequence[Task],
        environment: Environment,
        store: RecordStore,
        config: CollectConfig,
        guide: Guide | None,
    ) -> None:
        self._store, self._config, self._guide = store, config, guide
        self._free = Counter(_slot_name(target) for target in environment.slots)
        self._samplers: dict[str, list[TaskSampler]] = {}
        for target in environment.slots:
            if _slot_name(target) not in self._samplers:
                distinct = {
                    task.key: task for task in (t if target is None else replace(t, target=target) for t in tasks)
                }
                self._samplers[_slot_name(target)] = [
                    TaskSampler(t, environment.design_spaces) for t in distinct.values()
                ]
        self._rng = np.random.default_rng([config.seed, store.manifest.num_records])
        self._restore()

    def due(self) -> list[_Batch]:
        """The next batch for each free slot, as far as records are wanted and tasks have candidates left."""
        batches = []
        for slot, samplers in self._samplers.items():
            while self._free[slot] and (batch := self._next(slot, samplers)) is not None:
                self._free[slot] -= 1
                batches.append(batch)
        return batches

    def land(self, batch: _Batch, trajectories: Sequence[Trajectory]) -> None:
        """Writes what was measured of a batch."""
        self._free[batch.slot] += 1
        fresh = batch.sampler.observe(len(batch.candidates), trajectories)
        self._store.append(fresh)
        if self._guide is not None:
            self._guide.observe(fresh)

    def _next(self, slot: str, samplers: Sequence[TaskSampler]) -> _Batch | None:
        in_flight = sum(s.num_in_flight for group in self._samplers.values() for s in group)
        wanted = min(self._config.batch_size, self._config.num_records - self._store.manifest.num_records - in_flight)
        while wanted > 0 and (left := [s for s in samplers if not s.exhausted]):
            sampler = min(left, key=lambda s: s.num_stored + s.num_in_flight)
            candidates = sampler.propose(
                self._rng, wanted, self._config.mutated_share, self._config.guided_share, self._guide
            )
            if candidates:
                return _Batch(sampler, slot, candidates)
        return None

    def _restore(self) -> None:
        by_key = {sampler.task.key: sampler for group in self._samplers.values() for sampler in group}
        target_keys: dict[str, str] = {}
        for row in self._store.rows(["workload", "target", "trace_key", "status", "run_secs", "trace"]):
            target = row["target"]
            if target not in target_keys:
                target_keys[target] = Target.from_json(json.loads(target)).key
            sampler = by_key.get((target_keys[target], row["workload"]))
            if sampler is not None:
                sampler.restore(row["trace_key"], row["run_secs"] if row["status"] == "ok" else (), row["trace"])


def _slot_name(target: Target | None) -> str:
    return "" if target is None else target.key
