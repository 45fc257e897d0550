"""Tuning skills: short recipes from compiler knowledge, each with the counts that say when it may apply.

A skill is executable: it has the flags and passes that it recommends. They serve as first suggestions of a search
without any language model, and as the knowledge that a model is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foretune.passes.llvm.actions import Flag, Pass
from foretune.passes.llvm.actions import PassSequence as Steps
from foretune.passes.llvm.observe import FEATURES

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Skill:
    """One recipe.

    Attributes:
        name: short.
        intent: of `INTENTS`.
        when: in words, for a reader.
        applies: the same as a condition on a module's counts.
        why: what it does to the machine code.
        steps: before and after `-O3`, and flags.
    """

    name: str
    intent: str
    when: str
    applies: Callable[[Counts], bool]
    why: str
    steps: Steps


def _o3(*flags: Flag, before: Sequence[Pass] = (), after: Sequence[Pass] = (), level: str = "O3") -> Steps:
    return Steps((*before, Pass(f"default<{level}>"), *after), flags)


def _floats(counts: Counts) -> float:
    return counts["float_add"] + counts["float_mul"] + counts["float_div"]


SKILLS = (
    Skill(
        "wide-vectors",
        "vectorize",
        "loops over arrays of floats or bytes",
        lambda c: c["loops"] > 0 and c["loop_load"] > 0,
        "uses 512-bit registers where the processor's tuning prefers 256",
        _o3(Flag("mattr", "-prefer-256-bit")),
    ),
    Skill(
        "interleave-more",
        "vectorize",
        "short loop bodies with few chains of dependence",
        lambda c: c["loops"] > 0 and c["instructions_innermost"] < 400,
        "several vectors in flight hide latency",
        _o3(Flag("force-vector-interleave", 4)),
    ),
    Skill(
        "narrow-types-first",
        "vectorize",
        "bytes or 16-bit numbers",
        lambda c: c["int_cast"] > 0 and c["loop_load"] > 0,
        "picks the vector width by the narrowest type",
        _o3(Flag("vectorizer-maximize-bandwidth", True)),
    ),
    Skill(
        "no-straight-line-vectors",
        "vectorize",
        "long stretches of arithmetic without loops, such as rounds of a cipher",
        lambda c: c["logic"] + c["shift"] > 20,
        "moves between vector and scalar registers may cost more than vectors save",
        _o3(Flag("vectorize-slp", False)),
    ),
    Skill(
        "no-loop-vectors",
        "vectorize",
        "loops that run a few times only",
        lambda c: c["loops"] > 2,
        "vector code has a prologue and an epilogue, which short loops never leave",
        _o3(Flag("vectorize-loops", False)),
    ),
    Skill(
        "unroll-by-four",
        "unroll",
        "small innermost loops",
        lambda c: c["loops"] > 0,
        "fewer branches, more to schedule",
        _o3(Flag("unroll-count", 4), Flag("unroll-runtime", True)),
    ),
    Skill(
        "unroll-less",
        "unroll",
        "big bodies, many loops",
        lambda c: c["instructions_in_loops"] > 300,
        "unrolled bodies spill registers and miss the instruction cache",
        _o3(Flag("unroll-threshold", 50), Flag("unroll-runtime", False)),
    ),
    Skill(
        "unroll-fully",
        "unroll",
        "loops of constant length, such as rounds of a cipher",
        lambda c: c["constants"] > 50,
        "constants fold once the counter is known",
        _o3(Flag("unroll-threshold", 1200), Flag("unroll-full-max-count", 64)),
    ),
    Skill(
        "unroll-and-jam",
        "tile",
        "nests of two or more loops over arrays",
        lambda c: c["loop_depth"] > 1,
        "outer iterations share what inner ones load",
        _o3(Flag("enable-unroll-and-jam", True), Flag("allow-unroll-and-jam", True)),
    ),
    Skill(
        "interchange",
        "tile",
        "nests that walk memory with large strides",
        lambda c: c["loop_depth"] > 1,
        "neighbouring iterations touch neighbouring memory",
        _o3(Flag("enable-loopinterchange", True)),
    ),
    Skill(
        "polly-tiles",
        "tile",
        "nests of affine loops over large arrays",
        lambda c: c["loop_depth"] > 1 and c["loop_load"] > 2,
        "Polly tiles loops for the caches",
        _o3(Flag("polly", True)),
    ),
    Skill(
        "distribute",
        "tile",
        "loops that do several things, some of which depend on earlier iterations",
        lambda c: c["loop_store"] > 1,
        "the independent part vectorizes once it is alone",
        _o3(Flag("enable-loop-distribute", True)),
    ),
    Skill(
        "inline-more",
        "inline",
        "many calls of small functions",
        lambda c: c["direct_calls"] > 5,
        "what a call hides becomes visible to all later passes",
        _o3(Flag("inline-threshold", 1000)),
    ),
    Skill(
        "inline-less",
        "inline",
        "large functions, recursion",
        lambda c: c["functions"] > 6 and c["instructions"] > 600,
        "keeps hot loops in registers and in the instruction cache",
        _o3(Flag("inline-threshold", 25)),
    ),
    Skill(
        "conditional-moves",
        "simplify",
        "branches on data that nobody can predict: sorting, searching, dynamic programming",
        lambda c: c["loop_branch"] > 4 or c["select"] > 0,
        "keeps moves that the back end would turn into branches",
        _o3(Flag("x86-cmov-converter", False)),
    ),
    Skill(
        "fold-branches",
        "simplify",
        "small if-statements in loops",
        lambda c: c["loop_branch"] > 6,
        "turns short branches into selects",
        _o3(Flag("two-entry-phi-node-folding-threshold", 16), Flag("phi-node-folding-threshold", 8)),
    ),
    Skill(
        "keep-branches",
        "simplify",
        "branches that are nearly always taken the same way",
        lambda c: c["loop_branch"] > 6,
        "a well-predicted branch is cheaper than computing both sides",
        _o3(Flag("two-entry-phi-node-folding-threshold", 0), Flag("phi-node-folding-threshold", 0)),
    ),
    Skill(
        "align-blocks",
        "simplify",
        "tight loops",
        lambda c: c["loops"] > 0,
        "loops begin at the start of a fetch window",
        _o3(Flag("align-all-nofallthru-blocks", 5)),
    ),
    Skill(
        "no-strength-reduction",
        "simplify",
        "many address computations",
        lambda c: c["address"] > 20,
        "keeps plain indexed addressing",
        _o3(Flag("disable-lsr", True)),
    ),
    Skill(
        "version-for-aliases",
        "memory",
        "stores through pointers that may alias",
        lambda c: c["loop_store"] > 0 and c["pointer_values"] > 10,
        "a check at run time lets loads leave the loop",
        _o3(Flag("enable-loop-versioning-licm", True)),
    ),
    Skill(
        "hoist-loads",
        "memory",
        "both sides of branches load the same",
        lambda c: c["branch"] > 10,
        "loads once, before the branch",
        _o3(Flag("enable-gvn-hoist", True)),
    ),
    Skill(
        "prefetch",
        "memory",
        "long walks through memory",
        lambda c: c["loop_load"] > 4,
        "asks for data some iterations ahead",
        _o3(after=(Pass("loop-data-prefetch"),)),
    ),
    Skill(
        "size-level",
        "reduce-size",
        "code that suffers from unrolling and inlining",
        lambda c: True,
        "smaller code may run faster",
        _o3(level="Oz"),
    ),
    Skill(
        "second-level",
        "reduce-size",
        "the same, milder",
        lambda c: True,
        "O2 unrolls and inlines less",
        _o3(level="O2"),
    ),
    Skill(
        "twice",
        "simplify",
        "code that inlining or unrolling opens up",
        lambda c: True,
        "a second round sees what the first made",
        _o3(after=(Pass("default<O3>"),)),
    ),
)


def applicable(features: Sequence[float], polly: bool = True, experimental: bool = False) -> list[Skill]:
    """The skills whose condition holds.

    Args:
        features: counts in the order of `observe.FEATURES`.
        polly: whether Polly may be used.
        experimental: whether steps that are held back may be used.
    """
    counts = dict(zip(FEATURES, features))
    usable = [s for s in SKILLS if (polly or not s.steps.uses_polly) and (experimental or not s.steps.held_back)]
    return [skill for skill in usable if skill.applies(counts)]
