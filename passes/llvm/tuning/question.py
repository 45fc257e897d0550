"""What a language model is asked: the steps to choose from, counts of the program, what was measured, and the skills
that apply.

It is made of counts and of the names of steps alone, so that the same question can be asked of a program in a search
and of one in a record of evidence.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from collections.abc import Sequence as Many

from foretune.passes.language.asking import worth_showing
from foretune.passes.language.llm_client import Message
from foretune.passes.llvm.actions import BASELINE, INTENTS, PassSequence, Step
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tables import HINT, O3_WITH, usable_flags, usable_passes
from foretune.passes.llvm.tuning.changes import CORES, LEVELS
from foretune.passes.llvm.tuning.macros import Macro, applicable_macros
from foretune.passes.llvm.tuning.screening import active
from foretune.passes.llvm.tuning.skills import Skill, applicable

MAX_PROPOSALS = 32
_ASKED_FOR = 12  # of one answer, which has only so many tokens; several are asked for

_SYSTEM = f"""You tune the pass sequence of a C program for LLVM's `opt`. You get the passes and flags to choose \
from, counts of its unoptimised IR, the speed of sequences that were measured, and skills that apply. Propose up to \
{_ASKED_FOR} different sequences that may run faster than all of those. A sequence is passes before a level, the \
level, passes after it, and flags; a macro may stand in place of the level. Combine what helped, leave out what hurt, \
follow one intent each. Never repeat a measured sequence."""


def make_question(
    features: Many[float],
    polly: bool = True,
    steps: Collection[Step] | None = None,
    costs: Iterable[tuple[PassSequence, float]] = ((BASELINE, 1.0),),
    experimental: bool = False,
    intents: Many[str] = (),
    refused: Many[str] = (),
) -> list[Message]:
    """The question about a program.

    Args:
        features: counts in the order of `observe.FEATURES`.
        polly: whether Polly may be used.
        steps: those that may change the program's code, where that is known; they alone are shown.
        costs: what was measured, relative to `-O3`; lower is better.
        experimental: whether steps that are held back may be used.
        intents: that this answer shall follow; all, if there are none.
        refused: what was refused of earlier answers, and why.
    """
    counts = {name: round(number) for name, number in zip(FEATURES, features) if number}
    trials = [f"{1 / cost:.3f}x: {sequence}" for sequence, cost in worth_showing(costs)]
    skills = [_tell(skill) for skill in skills_for(features, polly, steps, experimental)]
    macros = [_tell_macro(macro) for macro in applicable_macros(features, polly, experimental)]
    task = {
        **_choices(polly, steps, experimental),
        "macros": macros,
        "counts": counts,
        "measured speed relative to -O3, best first": trials,
        "skills that apply": skills,
    }
    if intents:
        task["follow mainly"] = list(intents)
    if refused:
        task["refused of your last answers"] = list(refused)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": json.dumps(task, indent=1)}]


def intents_of(sample: int, num_samples: int) -> tuple[str, ...]:
    """What one of several answers shall follow, so that they differ; nothing if there is only one."""
    return INTENTS[sample::num_samples] if num_samples > 1 else ()


def skills_for(
    features: Many[float], polly: bool = True, steps: Collection[Step] | None = None, experimental: bool = False
) -> list[Skill]:
    """The skills that apply, and that change the program's code as far as that is known."""
    return [
        skill
        for skill in applicable(features, polly, experimental)
        if steps is None or active(skill.steps, steps) != BASELINE
    ]


def _choices(polly: bool, steps: Collection[Step] | None, experimental: bool) -> dict[str, list[str]]:
    if steps is None:
        passes = [
            name for name, kind in usable_passes(experimental).items() if name not in CORES and kind.level != HINT
        ]
        return {
            "passes": passes,
            "flags": [
                f"-{name}={'|'.join(_word(v) for v in kind.values)}"
                for name, kind in usable_flags(polly, experimental).items()
            ],
        }
    texts = sorted(map(str, steps))
    return {
        "passes": [s for s in texts if not s.startswith("-") and s.partition("<")[0] != O3_WITH and s not in LEVELS],
        "flags": [s for s in texts if s.startswith("-")],
    }


def _word(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tell(skill: Skill) -> str:
    return f"{skill.name} ({skill.intent}): when {skill.when}; {skill.why}. opt {skill.steps}"


def _tell_macro(macro: Macro) -> str:
    return f"{macro.name} ({', '.join(macro.intents)}): {macro.why}. opt {macro.sequence}"
