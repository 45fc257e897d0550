"""Changes: what can be done to `-O3` in one step, in the order in which it is worth trying."""

from __future__ import annotations

from dataclasses import dataclass

from foretune.passes.llvm.actions import BASELINE, Flag, Pass, PassSequence, Step
from foretune.passes.llvm.tables import FLAGS, HINT, O3_WITH, PASSES, usable_flags, usable_passes
from foretune.passes.llvm.tuning.macros import usable_macros

LEVELS = ("default<O3>", "default<O2>", "default<O1>", "default<Os>", "default<Oz>")
CORES = (*LEVELS, O3_WITH)  # what stands for the level of a sequence
_INSIDE = {  # what is worth a try at each point of O3_WITH
    "after-inliner": "gvn licm loop-versioning reassociate nary-reassociate dse loop-unroll-full slp-vectorizer",
    "before-vectorizer": "loop-versioning licm gvn reassociate loop-unroll slp-vectorizer loop-load-elim sink",
    "before-slp": "loop-vectorize gvn licm reassociate early-cse loop-unroll",
    "before-unroller": "gvn licm loop-vectorize reassociate loop-data-prefetch slsr",
}
_HINTED = 3  # of the hottest loops and functions
_HINTS = {"width": (1, 4, 8), "interleave": (1, 2, 4), "unroll": (1, 2, 4, 8), "jam": (4, 8), "distribute": (True,)}
_JAM = (Flag("enable-unroll-and-jam", True), Flag("allow-unroll-and-jam", True))
_COMPANIONS = {  # flags that do nothing without others
    "unroll-and-jam-count": _JAM,
    "unroll-and-jam-threshold": (*_JAM, Flag("unroll-and-jam-count", 8)),
    "allow-unroll-and-jam": (Flag("enable-unroll-and-jam", True),),
    "loop-interchange-threshold": (Flag("enable-loopinterchange", True),),
    "polly-2nd-level-tiling": (Flag("polly", True), Flag("polly-default-tile-size", 64)),
}
_POLLY, _UNPROFITABLE = (Flag("polly", True),), Flag("polly-process-unprofitable", True)


@dataclass(frozen=True)
class Change:
    """What one step does to `-O3`, or one macro in its place.

    Attributes:
        sequence: `-O3` with the step, and with what it needs.
        intents: of the step.
    """

    sequence: PassSequence
    intents: tuple[str, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the sequence."""
        return (*self.sequence.passes, *self.sequence.flags)


def changes(polly: bool, experimental: bool = False, relaxed: bool = False) -> list[Change]:
    """All changes but Polly's settings, in the order of what they promise: macros, levels, flags, passes.

    Args:
        polly: whether Polly is there.
        experimental: whether steps that are held back may be used.
        relaxed: whether the program has a tolerance; then less than all of `-ffast-math` is a change.
    """
    found = [Change(macro.sequence, macro.intents) for macro in usable_macros(polly, experimental)]
    found += [Change(PassSequence((Pass(name),)), PASSES[name].intents) for name in LEVELS[1:]]
    found += _relaxations() if relaxed else ()
    found += _flag_changes(experimental)
    if polly:
        found.append(Change(PassSequence(BASELINE.passes, _POLLY), FLAGS["polly"].intents))
        found += [change for change in polly_settings() if _UNPROFITABLE in change.sequence.flags]
    for name, kind in usable_passes(experimental).items():
        if name not in CORES and kind.level != HINT:
            found += [
                Change(PassSequence(passes), kind.intents)
                for passes in ((Pass(name), *BASELINE.passes), (*BASELINE.passes, Pass(name)))
            ]
    found += [
        Change(PassSequence((Pass(O3_WITH, ((point, name),)),)), PASSES[name].intents)
        for point, names in _INSIDE.items()
        for name in names.split()
    ]
    found += _hints()
    by_sequence: dict[PassSequence, tuple[str, ...]] = {}
    for change in found:
        by_sequence[change.sequence] = tuple(dict.fromkeys((*by_sequence.get(change.sequence, ()), *change.intents)))
    return [Change(sequence, intents) for sequence, intents in by_sequence.items()]


def polly_settings() -> list[Change]:
    """Polly's settings, which do nothing where Polly finds nothing to do."""
    return [
        _flag_change(name, value)
        for name, kind in FLAGS.items()
        if kind.polly and name != "polly"
        for value in kind.values
    ]


def _hints() -> list[Change]:
    """Decisions for one loop or function; loops are jammed inside `-O3`."""
    inside = (Pass(O3_WITH, (("before-vectorizer", "loop-unroll-and-jam"),)),)
    loops = [
        ((Pass("loop-hint", (("at", at), (name, value))), *(inside if name == "jam" else BASELINE.passes)))
        for at in range(_HINTED)
        for name, values in _HINTS.items()
        for value in values
    ]
    functions = [
        (Pass("function-hint", (("at", at), ("kind", kind))), *BASELINE.passes)
        for at in range(_HINTED)
        for kind in ("always-inline", "no-inline")
    ]
    errno = (Pass("no-math-errno"), *BASELINE.passes)
    return [Change(PassSequence(passes), PASSES[passes[0].name].intents) for passes in (*loops, *functions, errno)]


def _relaxations() -> list[Change]:
    """`-O3` with each part of `-ffast-math` alone, without each, and with none."""
    kind = PASSES["fast-math"]
    without = [tuple((name, other == name) for name in kind.switches) for other in (*kind.switches, "")]
    without += [((name, False),) for name in kind.switches]
    return [Change(PassSequence((Pass("fast-math", row), *BASELINE.passes)), kind.intents) for row in without]


def _flag_changes(experimental: bool) -> list[Change]:
    return [
        _flag_change(name, value) for name, kind in usable_flags(False, experimental).items() for value in kind.values
    ]


def _flag_change(name: str, value: bool | int | str) -> Change:
    with_it = _COMPANIONS.get(name, _POLLY if FLAGS[name].polly else ())
    return Change(PassSequence(BASELINE.passes, (*with_it, Flag(name, value))), FLAGS[name].intents)
