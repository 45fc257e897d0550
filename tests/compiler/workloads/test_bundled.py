"""The bundled data: its traces replay to the programs that they were recorded with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from foretune import Status
from foretune.compiler.tir import traces
from foretune.compiler.tir.space import ScheduleContext
from foretune.compiler.tir.workload import module_from_program, module_hash
from foretune.datasets.records.store import RecordStore

BUNDLED = Path(__file__).parents[3] / "datasets" / "bundled" / "cpu"


def replay_sample(num_tasks: int, per_task: int) -> int:
    rng = random.Random(0)
    with RecordStore(BUNDLED) as store:
        chosen = rng.sample(sorted(store.workloads()), num_tasks)
        by_task: dict = {}
        for trajectory in store.trajectories(chosen):
            if trajectory.record.status is Status.OK:
                by_task.setdefault(trajectory.record.candidate.task, []).append(trajectory.record)
    count = 0
    for task, records in by_task.items():
        mod = module_from_program(task.workload.program)
        assert module_hash(mod) == task.workload.hash
        context = ScheduleContext(mod, task.target)
        for record in rng.sample(records, min(per_task, len(records))):
            schedule = traces.replay(mod, record.trace)
            assert not len(record.trace) or context.post_process(schedule)
            assert module_hash(schedule.mod) == record.program_hash
            count += 1
    return count


def test_sampled_traces_replay_to_their_programs():
    assert replay_sample(num_tasks=20, per_task=4) >= 40


@pytest.mark.slow
def test_traces_of_all_tasks_replay_to_their_programs():
    assert replay_sample(num_tasks=250, per_task=8) >= 1000


def test_the_bundle_is_what_it_should_be():
    with RecordStore(BUNDLED) as store:
        entries, split = store.entries(), store.split()
        assert store.manifest.num_records >= 20_000 and len(entries) >= 100
        assert split is not None and split.train | split.validation | split.test == set(entries)
        assert all(entry.initial and entry.networks for entry in entries.values())
        assert sum(path.stat().st_size for path in BUNDLED.iterdir()) <= 25 << 20
        assert {name.split("/")[0] for entry in entries.values() for name, _ in entry.networks} >= {
            "models",
            "dense",
            "conv2d",
            "gather",
            "attention",
        }
