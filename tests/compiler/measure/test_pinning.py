"""While a kernel is timed, its threads are on cores of their own; at no other time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from foretune import Candidate, MeasureSettings, Status, Trace
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.tir.space import design_spaces
from foretune.target import num_usable_cores


def allowed_cores(pid: int) -> list[str]:
    """The cores of each thread of a process that may use fewer than all."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        found.append(next(line.split()[1] for line in text.splitlines() if line.startswith("Cpus_allowed_list")))
    everything = sorted(os.sched_getaffinity(0))
    return sorted(c for c in found if c.isdigit() and len(everything) > 1)


def watched(measurer: Measurer, candidates) -> tuple[list, set[tuple[str, ...]]]:
    """Records, and the pinnings seen while they were measured."""
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for worker in measurer._workers:
                if worker._process is not None:
                    seen.add(tuple(allowed_cores(worker._process.pid)))
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return measurer.measure(candidates), seen
    finally:
        done.set()
        thread.join()


@pytest.fixture
def candidates(matmul_task):
    return [
        Candidate(matmul_task, Trace(())),
        *(Candidate(matmul_task, s.template) for s in design_spaces(matmul_task)[:2]),
    ]


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core")
def test_threads_are_pinned_while_timed_and_only_then(candidates):
    settings = MeasureSettings(repeat=3, min_repeat_ms=100.0)
    with Measurer(settings, num_threads=2, num_workers=2) as measurer:
        records, seen = watched(measurer, candidates)
        assert [r.status for r in records] == [Status.OK] * 3
        first, second = (str(c) for c in sorted(os.sched_getaffinity(0))[:2])
        assert (first, second) in seen and () in seen
        assert all(not allowed_cores(w._process.pid) for w in measurer._workers)


def test_too_many_threads_are_not_pinned(candidates):
    with Measurer(MeasureSettings(min_repeat_ms=50.0), num_threads=num_usable_cores() + 1, num_workers=1) as measurer:
        records, seen = watched(measurer, candidates[:1])
        assert records[0].status is Status.OK and seen == {()}


@pytest.mark.skipif(num_usable_cores() < 2, reason="one core")
def test_kernels_get_the_threads_they_were_promised(candidates):
    """TVM's own switch for the number of threads does nothing on two cores unless it is given their names."""
    with Measurer(num_threads=2, num_workers=1) as two, Measurer(num_threads=1, num_workers=1) as one:
        for measurer in (one, two):
            assert measurer.measure(candidates[:1])[0].status is Status.OK
        one_more = len(os.listdir(f"/proc/{two._workers[0]._process.pid}/task")) - len(
            os.listdir(f"/proc/{one._workers[0]._process.pid}/task")
        )
        assert one_more == 1
