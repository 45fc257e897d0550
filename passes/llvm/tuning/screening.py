"""Screening: which steps change a program's machine code at all, found out by compiling, without a single run.

Of the passes and flags that LLVM has, most do nothing to a given program beside `-O3`, and several do the same. A search that knows
spends its measurements on what differs. Compiling is not measuring: it takes a fraction of the time, and no quiet machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from foretune.passes.llvm.actions import BASELINE, FLAGS, PASSES, Flag, Pass, PassSequence, Step
from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program
from foretune.support.cache import RecentCache

LEVELS = ("default<O3>", "default<O2>", "default<O1>", "default<Os>", "default<Oz>")
_COMPANIONS = {  # flags that do nothing without others
    "unroll-and-jam-count": (Flag("enable-unroll-and-jam", True), Flag("allow-unroll-and-jam", True)),
    "allow-unroll-and-jam": (Flag("enable-unroll-and-jam", True),),
    "loop-interchange-threshold": (Flag("enable-loopinterchange", True),),
    "polly-2nd-level-tiling": (Flag("polly", True), Flag("polly-default-tile-size", 64)),
}
_POLLY, _UNPROFITABLE = (Flag("polly", True),), Flag("polly-process-unprofitable", True)


@dataclass(frozen=True)
class Change:
    """What one step does to `-O3`.

    Attributes:
        sequence: `-O3` with the step, and with what it needs.
        intents: of the step.
    """

    sequence: PassSequence
    intents: tuple[str, ...]


@dataclass(frozen=True)
class Screen:
    """Changes that give different machine code.

    Attributes:
        classes: changes that give the same code stand together.
        num_tried: changes that were compiled.
    """

    classes: tuple[tuple[Change, ...], ...]
    num_tried: int

    @cached_property
    def steps(self) -> frozenset[Step]:
        """The steps of all changes."""
        return frozenset(step for members in self.classes for change in members for step in (*change.sequence.passes, *change.sequence.flags))

    def active(self, sequence: PassSequence) -> PassSequence:
        """What is left of a sequence without the steps that change nothing by themselves; passes with options count as those without."""
        return active(sequence, self.steps)

    def of_intent(self, intent: str) -> tuple[tuple[Change, ...], ...]:
        """Classes with a change that has an intent."""
        return tuple(members for members in self.classes if any(intent in change.intents for change in members))


def active(sequence: PassSequence, steps: Collection[Step]) -> PassSequence:
    """What is left of a sequence with certain steps alone, beside whole pipelines; passes with options count as those without."""
    passes = tuple(step for step in sequence.passes if step.name in LEVELS or Pass(step.name) in steps)
    return PassSequence(passes, tuple(flag for flag in sequence.flags if flag in steps))


_SCREENS: RecentCache[Screen] = RecentCache(64)


def screen(program: Program, measurer: PassMeasurer) -> Screen:
    """Compiles a program with each step by itself, on all cores; once a process.

    Args:
        program: which.
        measurer: compiles; what crashes or takes too long is left out.
    """
    return _SCREENS.get((program.hash, measurer.has_polly), lambda: _screen(program, measurer))


def _screen(program: Program, measurer: PassMeasurer) -> Screen:
    classes: dict[str, list[Change]] = defaultdict(list)
    plain = [*_flag_changes(polly=False), *_pass_changes()]
    settings = _flag_changes(polly=True) if measurer.has_polly else []
    polly = [Change(PassSequence(BASELINE.passes, _POLLY), FLAGS["polly"].intents), *(c for c in settings if _UNPROFITABLE in c.sequence.flags)] if settings else []
    baseline, *hashes = measurer.compiler.code_hashes(program, [BASELINE, *(change.sequence for change in (*plain, *polly))])
    tried = [*zip((*plain, *polly), hashes)]
    if any(code not in ("", baseline) for code in hashes[len(plain) :]):  # where Polly finds nothing to do, its settings do nothing either
        settings = [change for change in settings if change not in polly]
        tried += zip(settings, measurer.compiler.code_hashes(program, [change.sequence for change in settings]))
    for change, code in tried:
        if code not in ("", baseline):
            classes[code].append(change)
    return Screen(tuple(map(tuple, classes.values())), len(tried))


def _flag_changes(polly: bool) -> list[Change]:
    found = []
    for name, kind in FLAGS.items():
        if kind.polly != polly or name == "polly":
            continue
        with_it = _COMPANIONS.get(name, _POLLY if polly else ())
        found += [Change(PassSequence(BASELINE.passes, (*with_it, Flag(name, value))), kind.intents) for value in kind.values]
    return found


def _pass_changes() -> list[Change]:
    found = [Change(PassSequence((Pass(name),)), PASSES[name].intents) for name in LEVELS[1:]]
    for name, kind in PASSES.items():
        if name not in LEVELS:
            found += [Change(PassSequence(passes), kind.intents) for passes in ((Pass(name), *BASELINE.passes), (*BASELINE.passes, Pass(name)))]
    return found
