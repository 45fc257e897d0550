"""The task scheduler, on made-up tasks whose best times are known in advance."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest

from foretune import OptionError
from foretune.tuning.task_scheduler import SchedulerConfig, TaskScheduler

CONFIG = SchedulerConfig(batch_size=8, total=None, min_trials=8, max_trials=96, min_gain=0.002)


class Simulation:
    """Tasks whose best time falls from 1 to `1 - potential` as trials come; the cost model knows by how much, if it is
    asked.
    """

    def __init__(self, weights, potentials, config, informed=True):
        self.potentials = potentials
        self.trials = [0] * len(weights)
        self.order: list[int] = []
        self.informed = informed
        self.scheduler = TaskScheduler(weights, self.promise, config)

    def secs(self, task: int, trials: int) -> float:
        return 1.0 - self.potentials[task] * (1.0 - math.exp(-trials / 24))

    def promise(self, task: int) -> float | None:
        return (
            math.log(self.secs(task, self.trials[task]) / self.secs(task, self.trials[task] + 8))
            if self.informed
            else None
        )

    def step(self) -> bool:
        turn = self.scheduler.next()
        if turn is None:
            return False
        task, num = turn
        assert num >= 1
        self.order.append(task)
        self.trials[task] += num
        self.scheduler.observe(task, num, self.secs(task, self.trials[task]))
        return True

    def run(self, max_steps: int = 1000) -> list[int]:
        while len(self.order) < max_steps and self.step():
            pass
        return self.trials


@pytest.mark.parametrize("informed", [True, False])
def test_each_task_has_its_first_batch_before_any_has_two(informed):
    simulation = Simulation([1, 100, 1, 1], [0.5] * 4, SchedulerConfig(8, 96, 8, 72), informed)
    simulation.run()
    assert sorted(simulation.order[:4]) == [0, 1, 2, 3]
    assert sum(simulation.trials) == 96 and min(simulation.trials) >= 8 and max(simulation.trials) <= 72


def test_starved_tasks_come_first():
    simulation = Simulation([1, 1], [0.5] * 2, SchedulerConfig(4, 64, 16, 64))
    simulation.run(8)
    assert Counter(simulation.order) == {0: 4, 1: 4}


@pytest.mark.parametrize("informed", [True, False])
def test_the_budget_goes_where_the_latency_is(informed):
    trials = Simulation([20, 1, 1, 1], [0.6] * 4, SchedulerConfig(8, 128, 8, 96, min_gain=0.0), informed).run()
    assert trials[0] >= 64 and trials[0] > 2 * max(trials[1:])


def test_the_budget_goes_where_something_is_left_to_gain():
    trials = Simulation([1, 1, 1, 1], [0.0, 0.8, 0.0, 0.0], SchedulerConfig(8, 128, 8, 96, min_gain=0.0)).run()
    assert trials[1] >= 64


@pytest.mark.parametrize("informed", [True, False])
def test_it_beats_equal_shares(informed):
    weights, potentials = [12, 4, 1, 1, 1, 1], [0.3, 0.8, 0.7, 0.1, 0.1, 0.0]
    simulation = Simulation(weights, potentials, SchedulerConfig(8, 144, 8, 72, min_gain=0.0), informed)
    trials = simulation.run()
    latency, equal = (sum(w * simulation.secs(i, n[i]) for i, w in enumerate(weights)) for n in (trials, [24] * 6))
    assert sum(trials) == 144 and latency < equal


def test_it_stops_when_the_model_is_sure():
    simulation = Simulation([5, 1, 1], [0.5, 0.5, 0.0], SchedulerConfig(8, 3000, 8, 1000))
    trials = simulation.run()
    assert sum(trials) < 600 and trials[2] < trials[1] <= trials[0]
    for task in range(2):
        assert simulation.secs(task, trials[task]) < 1.05 * (1 - simulation.potentials[task])


def test_one_batch_without_promise_does_not_end_a_task():
    promises = iter([0.0, 0.5, 0.0, 0.0])
    scheduler = TaskScheduler(
        [1.0], lambda task: next(promises), SchedulerConfig(8, 1000, 8, 1000, momentum=0.0, sure_after=8)
    )
    for batch in range(4):
        assert scheduler.next() is not None, batch
        scheduler.observe(0, 8, 1.0)
    assert scheduler.next() is None


def test_promises_are_asked_for_once_a_batch():
    asked: list[int] = []

    def promise(task: int) -> float:
        asked.append(task)
        return 0.1

    scheduler = TaskScheduler([1.0, 2.0], promise, CONFIG)
    for _ in range(2):
        scheduler.observe(scheduler.next()[0], 8, 1.0)
    assert not asked  # the first batches need none
    for _ in range(3):
        scheduler.next()
    assert sorted(asked) == [0, 1]
    scheduler.observe(1, 8, 0.9)
    scheduler.next()
    assert sorted(asked) == [0, 1, 1]


def test_what_is_closed_is_not_picked_and_its_budget_is_not_spent():
    simulation = Simulation([1, 1], [0.5, 0.5], SchedulerConfig(8, 64, 8, 60, min_gain=0.0))
    simulation.step(), simulation.step()
    simulation.scheduler.close(0)
    assert simulation.run() == [8, 32] and simulation.scheduler.num_left == 0


def test_a_resumed_run_spends_what_is_left_and_a_finished_one_nothing():
    whole = Simulation([3, 1, 1], [0.6, 0.6, 0.1], SchedulerConfig(8, 96, 8, 72, min_gain=0.0))
    whole.run()
    broken = Simulation([3, 1, 1], [0.6, 0.6, 0.1], SchedulerConfig(8, 96, 8, 72, min_gain=0.0))
    broken.run(5)
    again = Simulation([3, 1, 1], [0.6, 0.6, 0.1], SchedulerConfig(8, 96, 8, 72, min_gain=0.0))
    for task, total in enumerate(broken.trials):
        for done in range(8, total + 8, 8):
            again.trials[task] = min(done, total)
            again.scheduler.observe(task, min(done, total) - (done - 8), again.secs(task, again.trials[task]))
    assert again.run() == whole.trials
    done = TaskScheduler([3, 1, 1], lambda task: pytest.fail("nothing is left to plan"), SchedulerConfig(8, 96, 8, 72))
    for task, total in enumerate(whole.trials):
        done.observe(task, total, 0.5, settled=True)
    assert done.next() is None and done.num_left == 0


def test_a_settled_task_stays_settled_unless_much_is_expected():
    for promise, goes_on in ((0.003, False), (0.1, True)):
        scheduler = TaskScheduler(
            [1.0], lambda task, promise=promise: promise, SchedulerConfig(8, 96, 8, 72, momentum=0.0, sure_after=8)
        )
        scheduler.observe(0, 24, 1.0, settled=True)
        assert (scheduler.next() is not None) is goes_on


def test_a_task_that_never_works_is_given_up():
    simulation = Simulation([1, 1], [0.5, 0.5], SchedulerConfig(8, 400, 8, 300, min_gain=0.0))
    simulation.secs = lambda task, trials: math.inf if task == 0 else 1.0 - 0.5 * (1.0 - math.exp(-trials / 24))
    simulation.run()
    assert simulation.trials[0] <= 40 and simulation.trials[1] == 300


def test_without_tasks_or_limits():
    assert TaskScheduler([], lambda task: None).next() is None
    unlimited = TaskScheduler([1.0], lambda task: None, SchedulerConfig())
    unlimited.observe(0, 16, 1.0)
    assert unlimited.next() == (0, 16) and unlimited.num_left == math.inf


def test_progress_counts_down():
    simulation = Simulation([2, 1], [0.5, 0.5], SchedulerConfig(8, 64, 8, 64, min_gain=0.0))
    left = [simulation.scheduler.num_left]
    while simulation.step():
        left.append(simulation.scheduler.num_left)
    assert left[0] == 64 and left[-1] == 0 and all(a > b for a, b in pairwise(left))


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"momentum": 1.5}, {"min_gain": -1.0}, {"patience": 0}])
def test_bad_configurations(bad):
    with pytest.raises(OptionError, match="must"):
        SchedulerConfig(**bad)
