"""The tables of the grammar: passes and flags of LLVM 22, what they are good for, and which are held back.

Names and options are those of LLVM 22's new pass manager (`opt --print-passes`, `opt --help-list-hidden`). Tiers: what
a search may always use, what it uses only where it is asked to, each with its reason (`opt_in`), what needs a tolerance
(`relaxes`), and what has left the grammar (`LEFT_PASSES`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

MODULE, CGSCC, FUNCTION, LOOP, LOOP_MSSA = "module", "cgscc", "function", "loop", "loop-mssa"
LEVELS = (MODULE, CGSCC, FUNCTION, LOOP, LOOP_MSSA)
HINT = "hint"  # what is written into the module before any pass runs; see `hints.py`

Setting = Union[bool, int, str]


@dataclass(frozen=True)
class PassKind:
    """A pass that LLVM has.

    Attributes:
        level: what its pass manager runs over.
        intents: what it is good for, of `INTENTS`.
        switches: options that are on or off; `no-` before them turns them off.
        numbers: option -> the values worth trying.
        words: option (a name made up here) -> the words that LLVM knows for it.
        places: point inside a pipeline -> the passes that may stand there.
        opt_in: why a search uses it only where it is asked to; empty if it may always.
        relaxes: whether it changes what a program computes, so that it needs a tolerance.
    """

    level: str
    intents: tuple[str, ...]
    switches: tuple[str, ...] = ()
    numbers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    opt_in: str = ""
    relaxes: bool = False


INTENTS = ("vectorize", "unroll", "memory", "inline", "simplify", "tile", "reduce-size")

_V, _U, _M, _I, _S, _T, _R = ((intent,) for intent in INTENTS)

_HOIST = "off by default in LLVM; wrong code in 2021 (llvm-project#49410)"
_INTERCHANGE = "off by default in LLVM 22, which lacks the fixes of llvm-project#202220, #202383 and #203104"
_EXPERIMENTAL = "off by default in LLVM: none of its own pipelines runs it"
_FLATTENS = "off by default in LLVM: none of its own pipelines runs it; wrong code in 2023 (llvm-project#70900)"
_OUTLINES = "off by default in LLVM: it moves code between functions, which exceptions and debuggers see"
_MERGES = "off by default in LLVM: functions that a program compares may get one address"

PASSES: dict[str, PassKind] = {
    # whole pipelines
    **{f"default<{level}>": PassKind(MODULE, ("simplify",)) for level in ("O1", "O2", "O3")},
    **{f"default<{level}>": PassKind(MODULE, ("reduce-size",)) for level in ("Os", "Oz")},
    # modules
    "always-inline": PassKind(MODULE, _I),
    "called-value-propagation": PassKind(MODULE, _S),
    "constmerge": PassKind(MODULE, _R),
    "deadargelim": PassKind(MODULE, _R),
    "elim-avail-extern": PassKind(MODULE, _R),
    "forceattrs": PassKind(MODULE, _S),
    "globaldce": PassKind(MODULE, _R),
    "globalopt": PassKind(MODULE, _M + _S),
    "globalsplit": PassKind(MODULE, _M),
    "hotcoldsplit": PassKind(MODULE, _R, opt_in=_OUTLINES),
    "inferattrs": PassKind(MODULE, _S),
    "inliner-wrapper": PassKind(MODULE, _I),
    "ipsccp": PassKind(MODULE, _S, ("func-spec",)),
    "loop-extract": PassKind(MODULE, _R, opt_in=_OUTLINES),
    "mergefunc": PassKind(MODULE, _R, opt_in=_MERGES),
    "module-inline": PassKind(MODULE, _I, opt_in=_EXPERIMENTAL),
    "partial-inliner": PassKind(MODULE, _I, opt_in=_OUTLINES),
    "recompute-globalsaa": PassKind(MODULE, _M),
    "rel-lookup-table-converter": PassKind(MODULE, _R),
    "rpo-function-attrs": PassKind(MODULE, _S),
    "strip-dead-prototypes": PassKind(MODULE, _R),
    # call graphs
    "argpromotion": PassKind(CGSCC, _I + _M),
    "function-attrs": PassKind(CGSCC, _S),
    "inline": PassKind(CGSCC, _I),
    # functions
    "adce": PassKind(FUNCTION, _S + _R),
    "aggressive-instcombine": PassKind(FUNCTION, _S),
    "alignment-from-assumptions": PassKind(FUNCTION, _M),
    "bdce": PassKind(FUNCTION, _S),
    "break-crit-edges": PassKind(FUNCTION, _S),
    "callsite-splitting": PassKind(FUNCTION, _I, opt_in=_EXPERIMENTAL),
    "chr": PassKind(FUNCTION, _S),
    "consthoist": PassKind(FUNCTION, _R),
    "constraint-elimination": PassKind(FUNCTION, _S),
    "correlated-propagation": PassKind(FUNCTION, _S),
    "dce": PassKind(FUNCTION, _S),
    "div-rem-pairs": PassKind(FUNCTION, _S),
    "dse": PassKind(FUNCTION, _M),
    "early-cse": PassKind(FUNCTION, _S, words={"kind": ("memssa",)}),
    "expand-memcmp": PassKind(FUNCTION, _M),
    "fix-irreducible": PassKind(FUNCTION, _S),
    "flatten-cfg": PassKind(FUNCTION, _S, opt_in=_FLATTENS),
    "float2int": PassKind(FUNCTION, _S),
    "gvn": PassKind(FUNCTION, _S + _M, ("pre", "load-pre", "split-backedge-load-pre", "memoryssa")),
    "gvn-hoist": PassKind(FUNCTION, _M + _R, opt_in=_HOIST),
    "gvn-sink": PassKind(FUNCTION, _R, opt_in=_HOIST),
    "infer-alignment": PassKind(FUNCTION, _M),
    "instcombine": PassKind(FUNCTION, _S, numbers={"max-iterations": (1, 2, 4)}),
    "instsimplify": PassKind(FUNCTION, _S),
    "interleaved-load-combine": PassKind(FUNCTION, _V + _M, opt_in=_EXPERIMENTAL),
    "irce": PassKind(FUNCTION, _S, opt_in=_EXPERIMENTAL),
    "jump-table-to-switch": PassKind(FUNCTION, _S),
    "jump-threading": PassKind(FUNCTION, _S),
    "lcssa": PassKind(FUNCTION, _S),
    "libcalls-shrinkwrap": PassKind(FUNCTION, _S),
    "load-store-vectorizer": PassKind(FUNCTION, _V + _M),
    "loop-data-prefetch": PassKind(FUNCTION, _M),
    "loop-distribute": PassKind(FUNCTION, _V + _T),
    "loop-load-elim": PassKind(FUNCTION, _M),
    "loop-simplify": PassKind(FUNCTION, _S),
    "loop-sink": PassKind(FUNCTION, _M),
    "loop-unroll": PassKind(
        FUNCTION,
        _U,
        ("partial", "peeling", "runtime", "upperbound"),
        {"full-unroll-max": (4, 8, 16, 32)},
        {"level": ("O1", "O2", "O3")},
    ),
    "loop-vectorize": PassKind(FUNCTION, _V, ("interleave-forced-only", "vectorize-forced-only")),
    "loop-versioning": PassKind(FUNCTION, _V + _M),
    "lower-constant-intrinsics": PassKind(FUNCTION, _S),
    "lower-expect": PassKind(FUNCTION, _S),
    "lower-switch": PassKind(FUNCTION, _S),
    "mem2reg": PassKind(FUNCTION, _M),
    "memcpyopt": PassKind(FUNCTION, _M),
    "mergeicmps": PassKind(FUNCTION, _S),
    "mergereturn": PassKind(FUNCTION, _R),
    "mldst-motion": PassKind(FUNCTION, _M, ("split-footer-bb",)),
    "nary-reassociate": PassKind(FUNCTION, _S),
    "partially-inline-libcalls": PassKind(FUNCTION, _I),
    "reassociate": PassKind(FUNCTION, _S),
    "reg2mem": PassKind(FUNCTION, _M),
    "sccp": PassKind(FUNCTION, _S),
    "scalarizer": PassKind(FUNCTION, _V, ("load-store",)),
    "select-optimize": PassKind(FUNCTION, _S),
    "separate-const-offset-from-gep": PassKind(FUNCTION, _M, words={"kind": ("lower-gep",)}),
    "simplifycfg": PassKind(
        FUNCTION,
        _S,
        (
            "forward-switch-cond",
            "hoist-common-insts",
            "keep-loops",
            "simplify-cond-branch",
            "sink-common-insts",
            "speculate-blocks",
            "speculate-unpredictables",
            "switch-range-to-icmp",
            "switch-to-lookup",
        ),
        {"bonus-inst-threshold": (0, 1, 2, 4, 8)},
    ),
    "sink": PassKind(FUNCTION, _M),
    "slp-vectorizer": PassKind(FUNCTION, _V),
    "slsr": PassKind(FUNCTION, _S),
    "speculative-execution": PassKind(FUNCTION, _S),
    "sroa": PassKind(FUNCTION, _M, words={"kind": ("preserve-cfg", "modify-cfg")}),
    "tailcallelim": PassKind(FUNCTION, _I),
    "typepromotion": PassKind(FUNCTION, _S),
    "unify-loop-exits": PassKind(FUNCTION, _S),
    "vector-combine": PassKind(FUNCTION, _V),
    # loops
    "canon-freeze": PassKind(LOOP, _S),
    "indvars": PassKind(LOOP, _S),
    "loop-bound-split": PassKind(LOOP, _S, opt_in=_EXPERIMENTAL),
    "loop-deletion": PassKind(LOOP, _S),
    "loop-idiom": PassKind(LOOP, _M),
    "loop-idiom-vectorize": PassKind(LOOP, _V),
    "loop-instsimplify": PassKind(LOOP_MSSA, _S),
    "loop-interchange": PassKind(LOOP, _T, opt_in=_INTERCHANGE),
    "loop-reduce": PassKind(LOOP, _M + _S),
    "loop-simplifycfg": PassKind(LOOP_MSSA, _S),
    "loop-term-fold": PassKind(LOOP, _S, opt_in=_EXPERIMENTAL),
    "loop-unroll-and-jam": PassKind(LOOP, _U + _T),
    "loop-unroll-full": PassKind(LOOP, _U),
    "loop-versioning-licm": PassKind(LOOP, _M, opt_in=_EXPERIMENTAL),
    "licm": PassKind(LOOP_MSSA, _M, ("allowspeculation",)),
    "lnicm": PassKind(LOOP_MSSA, _M, ("allowspeculation",)),
    "loop-rotate": PassKind(LOOP_MSSA, _S, ("header-duplication",)),
    "simple-loop-unswitch": PassKind(LOOP_MSSA, _S, ("nontrivial", "trivial")),
}

O3_WITH = "o3-with"
"""The pipeline of `-O3` with one more pass at some of its points; `pipelines.py` writes it out for LLVM."""

POINTS = ("after-inliner", "before-vectorizer", "before-slp", "before-unroller")
"""Where passes can be put into it, in order."""

PASSES[O3_WITH] = PassKind(
    MODULE,
    ("vectorize", "unroll", "memory", "simplify", "tile"),
    places=dict.fromkeys(
        POINTS,
        tuple(name for name, kind in PASSES.items() if kind.level in (FUNCTION, LOOP, LOOP_MSSA) and not kind.opt_in),
    ),
)

HOTTEST = 8
"""Loops, and functions, that hints can be given to."""

PASSES |= {
    "loop-hint": PassKind(
        HINT,
        ("vectorize", "unroll", "tile"),
        ("distribute",),
        {
            "at": tuple(range(HOTTEST)),
            "width": (1, 2, 4, 8, 16),
            "interleave": (1, 2, 4, 8),
            "unroll": (1, 2, 4, 8),
            "jam": (2, 4, 8, 16),
        },
    ),
    "function-hint": PassKind(
        HINT,
        ("inline",),
        numbers={"at": tuple(range(HOTTEST))},
        words={"kind": ("always-inline", "no-inline", "cold")},
    ),
    "no-math-errno": PassKind(HINT, ("simplify", "vectorize")),
    "fast-math": PassKind(HINT, ("vectorize", "simplify"), ("reassoc", "contract", "arcp", "afn", "nsz"), relaxes=True),
}
"""Decisions for one of the hottest loops or functions (`at`, the hottest is 0), for all calls of mathematics, and for
all floating-point numbers: what of `-ffast-math` holds for them, all but what is turned off.
"""

REORDERING_HINTS = (
    "width",
    "interleave",
)  # with which LLVM would reorder floating-point sums, unless it is told not to
ORDERED = "-hints-allow-reordering=false"


@dataclass(frozen=True)
class FlagKind:
    """One of LLVM's command-line flags.

    Attributes:
        values: those worth trying; `true` and `false` of a switch.
        intents: what it is good for, of `INTENTS`.
        polly: whether it belongs to Polly, which only `opt` itself has.
        needs: what is printed with it, so that it keeps the meaning of programs.
        opt_in: as of `PassKind`.
    """

    values: tuple[Setting, ...]
    intents: tuple[str, ...]
    polly: bool = False
    needs: tuple[str, ...] = ()
    opt_in: str = ""


_SWITCH = (True, False)

FLAGS: dict[str, FlagKind] = {
    # vectorizers
    "mattr": FlagKind(("+prefer-256-bit", "-prefer-256-bit", "+prefer-128-bit"), _V),
    "enable-cond-stores-vec": FlagKind(_SWITCH, _V),
    "enable-epilogue-vectorization": FlagKind(_SWITCH, _V),
    "enable-interleaved-mem-accesses": FlagKind(_SWITCH, _V + _M),
    "enable-masked-interleaved-mem-accesses": FlagKind((True,), _V + _M),
    "epilogue-vectorization-minimum-VF": FlagKind((2, 4, 8), _V),
    "extra-vectorizer-passes": FlagKind((True,), _V),
    "force-target-instruction-cost": FlagKind((1, 2, 4), _V),
    "force-vector-interleave": FlagKind((1, 2, 4, 8), _V + _U),
    "force-vector-width": FlagKind((1, 2, 4, 8, 16), _V, needs=(ORDERED,)),
    "max-dependences": FlagKind((400, 1000), _V),
    "runtime-memory-check-threshold": FlagKind((16, 32, 128), _V),
    "memory-check-merge-threshold": FlagKind((200, 400), _V),
    "prefer-predicate-over-epilogue": FlagKind(("predicate-else-scalar-epilogue", "scalar-epilogue"), _V),
    "slp-max-reg-size": FlagKind((128, 256, 512), _V),
    "slp-min-tree-size": FlagKind((2, 4), _V),
    "slp-threshold": FlagKind((-20, -10, -5, 5, 20), _V),
    "slp-vectorize-hor-store": FlagKind((True,), _V),
    "slp-schedule-budget": FlagKind((200000, 400000), _V),
    "small-loop-cost": FlagKind((5, 40, 80), _V + _U),
    "vectorize-loops": FlagKind((False,), _V),
    "vectorize-slp": FlagKind((False,), _V),
    "vectorize-num-stores-pred": FlagKind((1, 2, 4), _V),
    "vectorizer-maximize-bandwidth": FlagKind((True,), _V),
    "vectorizer-min-trip-count": FlagKind((4, 8, 32), _V),
    # unrolling; bounded, because large bodies take the code generator minutes
    "unroll-allow-partial": FlagKind(_SWITCH, _U),
    "unroll-allow-peeling": FlagKind(_SWITCH, _U),
    "unroll-count": FlagKind((2, 4, 8), _U),
    "unroll-full-max-count": FlagKind((8, 32, 64), _U),
    "unroll-max-upperbound": FlagKind((4, 16), _U),
    "unroll-partial-threshold": FlagKind((75, 300, 600), _U),
    "unroll-runtime": FlagKind(_SWITCH, _U),
    "unroll-threshold": FlagKind((50, 150, 600, 1200), _U),
    "unroll-max-iteration-count-to-analyze": FlagKind((32, 64), _U),
    # inlining
    "inline-threshold": FlagKind((0, 25, 100, 500, 1000, 2000), _I),
    "inlinehint-threshold": FlagKind((100, 1000), _I),
    "inline-cold-callsite-threshold": FlagKind((0, 200), _I),
    "partial-inlining-extra-penalty": FlagKind((0, 50), _I, opt_in=_OUTLINES),
    # memory
    "enable-gvn-hoist": FlagKind((True,), _M, opt_in=_HOIST),
    "enable-gvn-sink": FlagKind((True,), _M, opt_in=_HOIST),
    "enable-loop-versioning-licm": FlagKind((True,), _M, opt_in=_EXPERIMENTAL),
    "licm-mssa-optimization-cap": FlagKind((1000,), _M),
    "memdep-block-scan-limit": FlagKind((500,), _M),
    "memssa-check-limit": FlagKind((500,), _M),
    "gvn-max-num-deps": FlagKind((500,), _M),
    "enable-scoped-noalias": FlagKind((False,), _M),
    "enable-load-in-loop-pre": FlagKind((False,), _M),
    # loops
    "enable-loop-distribute": FlagKind((True,), _T + _V),
    "enable-loopinterchange": FlagKind((True,), _T, opt_in=_INTERCHANGE),
    "loop-interchange-threshold": FlagKind((-10, 5), _T, opt_in=_INTERCHANGE),
    "enable-unroll-and-jam": FlagKind((True,), _T + _U),
    "allow-unroll-and-jam": FlagKind((True,), _T + _U),
    "unroll-and-jam-count": FlagKind((2, 4, 8, 16), _T + _U),
    "unroll-and-jam-threshold": FlagKind((200, 2000), _T + _U),
    "rotation-max-header-size": FlagKind((0, 64), _S),
    "disable-lsr": FlagKind((True,), _S),
    "lsr-insns-cost": FlagKind((False,), _S),
    "lsr-complexity-limit": FlagKind((1000, 500000), _S),
    # control flow and scalars
    "enable-constraint-elimination": FlagKind((False,), _S),
    "jump-threading-threshold": FlagKind((0, 12, 30), _S),
    "phi-node-folding-threshold": FlagKind((0, 4, 8), _S),
    "two-entry-phi-node-folding-threshold": FlagKind((0, 8, 16), _S),
    "speculate-one-expensive-inst": FlagKind((False,), _S),
    "unswitch-threshold": FlagKind((0, 100, 300), _S),
    "enable-merge-functions": FlagKind((True,), _R, opt_in=_MERGES),
    "hot-cold-split": FlagKind((True,), _R, opt_in=_OUTLINES),
    # code generation
    "align-all-nofallthru-blocks": FlagKind((4, 5), _S),
    "align-loops": FlagKind((16, 32, 64), _S),
    "disable-early-ifcvt": FlagKind((True,), _S),
    "enable-misched": FlagKind((False,), _S),
    "misched-postra": FlagKind((True,), _S),
    "pre-RA-sched": FlagKind(("list-burr", "list-hybrid", "list-ilp", "source"), _S),
    "tail-dup-size": FlagKind((1, 8), _S),
    "tail-dup-placement-threshold": FlagKind((1, 6), _S),
    "x86-cmov-converter": FlagKind((False,), _S),
    "x86-early-ifcvt": FlagKind((True,), _S),
    "disable-select-optimize": FlagKind(_SWITCH, _S),
    # Polly
    "polly": FlagKind((True,), _T + _V, polly=True),
    "polly-tiling": FlagKind((False,), _T, polly=True),
    "polly-default-tile-size": FlagKind((8, 16, 64), _T, polly=True),
    "polly-2nd-level-tiling": FlagKind((True,), _T, polly=True),
    "polly-register-tiling": FlagKind((True,), _T + _U, polly=True),
    "polly-opt-maximize-bands": FlagKind(("yes", "no"), _T, polly=True),
    "polly-pattern-matching-based-opts": FlagKind((False,), _T, polly=True),
    "polly-reschedule": FlagKind((False,), _T, polly=True),
    "polly-process-unprofitable": FlagKind((True,), _T, polly=True),
    "polly-invariant-load-hoisting": FlagKind((True,), _M, polly=True),
    "polly-run-inliner": FlagKind((True,), _I, polly=True),
    "polly-position": FlagKind(("early", "before-vectorizer"), _T, polly=True),
}

LEFT_PASSES: dict[str, str] = {
    **dict.fromkeys(
        ("attributor", "attributor-light", "attributor-cgscc", "attributor-light-cgscc"),
        "wrong code: llvm-project#181103, #224817",
    ),
    "dfa-jump-threading": "wrong code: llvm-project#195088, #211090",
    "iroutliner": "wrong code, and gone from later LLVM: llvm-project#74648, #211971",
    "loop-flatten": "wrong code: llvm-project#212176",
    "loop-fusion": "wrong code: llvm-project#191238",
    "loop-predication": "wrong code: llvm-project#61963",
    "newgvn": "wrong code: llvm-project#56149, #70421",
}
"""Passes that were in the grammar, and why they are no longer: reports of miscompilations that LLVM 22 does not mend.
"""

LEFT_FLAGS: dict[str, str] = {
    "enable-dfa-jump-thread": LEFT_PASSES["dfa-jump-threading"],
    "enable-loop-flatten": LEFT_PASSES["loop-flatten"],
}
"""Flags, likewise."""


def usable_passes(experimental: bool = False) -> dict[str, PassKind]:
    """The passes that a search may use; those that are held back only where it is asked to, and none that changes what
    a program computes.
    """
    return {name: kind for name, kind in PASSES.items() if (experimental or not kind.opt_in) and not kind.relaxes}


def usable_flags(polly: bool = True, experimental: bool = False) -> dict[str, FlagKind]:
    """The flags that a search may use; Polly's where it is there, those that are held back only where it is asked
    to.
    """
    return {
        name: kind for name, kind in FLAGS.items() if (polly or not kind.polly) and (experimental or not kind.opt_in)
    }
