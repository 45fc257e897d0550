"""What became of a contest, and how sure it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from foretune.compiler.contest.race import SURE, RaceResult

PYTORCH = "pytorch"
_ABOUT_EQUAL = 1.03  # times as fast, at most: not worth another contest


@dataclass
class Choice:
    """What became of a contest.

    Attributes:
        name: of the contender that runs the graph.
        ms: name -> median milliseconds of a call, of those that took part.
        refused: name -> why it did not take part.
        sureness: the share of resampled contests in which the same one wins; more is better, None without a contest.
        num_rounds: in which the winner took part.
        second: the fastest of the others; empty without a contest.
        gain: how many times as fast as the second it is, the ends of a 95 % interval.
        was_busy: whether others used the machine meanwhile.
        num_repeats: contests that were held later, while the program ran.
        is_open: whether another one is to come.
    """

    name: str = PYTORCH
    ms: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    sureness: float | None = None
    num_rounds: int = 0
    second: str = ""
    gain: tuple[float, float] | None = None
    was_busy: bool = False
    num_repeats: int = 0
    is_open: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether it was told on a quiet machine who is the fastest, or that the best are about equal."""
        if self.was_busy or self.sureness is None:
            return False
        return self.sureness >= SURE or (self.gain is not None and self.gain[1] < _ABOUT_EQUAL)

    def note(self, result: RaceResult, name: str, was_busy: bool) -> None:
        """Has a contender run the graph, and notes how that came."""
        self.name, self.was_busy = name, was_busy
        self.ms |= result.ms
        self.sureness, self.num_rounds = result.win_rates()[name], len(result.secs[name])
        self.second = result.best_but(name)
        self.gain = result.gain(name, self.second) if self.second else None
