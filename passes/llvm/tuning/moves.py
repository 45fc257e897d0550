"""Moves between sequences: what a search may change, and with which intent.

A sequence here has LLVM's own `-O3` in it (or another level's pipeline), with passes before and after it, and flags. Starting from
`-O3` is what makes a few dozen measurements enough: sequences made of single passes alone are far slower than it at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import numpy as np

from foretune.passes.llvm.actions import BASELINE, FLAGS, INTENTS, PASSES, Flag, Pass, PassKind, PassSequence
from foretune.passes.llvm.tuning.screening import LEVELS, Change, Screen

BASE = BASELINE  # where moves start
MAX_PASSES, MAX_FLAGS = 24, 12

_FLAGS_OF = {intent: [name for name, kind in FLAGS.items() if intent in kind.intents] for intent in INTENTS}
_PASSES_OF = {intent: [name for name, kind in PASSES.items() if intent in kind.intents and name not in LEVELS] for intent in INTENTS}
_SETS_FLAG = 0.6  # of the moves; the others change passes
_DROPS, _CHANGES_LEVEL = 0.25, 0.03
_SCREENED = 0.9  # of the moves, where it is known which steps change the code; the others may matter together


class Moves:
    """Random moves, from one generator.

    Args:
        rng: numbers.
        polly: whether Polly's flags may be set.
        weights: intent -> how often moves follow it, relative to the others; all alike by default.
        screen: which steps change the program's code; moves keep to those, most of the time.
    """

    def __init__(self, rng: np.random.Generator, polly: bool = True, weights: Mapping[str, float] | None = None, screen: Screen | None = None) -> None:
        self._rng, self._polly, self._screen = rng, polly, screen
        self.weights = {intent: 1.0 if weights is None else weights.get(intent, 0.0) for intent in INTENTS}

    def random(self, num_moves: int) -> PassSequence:
        """A sequence some moves away from `-O3`."""
        sequence = BASE
        for _ in range(num_moves):
            sequence, _ = self.mutate(sequence, drop=False)
        return sequence

    def mutate(self, sequence: PassSequence, drop: bool = True) -> tuple[PassSequence, str]:
        """One move.

        Args:
            sequence: from where.
            drop: whether a move may take something away.

        Returns:
            (the neighbour, the intent that was followed; empty where something was dropped).
        """
        if drop and self._rng.random() < _DROPS and (sequence.flags or len(sequence.passes) > 1):
            return self._dropped(sequence), ""
        shares = np.array([self.weights[intent] for intent in INTENTS])
        intent = INTENTS[self._rng.choice(len(INTENTS), p=shares / shares.sum())]
        if self._screen is not None and self._rng.random() < _SCREENED and (classes := self._screen.of_intent(intent)):
            return apply(sequence, self._member(classes[self._rng.integers(len(classes))])), intent
        if drop and self._rng.random() < _CHANGES_LEVEL:
            return self._with_level(sequence), "reduce-size"
        if self._rng.random() < _SETS_FLAG and len(sequence.flags) < MAX_FLAGS and (names := self._flags(intent)):
            return PassSequence(sequence.passes, (*sequence.flags, *self._random_flag(names))), intent
        if len(sequence.passes) >= MAX_PASSES:
            return self._dropped(sequence), ""
        step = self._random_pass(_PASSES_OF[intent])
        at = int(self._rng.integers(len(sequence.passes) + 1))
        return PassSequence((*sequence.passes[:at], step, *sequence.passes[at:]), sequence.flags), intent

    def singles(self) -> list[PassSequence]:
        """`-O3` with each step that changes the code by itself, one of those that change it alike; empty without a screen."""
        return [self._member(members).sequence for members in self._screen.classes] if self._screen is not None else []

    def _member(self, changes: Many[Change]) -> Change:
        return changes[self._rng.integers(len(changes))]

    def cross(self, one: PassSequence, other: PassSequence) -> PassSequence:
        """A child: passes before and after the pipeline from either parent, flags from both by chance."""
        first, second = (one, other) if self._rng.random() < 0.5 else (other, one)
        cut_one, cut_two = _level_at(first), _level_at(second)
        passes = (*first.passes[: cut_one + 1], *second.passes[cut_two + 1 :])
        flags = {flag.name: flag for flag in (*one.flags, *other.flags)}
        shared = {flag.name for flag in one.flags} & {flag.name for flag in other.flags}
        kept = tuple(flag for name, flag in flags.items() if name in shared or self._rng.random() < 0.6)
        return PassSequence(passes[:MAX_PASSES], kept[:MAX_FLAGS])

    def _flags(self, intent: str) -> list[str]:
        return [name for name in _FLAGS_OF[intent] if self._polly or not FLAGS[name].polly]

    def _random_flag(self, names: list[str]) -> tuple[Flag, ...]:
        name = names[self._rng.integers(len(names))]
        values = FLAGS[name].values
        flag = Flag(name, values[self._rng.integers(len(values))])
        return (Flag("polly", True), flag) if flag.kind.polly else (flag,)

    def _random_pass(self, names: list[str]) -> Pass:
        name = names[self._rng.integers(len(names))]
        return Pass(name, self._random_options(PASSES[name]))

    def _random_options(self, kind: PassKind) -> tuple[tuple[str, bool | int | str], ...]:
        choices = [(name, (True, False)) for name in kind.switches] + [*dict(kind.numbers).items()] + [*dict(kind.words).items()]
        return tuple((name, values[self._rng.integers(len(values))]) for name, values in choices if self._rng.random() < 0.3)

    def _dropped(self, sequence: PassSequence) -> PassSequence:
        removable = [i for i, step in enumerate(sequence.passes) if step.name not in LEVELS]
        which = int(self._rng.integers(len(removable) + len(sequence.flags))) if removable or sequence.flags else 0
        if which < len(removable):
            at = removable[which]
            return PassSequence((*sequence.passes[:at], *sequence.passes[at + 1 :]), sequence.flags)
        gone = sequence.flags[which - len(removable)] if sequence.flags else None
        return PassSequence(sequence.passes, tuple(flag for flag in sequence.flags if flag is not gone))

    def _with_level(self, sequence: PassSequence) -> PassSequence:
        at = _level_at(sequence)
        level = Pass(LEVELS[self._rng.integers(len(LEVELS))])
        return PassSequence((*sequence.passes[:at], level, *sequence.passes[at + 1 :]), sequence.flags)


def apply(sequence: PassSequence, change: Change) -> PassSequence:
    """A sequence with one more change: its passes before or after the pipeline, or its pipeline instead, and its flags."""
    at, other = _level_at(sequence), change.sequence.passes
    cut = _level_at(change.sequence)
    level = other[cut : cut + 1] if cut < len(other) and other[cut] != BASE.passes[0] else sequence.passes[at : at + 1]
    passes = (*sequence.passes[:at], *other[:cut], *level, *other[cut + 1 :], *sequence.passes[at + 1 :])
    flags = (*sequence.flags, *change.sequence.flags)
    if len(passes) > MAX_PASSES or len(flags) > MAX_FLAGS + 4:
        return sequence
    return PassSequence(passes, flags)


def _level_at(sequence: PassSequence) -> int:
    """Where the pipeline stands; the end, if there is none."""
    return next((i for i, step in enumerate(sequence.passes) if step.name in LEVELS), len(sequence.passes))
