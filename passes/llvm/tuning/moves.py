"""Moves between sequences: what a search may change, and with which intent.

A sequence here has a core, LLVM's own `-O3` (or another level's pipeline, or two in sequence, or a macro), with passes
before and after it, and flags. Starting from `-O3` is what makes a few dozen measurements enough: sequences made of
single passes alone are far slower at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many

import numpy as np

from foretune.passes.llvm.actions import BASELINE, FLAGS, INTENTS, PASSES, Flag, Pass, PassKind, PassSequence
from foretune.passes.llvm.tables import HINT, O3_WITH, usable_flags, usable_passes
from foretune.passes.llvm.tuning.changes import CORES, LEVELS, Change
from foretune.passes.llvm.tuning.macros import usable_macros
from foretune.passes.llvm.tuning.screening import Screen
from foretune.tuning import search

BASE = BASELINE  # where moves start
MAX_PASSES, MAX_FLAGS, MAX_LEVELS = 24, 12, 2

_SETS_FLAG = 0.6  # of the moves; the others change passes
_DROPS, _CHANGES_LEVEL = 0.25, 0.03
_ADDS_LEVEL, _USES_MACRO = 0.03, 0.05
_SCREENED = 0.9  # of the moves, where it is known which steps change the code; the others may matter together


class Moves(search.Moves[PassSequence]):
    """Random moves, from one generator.

    Args:
        rng: numbers.
        polly: whether Polly's flags may be set.
        weights: intent -> how often moves follow it, relative to the others; all alike by default.
        screen: which steps change the program's code; moves keep to those, most of the time.
        experimental: whether steps that are held back may be taken.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        polly: bool = True,
        weights: Mapping[str, float] | None = None,
        screen: Screen | None = None,
        experimental: bool = False,
    ) -> None:
        super().__init__(rng, BASE)
        self._rng, self.screen = rng, screen
        self._polly, self._experimental = polly, experimental
        flags, passes = usable_flags(polly, experimental), usable_passes(experimental)
        self._flags_of = {
            intent: [name for name, kind in flags.items() if intent in kind.intents] for intent in INTENTS
        }
        self._passes_of = {
            intent: [name for name, kind in passes.items() if intent in kind.intents and _stands_alone(name, kind)]
            for intent in INTENTS
        }
        self._macros_of = {
            intent: [m for m in usable_macros(polly, experimental) if intent in m.intents] for intent in INTENTS
        }
        self.weights = {intent: 1.0 if weights is None else weights.get(intent, 0.0) for intent in INTENTS}

    def random(self, most: int = search.FAR) -> PassSequence:
        """A sequence some moves away from `-O3`, so many at most."""
        return self.walk(int(self._rng.integers(1, most + 1)))

    def walk(self, num_moves: int) -> PassSequence:
        """A sequence so many moves away from `-O3`."""
        sequence = BASE
        for _ in range(num_moves):
            sequence, _ = self.mutate(sequence, drop=False)
        return sequence

    def mutate(self, point: PassSequence, drop: bool = True) -> tuple[PassSequence, str]:
        """One move.

        Args:
            point: from where.
            drop: whether a move may take something away.

        Returns:
            (the neighbour, the intent that was followed; empty where something was dropped).
        """
        if drop and self._rng.random() < _DROPS and (point.flags or len(point.passes) > 1):
            return self._dropped(point), ""
        shares = np.array([self.weights[intent] for intent in INTENTS])
        intent = INTENTS[self._rng.choice(len(INTENTS), p=shares / shares.sum())]
        if self.screen is not None and self._rng.random() < _SCREENED and (classes := self.screen.of_intent(intent)):
            return apply(point, self._member(classes[self._rng.integers(len(classes))])), intent
        if drop and self._rng.random() < _CHANGES_LEVEL:
            return self._with_level(point), "reduce-size"
        if self._rng.random() < _ADDS_LEVEL:
            return self._with_another_level(point), "simplify"
        if self._rng.random() < _USES_MACRO and (macros := self._macros_of[intent]):
            return apply(point, Change(macros[self._rng.integers(len(macros))].sequence, (intent,))), intent
        if self._rng.random() < _SETS_FLAG and len(point.flags) < MAX_FLAGS and (names := self._flags_of[intent]):
            return PassSequence(point.passes, (*point.flags, *self._random_flag(names))), intent
        if len(point.passes) >= MAX_PASSES:
            return self._dropped(point), ""
        step = self._random_pass(self._passes_of[intent])
        at = int(self._rng.integers(len(point.passes) + 1))
        return PassSequence((*point.passes[:at], step, *point.passes[at:]), point.flags), intent

    def singles(self) -> list[PassSequence]:
        """`-O3` with each step that changes the code by itself, one of those that change it alike; empty without a
        screen.
        """
        return [self._member(members).sequence for members in self.screen.classes] if self.screen is not None else []

    def _member(self, changes: Many[Change]) -> Change:
        return changes[int(self._rng.integers(len(changes)))]

    def cross(self, one: PassSequence, other: PassSequence) -> PassSequence:
        """A child: passes before the pipeline and the pipeline from one parent, those after it from the other, flags
        from both by chance.
        """
        first, second = (one, other) if self._rng.random() < 0.5 else (other, one)
        passes = (*first.passes[: _core(first)[1]], *second.passes[_core(second)[1] :])
        flags = {flag.name: flag for flag in (*one.flags, *other.flags)}
        shared = {flag.name for flag in one.flags} & {flag.name for flag in other.flags}
        kept = tuple(flag for name, flag in flags.items() if name in shared or self._rng.random() < 0.6)
        return PassSequence(passes[:MAX_PASSES], kept[:MAX_FLAGS])

    def steps(self, candidate: PassSequence) -> list[Flag | Pass | Change]:
        """One of each class of changes that change the code alike; where that is not known, all flags and passes."""
        if self.screen is not None and self.screen.classes:
            return [members[0] for members in self.screen.classes]
        flags = usable_flags(self._polly, self._experimental).items()
        usable = usable_passes(self._experimental).items()
        passes = [Pass(name) for name, kind in usable if _stands_alone(name, kind)]
        return [*(Flag(name, value) for name, kind in flags for value in kind.values), *passes]

    def take(self, candidate: PassSequence, step: Flag | Pass | Change) -> PassSequence:
        """A sequence with one more step; passes come before or after all others, by chance."""
        if isinstance(step, Change):
            return apply(candidate, step)
        if isinstance(step, Pass):
            last = self._rng.random() < 0.5
            passes = (*candidate.passes, step) if last else (step, *candidate.passes)
            return PassSequence(passes, candidate.flags)
        more = (Flag("polly", True),) if step.kind.polly else ()
        return PassSequence(candidate.passes, (*candidate.flags, *more, step))

    def reward(self, kind: str, gain: float) -> None:
        """Intents that paid are followed more often: a floor keeps each alive, 5 % of gain doubles a weight."""
        paid = (1.0 + 20.0 * gain) * (0.8 if gain == 0 else 1.0)
        self.weights[kind] = max(0.3, 0.8 * self.weights[kind] + 0.2 * paid)

    def essence(self, candidate: PassSequence) -> PassSequence:
        """A sequence without idle steps, where it is known which are."""
        return candidate if self.screen is None else self.screen.active(candidate)

    def are_alike(self, one: PassSequence, other: PassSequence) -> bool:
        """Whether two differ in one step at most."""
        return len({*one.passes, *one.flags} ^ {*other.passes, *other.flags}) <= 1

    def _random_flag(self, names: list[str]) -> tuple[Flag, ...]:
        name = names[self._rng.integers(len(names))]
        values = FLAGS[name].values
        flag = Flag(name, values[self._rng.integers(len(values))])
        return (Flag("polly", True), flag) if flag.kind.polly else (flag,)

    def _random_pass(self, names: list[str]) -> Pass:
        name = names[self._rng.integers(len(names))]
        return Pass(name, self._random_options(PASSES[name]))

    def _random_options(self, kind: PassKind) -> tuple[tuple[str, bool | int | str], ...]:
        choices = (
            [(name, (True, False)) for name in kind.switches]
            + [*dict(kind.numbers).items()]
            + [*dict(kind.words).items()]
        )
        return tuple(
            (name, values[self._rng.integers(len(values))]) for name, values in choices if self._rng.random() < 0.3
        )

    def _dropped(self, sequence: PassSequence) -> PassSequence:
        removable = [i for i, step in enumerate(sequence.passes) if step.name not in LEVELS]
        which = int(self._rng.integers(len(removable) + len(sequence.flags))) if removable or sequence.flags else 0
        if which < len(removable):
            at = removable[which]
            left = BASE.passes if sequence.passes[at].name == O3_WITH else ()
            return PassSequence((*sequence.passes[:at], *left, *sequence.passes[at + 1 :]), sequence.flags)
        gone = sequence.flags[which - len(removable)] if sequence.flags else None
        return PassSequence(sequence.passes, tuple(flag for flag in sequence.flags if flag is not gone))

    def _with_level(self, sequence: PassSequence) -> PassSequence:
        start, end = _core(sequence)
        level = Pass(LEVELS[self._rng.integers(len(LEVELS))])
        return PassSequence((*sequence.passes[:start], level, *sequence.passes[end:]), sequence.flags)

    def _with_another_level(self, sequence: PassSequence) -> PassSequence:
        """Two levels in sequence: `-O3` after what there is, or a lower one before it; one, where there are two
        already.
        """
        start, end = _core(sequence)
        levels = [step for step in sequence.passes[start:end] if step.name in CORES]
        if len(levels) >= MAX_LEVELS:
            return PassSequence((*sequence.passes[:start], levels[-1], *sequence.passes[end:]), sequence.flags)
        if len(sequence.passes) >= MAX_PASSES:
            return sequence
        core = (
            (*sequence.passes[start:end], BASE.passes[0])
            if self._rng.random() < 0.5
            else (Pass("default<O1>"), *sequence.passes[start:end])
        )
        return PassSequence((*sequence.passes[:start], *core, *sequence.passes[end:]), sequence.flags)


def apply(sequence: PassSequence, change: Change) -> PassSequence:
    """A sequence with one more change: its passes before or after the pipeline, or its pipeline instead, and its
    flags.
    """
    (start, end), (other_start, other_end) = _core(sequence), _core(change.sequence)
    other = change.sequence.passes
    core = other[other_start:other_end]
    kept = sequence.passes[start:end] if core in ((), BASE.passes) else core
    if len(core) == 1 and core[0].name == O3_WITH:
        kept = _with_inside(sequence.passes[start:end], core[0])
    passes = (*sequence.passes[:start], *other[:other_start], *kept, *other[other_end:], *sequence.passes[end:])
    flags = PassSequence((), (*sequence.flags, *change.sequence.flags)).flags
    if len(passes) > MAX_PASSES or len(flags) > MAX_FLAGS + 1:
        return sequence
    return PassSequence(passes, flags)


def _stands_alone(name: str, kind: PassKind) -> bool:
    """Whether a pass can be put anywhere; hints and pipelines come by a screen's changes and by macros."""
    return name not in CORES and kind.level != HINT


def _with_inside(core: tuple[Pass, ...], inside: Pass) -> tuple[Pass, ...]:
    """A core with passes inside its last `-O3`; beside those that are there already, at other points."""
    fits = [i for i, step in enumerate(core) if step.name == O3_WITH or step in BASE.passes]
    if not fits:
        return (inside,)
    at = fits[-1]
    options = {**dict(core[at].options), **dict(inside.options)}
    return (*core[:at], Pass(O3_WITH, tuple(options.items())), *core[at + 1 :])


def _core(sequence: PassSequence) -> tuple[int, int]:
    """From the first level to the last one, (start, end); at the end of the passes, if there is none."""
    levels = [i for i, step in enumerate(sequence.passes) if step.name in CORES]
    return (levels[0], levels[-1] + 1) if levels else (len(sequence.passes), len(sequence.passes))
