"""Screening: which steps change a program's machine code at all, found out by compiling, without a single run.

Of the passes and flags that LLVM has, most do nothing to a given program beside `-O3`, and several do the same. A
search that knows spends its measurements on what differs. Compiling is not measuring: it takes a fraction of the
time, and no quiet machine. Of a large program it still takes long: `Screening` compiles a little at the beginning and
a little more between measurements.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from foretune.passes.llvm.actions import BASELINE, Pass, PassSequence, Step
from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.changes import CORES, LEVELS, Change, changes, polly_settings
from foretune.support.cache import RecentCache
from foretune.support.files import write_text_atomically
from foretune.target import num_usable_cores

_SHARE, _FIRST_SECS = 0.1, 4.0  # of the time of tuning; before the first measurement
_QUICK_SECS = 1.0  # of `-O3`; what takes longer is measured before it is screened
_SLOWER, _LEAST_SECS = 3.0, 2.0  # the limit of one compilation: times the baseline's, but at least so much
_BATCH = 4  # compilations for each core, between two looks at the clock
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Screen:
    """Changes that give different machine code.

    Attributes:
        classes: changes that give the same code stand together; none means that nothing is known.
        num_tried: changes that were compiled.
        unknown: steps that nobody has looked at; all others that no class has are idle, or fail.
    """

    classes: tuple[tuple[Change, ...], ...]
    num_tried: int
    unknown: frozenset[Step] = frozenset()

    @cached_property
    def steps(self) -> frozenset[Step]:
        """The steps of all changes."""
        return frozenset(step for members in self.classes for change in members for step in change.steps)

    @cached_property
    def possible(self) -> frozenset[Step] | None:
        """The steps that may change the code; None if that may be any."""
        return self.steps | self.unknown if self.classes else None

    def active(self, sequence: PassSequence) -> PassSequence:
        """What is left of a sequence without the steps that change nothing by themselves; passes with options count as
        those without.
        """
        return sequence if self.possible is None else active(sequence, self.possible)

    def of_intent(self, intent: str) -> tuple[tuple[Change, ...], ...]:
        """Classes with a change that has an intent."""
        return tuple(members for members in self.classes if any(intent in change.intents for change in members))


def active(sequence: PassSequence, steps: Collection[Step]) -> PassSequence:
    """What is left of a sequence with certain steps alone, beside whole pipelines; passes with options count as those
    without.
    """
    passes = tuple(s for s in sequence.passes if s.name in CORES or s in steps or Pass(s.name) in steps)
    return PassSequence(passes, tuple(flag for flag in sequence.flags if flag in steps))


def make_screen(codes: Iterable[tuple[Change, str]], baseline: str, left: Iterable[Change] = ()) -> Screen:
    """A screen of what is known.

    Args:
        codes: changes and the hashes of their machine code; empty where the compilation failed or took too long.
        baseline: hash of `-O3`'s.
        left: changes that nobody has looked at.
    """
    classes: dict[str, list[Change]] = defaultdict(list)
    tried: set[Step] = set()
    codes = list(codes)
    for change, code in codes:
        tried.update(change.steps)
        if code not in ("", baseline):
            classes[code].append(change)
    unknown = {step for change in left for step in change.steps} - tried
    return Screen(tuple(map(tuple, classes.values())), len(codes), frozenset(unknown))


class Screening:
    """A screen that grows while a program is tuned.

    Args:
        program: which.
        measurer: compiles; what crashes or takes too long is left out.
        experimental: whether steps that are held back are tried, too.
        baseline_secs: that `-O3` itself takes to compile; None lets the first compilation tell.
        order: puts changes into the order in which they are tried.
        kept: file of what was found, which a later run goes on from; None keeps nothing.
        clock: seconds.

    Attributes:
        screen: what is known so far.
        secs: spent on it.
    """

    def __init__(
        self,
        program: Program,
        measurer: PassMeasurer,
        experimental: bool = False,
        baseline_secs: float | None = None,
        order: Callable[[list[Change]], list[Change]] = list,
        kept: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._program, self._compiler, self._polly = program, measurer.compiler, measurer.has_polly
        self._most_secs = measurer.settings.build_timeout_secs
        self._left = order(changes(self._polly, experimental, program.is_relaxed))
        tried = {change.sequence for change in self._left}
        self._settings = [change for change in polly_settings() if change.sequence not in tried] if self._polly else []
        self._codes: dict[Change, str] = {}
        self._baseline, self._baseline_secs, self._kept, self._clock = "", baseline_secs, kept, clock
        self.secs = 0.0
        self._load()
        self.screen = self._made()

    @property
    def num_left(self) -> int:
        """Changes that were not tried."""
        return len(self._left)

    def advance(self, tuned_secs: float = math.inf) -> bool:
        """Compiles with some more steps, as far as the time goes.

        Args:
            tuned_secs: that the whole run took so far; screening may take a tenth of it, beside a little at the
                beginning where compiling is quick.

        Returns:
            Whether there was time, and something left to try.
        """
        is_quick = self._baseline_secs is None or self._baseline_secs <= _QUICK_SECS
        allowed = max(_FIRST_SECS if is_quick else 0.0, _SHARE * tuned_secs)
        before = len(self._codes)
        cores = num_usable_cores()
        while self._left:
            per_core = int(min(_BATCH, (allowed - self.secs) / self._baseline_secs)) if self._baseline_secs else _BATCH
            if per_core < 1:
                break
            self._try(self._left[: per_core * cores])
            if math.isinf(allowed):
                break
        if len(self._codes) > before:
            self.screen = self._made()
            self._keep()
        return len(self._codes) > before

    def to_json(self) -> dict[str, float]:
        """How far it came."""
        return {"tried": len(self._codes), "of": len(self._codes) + len(self._left), "secs": round(self.secs, 3)}

    def _try(self, tried: list[Change]) -> None:
        start = self._clock()
        sequences = [change.sequence for change in tried]
        limit = max(_LEAST_SECS, _SLOWER * self._baseline_secs) if self._baseline_secs else self._most_secs
        if not self._baseline:
            sequences.insert(0, BASELINE)
        codes = self._compiler.code_hashes(self._program, sequences, limit)
        if not self._baseline:
            self._baseline = codes.pop(0)
        self._codes.update(zip(tried, codes))
        self._left = self._left[len(tried) :]
        secs = max(self._clock() - start, 1e-3)
        self.secs += secs
        self._baseline_secs = self._baseline_secs or secs * num_usable_cores() / len(sequences)
        self._add_settings(tried)

    def _add_settings(self, tried: Many[Change]) -> None:
        """Where Polly does something, its settings may, too."""
        if self._settings and any(
            change.sequence.uses_polly and self._codes[change] not in ("", self._baseline) for change in tried
        ):
            self._left += [change for change in self._settings if change not in self._codes]
            self._settings = []

    def _made(self) -> Screen:
        return make_screen(self._codes.items(), self._baseline, [*self._left, *self._settings] if self._left else ())

    # -- on disk -------------------------------------------------------------------------------------

    def _load(self) -> None:
        if self._kept is None or not self._kept.exists():
            return
        try:
            document = json.loads(self._kept.read_text())
            codes, self._baseline = dict(document["codes"]), str(document["baseline"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("%s is damaged and is written anew: %s", self._kept, type(error).__name__)
            return
        known = {str(change.sequence): change for change in (*self._left, *self._settings)}
        self._codes = {known[text]: str(code) for text, code in codes.items() if text in known}
        self._add_settings(list(self._codes))
        self._left = [change for change in self._left if change not in self._codes]

    def _keep(self) -> None:
        if self._kept is not None:
            codes = {str(change.sequence): code for change, code in self._codes.items()}
            write_text_atomically(self._kept, json.dumps({"baseline": self._baseline, "codes": codes}, indent=1) + "\n")


_SCREENS: RecentCache[Screen] = RecentCache(64)


def screen(program: Program, measurer: PassMeasurer, experimental: bool = False) -> Screen:
    """Compiles a program with each step by itself, on all cores, however long that takes; once a process.

    Args:
        program: which.
        measurer: compiles; what crashes or takes too long is left out.
        experimental: whether steps that are held back are tried, too.
    """

    def whole() -> Screen:
        screening = Screening(program, measurer, experimental)
        while screening.advance():
            pass
        return screening.screen

    return _SCREENS.get((program.hash, measurer.has_polly, experimental), whole)


__all__ = ["LEVELS", "Change", "Screen", "Screening", "active", "make_screen", "screen"]
