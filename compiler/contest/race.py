"""Who is the fastest, and how sure that is, on a machine that others use as well.

The runs take turns, in bursts with a pause between them, because the thread pools of PyTorch and TVM spin on for a
while after each call. What disturbs one turn slows down all that run in it, so that turns are compared in pairs, and
the choice is drawn again from resampled turns (a bootstrap). How sure it is, is an interval of the paired ratios to the
second best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from foretune.compiler.contest.comparison import call, copies_of

_FEWEST_ROUNDS, _MOST_ROUNDS = 7, 21
_BURST_SECS, _PAUSE_SECS = 0.01, 0.005
_MOST_SECS = 20.0  # for all rounds; there are two at least
SURE = 0.95
_HOPELESS = 1.5  # times as slow as the fastest in each of the first rounds: no more of it
_RESAMPLES = 1000


@dataclass(frozen=True)
class RaceResult:
    """Runs that took turns.

    Attributes:
        secs: name -> seconds of a call in each round.
    """

    secs: Mapping[str, Sequence[float]]

    @property
    def ms(self) -> dict[str, float]:
        """Name -> median milliseconds."""
        return {name: float(np.median(values)) * 1e3 for name, values in self.secs.items()}

    @property
    def winner(self) -> str:
        """The fastest by what it takes beside the others in the same round."""
        wins = self.win_rates()
        return max(wins, key=lambda name: (wins[name], -self.ms[name]))

    @property
    def sureness(self) -> float:
        """The share of resampled contests that the winner wins; more is better."""
        return self.win_rates()[self.winner]

    @property
    def num_rounds(self) -> int:
        """Rounds that the winner took part in."""
        return len(self.secs[self.winner])

    def best_but(self, name: str) -> str:
        """The fastest of the others; empty if there is none."""
        others = [other for other in self.secs if other != name]
        return max(others, key=lambda other: (len(self.secs[other]), -self.ms[other]), default="")

    def successor(self, incumbent: str) -> str:
        """Who runs from now on: another one than before only if it is surely faster."""
        best = self.winner
        fell_behind = len(self.secs[incumbent]) < self.num_rounds
        return best if fell_behind or self.gain(best, incumbent)[0] > 1.0 else incumbent

    def gain(self, name: str, over: str) -> tuple[float, float]:
        """How many times as fast a run is as another: an interval of 95 % of what resampled pairs of rounds say.

        Args:
            name: of the run.
            over: of the other one; rounds that only one of them took part in do not count.
        """
        num = min(len(self.secs[name]), len(self.secs[over]))
        ratios = np.log(self.secs[over][:num]) - np.log(self.secs[name][:num])  # [R]
        rows = np.random.default_rng(0).integers(num, size=(_RESAMPLES, num))
        low, high = np.exp(np.quantile(np.median(ratios[rows], axis=1), [(1 - SURE) / 2, (1 + SURE) / 2]))
        return float(low), float(high)

    def followed_by(self, later: RaceResult) -> RaceResult:
        """The rounds of both, of the runs of the later one, which took part in all rounds of this one."""
        return RaceResult({name: [*self.secs[name], *secs] for name, secs in later.secs.items()})

    def win_rates(self) -> dict[str, float]:
        """Name -> the share of contests that it wins, when rounds are drawn again with replacement."""
        most = max(len(values) for values in self.secs.values())
        names = [name for name, values in self.secs.items() if len(values) == most]  # the others fell behind
        logs = np.log(np.array([self.secs[name] for name in names]))  # [C, R]
        relative = logs - logs.mean(0)  # what slowed a whole round down is gone
        rows = np.random.default_rng(0).integers(most, size=(_RESAMPLES, most))
        best = np.median(relative[:, rows], axis=2).argmin(0)  # [C, resamples] -> [resamples]
        return {name: float((best == i).mean()) for i, name in enumerate(names)} | {
            name: 0.0 for name in self.secs if name not in names
        }


def race(
    runs: Mapping[str, Callable],
    inputs: Sequence[Any],
    changed: frozenset[int],
    trains: bool,
    most_secs: float = _MOST_SECS,
) -> RaceResult:
    """Has several ways to run a graph take turns, until it is sure who is the fastest or they are about equal.

    Args:
        runs: name -> what to call.
        inputs: of the calls; none of them is changed.
        changed: positions of inputs that a call changes.
        trains: whether a run is forward and backward.
        most_secs: for all rounds of slow graphs; there are two at least.
    """
    copies = {name: copies_of(inputs, changed) for name in runs}
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + min(most_secs, _MOST_SECS)
    running = list(runs)
    for number in range(1, _MOST_ROUNDS + 1):
        for name in running:
            time.sleep(_PAUSE_SECS)
            times[name].append(mean_secs(runs[name], copies[name], trains, _BURST_SECS))
        if number > 1 and time.perf_counter() > end:
            break
        if number < _FEWEST_ROUNDS:
            continue
        if RaceResult(times).sureness >= SURE:
            break
        fastest = np.min([times[name] for name in running], axis=0)
        running = [name for name in running if (np.array(times[name]) <= _HOPELESS * fastest).any()]
    return RaceResult(times)


def mean_secs(run: Callable, inputs: Sequence[Any], trains: bool, secs: float) -> float:
    """Seconds of a call, on average over a span of time; the first ones do not count."""
    call(run, inputs, trains)
    one = _secs(run, inputs, trains, 1)
    number = max(1, min(10_000, int(secs / max(one, 1e-9))))
    return one if number == 1 else _secs(run, inputs, trains, number) / number


def _secs(run: Callable, inputs: Sequence[Any], trains: bool, number: int) -> float:
    """Seconds of so many calls."""
    start = time.perf_counter()
    for _ in range(number):
        call(run, inputs, trains)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter() - start
