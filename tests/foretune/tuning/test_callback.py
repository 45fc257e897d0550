"""Callbacks hear of each measurement of every tuner."""

from __future__ import annotations

import math

import pytest

from foretune.errors import OptionError
from foretune.record import Status
from foretune.tuning.callback import RELATIVE, SECONDS, Announcer, Callback, TrialEvent
from foretune.tuning.domains import tune_domain
from foretune.tuning.loop import TuneConfig
from foretune.tuning.search import RandomSearch
from tests.foretune.tuning.test_loop import Numbers


class Kept(Callback):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[TrialEvent] = []
        self.num_ends = 0

    def on_trial(self, event: TrialEvent) -> None:
        self.events.append(event)

    def on_end(self) -> None:
        self.num_ends += 1


def test_an_announcer_counts_and_keeps_the_best():
    kept = Kept()
    announcer = Announcer([kept, Callback()], SECONDS)
    announcer.tell("a", Status.OK, 3.0)
    announcer.tell("a", Status.WRONG_OUTPUT, 1.0)
    announcer.tell("b", Status.BUILD_ERROR, math.inf)
    announcer.tell("a", Status.OK, 2.0)
    announcer.end()
    assert [(e.task, e.number, e.value, e.best) for e in kept.events] == [
        ("a", 1, 3.0, 3.0),
        ("a", 2, math.inf, 3.0),
        ("b", 3, math.inf, math.inf),
        ("a", 4, 2.0, 2.0),
    ]
    assert kept.num_ends == 1 and kept.events[0].unit == SECONDS


def test_the_loop_tells_all_of_its_trials():
    kept = Kept()
    result = tune_domain(Numbers(), "numbers", RandomSearch, config=TuneConfig(16), callbacks=[kept])
    assert len(kept.events) == len(result.trials) and kept.num_ends == 1
    assert {(e.task, e.unit) for e in kept.events} == {("numbers", RELATIVE)}
    assert [e.value for e in kept.events] == [t.cost for t in result.trials]
    assert min(e.value for e in kept.events) == kept.events[-1].best < 1


def test_what_a_callback_raises_ends_the_run():
    class Enough(Kept):
        def on_trial(self, event: TrialEvent) -> None:
            super().on_trial(event)
            if event.number == 3:
                raise KeyboardInterrupt

    kept = Enough()
    with pytest.raises(KeyboardInterrupt):
        tune_domain(Numbers(), "numbers", RandomSearch, config=TuneConfig(16), callbacks=[kept])
    assert len(kept.events) == 3 and kept.num_ends == 1


@pytest.mark.parametrize("callbacks", [[print], "callbacks", None])
def test_what_is_no_callback_is_refused(callbacks):
    with pytest.raises(OptionError, match=r"callbacks must be a list of foretune\.tuning\.callback\.Callback, but got"):
        Announcer(callbacks, SECONDS)


def test_curves_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from foretune.tuning.tensorboard import TensorBoardCallback

    curves = TensorBoardCallback(tmp_path / "runs")
    for _ in range(2):  # two runs
        announcer = Announcer([curves], SECONDS)
        announcer.tell("matmul", Status.BUILD_ERROR, math.inf)
        announcer.tell("matmul", Status.OK, 0.5)
        announcer.tell("<b>&'\"", Status.OK, 0.25)
        announcer.end()
    found = EventAccumulator(str(tmp_path / "runs"))
    found.Reload()
    tags = set(found.Tags()["tensors"])
    assert {"matmul/measured", "matmul/best", "matmul/failures", "<b>&'\"/best"} <= tags
    assert [event.step for event in found.Tensors("matmul/measured")] == [2, 4]
    assert [event.step for event in found.Tensors("matmul/failures")] == [1, 2, 3, 4]
