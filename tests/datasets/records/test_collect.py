"""Collecting: several batches at once, one writer, nothing twice, evenly over tasks and targets."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from foretune import MeasureRecord, OptionError, Status, Target, Trace, Trajectory, UnsupportedError, WorkerError
from foretune.datasets.records.collect import CollectConfig, collect
from foretune.datasets.records.sampling import TaskSampler
from foretune.datasets.records.store import RecordStore
from foretune.testing.synthetic import SPACE, TASK, seconds

TASKS = [replace(TASK, workload=replace(TASK.workload, hash=f"synthetic{i}")) for i in range(3)]
FAST, SLOW = Target("llvm", (("mcpu", "fast"),)), Target("llvm", (("mcpu", "slow"),))


class SyntheticEnvironment:
    """The made-up space, measured by its known cost, after a pause."""

    def __init__(self, slots=(None,), pause_secs: float = 0.0, failing_after: int = 10**9) -> None:
        self.slots = slots
        self.interrupted = threading.Event()
        self.num_busy = self.most_busy = self.num_measured = 0
        self._pause_secs, self._failing_after = pause_secs, failing_after
        self._lock = threading.Lock()

    def design_spaces(self, task):
        return [SPACE]

    def initial_features(self, task):
        return ((1.0, 2.0),)

    def measure(self, candidates):
        with self._lock:
            self.num_busy += 1
            self.most_busy = max(self.most_busy, self.num_busy)
            self.num_measured += len(candidates)
            if self.num_measured > self._failing_after:
                raise WorkerError("out of order")
        time.sleep(self._pause_secs)
        with self._lock:
            self.num_busy -= 1
        return [
            Trajectory(MeasureRecord(c, Status.OK, (seconds(c.trace) if len(c.trace) else 1.0,))) for c in candidates
        ]

    def interrupt(self):
        self.interrupted.set()


def collected(folder, environment, config, tasks=TASKS, guide=None, report=lambda done, total: None):
    with RecordStore(folder, writable=True) as store:
        collect(tasks, environment, store, config, report, guide)
    rows = list(RecordStore(folder).rows(["workload", "target", "trace_key"]))
    assert len({tuple(r.values()) for r in rows}) == len(rows)
    return rows


def test_exact_number_evenly_over_tasks(tmp_path):
    rows = collected(tmp_path, SyntheticEnvironment(), CollectConfig(100, batch_size=8))
    assert len(rows) == 100
    counts = Counter(r["workload"] for r in rows).values()
    assert max(counts) - min(counts) <= 8


def test_the_unscheduled_program_is_observed(tmp_path):
    collected(tmp_path, SyntheticEnvironment(), CollectConfig(10))
    assert {entry.initial for entry in RecordStore(tmp_path).entries().values()} == {((1.0, 2.0),)}


def test_goes_on_without_measuring_twice(tmp_path):
    for wanted in (10, 50, 50, 120):
        environment = SyntheticEnvironment()
        assert len(collected(tmp_path, environment, CollectConfig(wanted, batch_size=8))) == wanted
        assert environment.num_measured == {10: 10, 50: environment.num_measured, 120: 70}[wanted]


def test_several_batches_at_once(tmp_path):
    environment = SyntheticEnvironment((None,) * 4, pause_secs=0.1)
    assert len(collected(tmp_path, environment, CollectConfig(160, batch_size=8))) == 160
    assert environment.most_busy == 4


def test_many_slots_and_one_task_repeat_nothing(tmp_path):
    environment = SyntheticEnvironment((None,) * 4, pause_secs=0.01)
    assert len(collected(tmp_path, environment, CollectConfig(140, batch_size=8), TASKS[:1])) == 140


def test_slots_with_different_targets_get_records_of_their_own(tmp_path):
    environment = SyntheticEnvironment((FAST, SLOW, FAST), pause_secs=0.01)
    rows = collected(tmp_path, environment, CollectConfig(120, batch_size=8))
    mcpus = Counter(json.loads(r["target"])["target"]["mcpu"] for r in rows)
    assert set(mcpus) == {"fast", "slow"} and mcpus["fast"] > mcpus["slow"] >= 20
    assert len(RecordStore(tmp_path).workloads()) == 3


def test_an_exhausted_space_ends_the_collection(tmp_path):
    assert (
        len(collected(tmp_path, SyntheticEnvironment(), CollectConfig(1000, batch_size=32), TASKS[:1]))
        <= 1 + SPACE.size
    )


def test_a_failing_environment_is_interrupted_and_keeps_what_landed(tmp_path):
    environment = SyntheticEnvironment((None, None), pause_secs=0.01, failing_after=40)
    with pytest.raises(WorkerError, match="out of order"):
        collected(tmp_path, environment, CollectConfig(200, batch_size=8))
    assert environment.interrupted.is_set()
    assert 8 <= RecordStore(tmp_path).manifest.num_records <= 40


def test_report_starts_with_what_is_there(tmp_path):
    seen = []
    collected(tmp_path, SyntheticEnvironment(), CollectConfig(10, batch_size=8))
    collected(
        tmp_path,
        SyntheticEnvironment(),
        CollectConfig(20, batch_size=8),
        report=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(10, 20), (18, 20), (20, 20)]


class ListGuide:
    """Proposes the points with the most unrolling, and remembers what it was told."""

    def __init__(self) -> None:
        self.suggested, self.observed = 0, 0

    def suggest(self, task, spaces, seen, num):
        traces = [
            t
            for p in spaces[0].sample(np.random.default_rng(len(seen)), 50)
            if (t := spaces[0].decode(p)).actions[7].decision == 2 and t.key not in seen
        ]
        self.suggested += len(traces[:num])
        return traces[:num]

    def observe(self, trajectories):
        self.observed += len(trajectories)


def test_a_guide_proposes_its_share_and_is_told_everything(tmp_path):
    guide = ListGuide()
    rows = collected(tmp_path, SyntheticEnvironment(), CollectConfig(90, batch_size=10, guided_share=0.5), guide=guide)
    assert len(rows) == guide.observed == 90
    assert 35 <= guide.suggested <= 45


def test_mutations_stay_near_the_best():
    sampler = TaskSampler(TASK, lambda task: [SPACE])
    best = min((SPACE.decode(p) for p in SPACE.sample(np.random.default_rng(0), 200)), key=seconds)
    sampler.restore(best.key, (1e-4,), json.dumps(best.to_json()))
    sampler.seen.add(Trace(()).key)
    proposed = sampler.propose(np.random.default_rng(1), 8, 1.0, 0.0, None)
    differing = [sum(a != b for a, b in zip(c.trace.actions, best.actions)) for c in proposed]
    assert len(proposed) == 8 and set(differing) == {1}


def test_a_task_without_spaces_is_measured_as_it_is(tmp_path):
    class Spaceless(SyntheticEnvironment):
        def design_spaces(self, task):
            raise UnsupportedError("none")

    assert len(collected(tmp_path, Spaceless(), CollectConfig(10), TASKS[:1])) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_records": 0}, "`num_records >= 1`"),
        ({"num_records": 1, "batch_size": 0}, "`batch_size >= 1`"),
        ({"num_records": 1, "mutated_share": 0.6, "guided_share": 0.6}, "exceed 1 together"),
        ({"num_records": 1, "guided_share": -0.1}, "not be negative"),
    ],
)
def test_bad_amounts(arguments, message):
    with pytest.raises(OptionError, match=message):
        CollectConfig(**arguments)
