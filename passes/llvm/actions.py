"""What can be done to an LLVM module: the closed grammar of passes, whole pipelines and flags.

A `Pass` is one element of `opt -passes=`, a `Flag` one of LLVM's own command-line flags. Both are frozen values that print as LLVM
reads them, and both can be parsed back. What is not in the tables of this file is no action, whoever proposes it.

No action changes what a program computes, to the last bit: a forced vector width lets LLVM reorder floating-point sums, unless
`-hints-allow-reordering=false` stands beside it. Names and options are those of LLVM 22's new pass manager (`opt --print-passes`, `opt --help-list-hidden`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union

from foretune.errors import IllegalActionError
from foretune.trace import Action, Trace

MODULE, CGSCC, FUNCTION, LOOP, LOOP_MSSA = "module", "cgscc", "function", "loop", "loop-mssa"
LEVELS = (MODULE, CGSCC, FUNCTION, LOOP, LOOP_MSSA)

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
    """

    level: str
    intents: tuple[str, ...]
    switches: tuple[str, ...] = ()
    numbers: Mapping[str, tuple[int, ...]] = ()
    words: Mapping[str, tuple[str, ...]] = ()


INTENTS = ("vectorize", "unroll", "memory", "inline", "simplify", "tile", "reduce-size")

_V, _U, _M, _I, _S, _T, _R = ((intent,) for intent in INTENTS)

PASSES: dict[str, PassKind] = {
    # whole pipelines
    **{f"default<{level}>": PassKind(MODULE, ("simplify",)) for level in ("O1", "O2", "O3")},
    **{f"default<{level}>": PassKind(MODULE, ("reduce-size",)) for level in ("Os", "Oz")},
    # modules
    "always-inline": PassKind(MODULE, _I),
    "attributor": PassKind(MODULE, _S),
    "attributor-light": PassKind(MODULE, _S),
    "called-value-propagation": PassKind(MODULE, _S),
    "constmerge": PassKind(MODULE, _R),
    "deadargelim": PassKind(MODULE, _R),
    "elim-avail-extern": PassKind(MODULE, _R),
    "forceattrs": PassKind(MODULE, _S),
    "globaldce": PassKind(MODULE, _R),
    "globalopt": PassKind(MODULE, _M + _S),
    "globalsplit": PassKind(MODULE, _M),
    "hotcoldsplit": PassKind(MODULE, _R),
    "inferattrs": PassKind(MODULE, _S),
    "inliner-wrapper": PassKind(MODULE, _I),
    "ipsccp": PassKind(MODULE, _S, ("func-spec",)),
    "iroutliner": PassKind(MODULE, _R),
    "loop-extract": PassKind(MODULE, _R),
    "mergefunc": PassKind(MODULE, _R),
    "module-inline": PassKind(MODULE, _I),
    "partial-inliner": PassKind(MODULE, _I),
    "recompute-globalsaa": PassKind(MODULE, _M),
    "rel-lookup-table-converter": PassKind(MODULE, _R),
    "rpo-function-attrs": PassKind(MODULE, _S),
    "strip-dead-prototypes": PassKind(MODULE, _R),
    # call graphs
    "argpromotion": PassKind(CGSCC, _I + _M),
    "attributor-cgscc": PassKind(CGSCC, _S),
    "attributor-light-cgscc": PassKind(CGSCC, _S),
    "function-attrs": PassKind(CGSCC, _S),
    "inline": PassKind(CGSCC, _I),
    # functions
    "adce": PassKind(FUNCTION, _S + _R),
    "aggressive-instcombine": PassKind(FUNCTION, _S),
    "alignment-from-assumptions": PassKind(FUNCTION, _M),
    "bdce": PassKind(FUNCTION, _S),
    "break-crit-edges": PassKind(FUNCTION, _S),
    "callsite-splitting": PassKind(FUNCTION, _I),
    "chr": PassKind(FUNCTION, _S),
    "consthoist": PassKind(FUNCTION, _R),
    "constraint-elimination": PassKind(FUNCTION, _S),
    "correlated-propagation": PassKind(FUNCTION, _S),
    "dce": PassKind(FUNCTION, _S),
    "dfa-jump-threading": PassKind(FUNCTION, _S),
    "div-rem-pairs": PassKind(FUNCTION, _S),
    "dse": PassKind(FUNCTION, _M),
    "early-cse": PassKind(FUNCTION, _S, words={"kind": ("memssa",)}),
    "expand-memcmp": PassKind(FUNCTION, _M),
    "fix-irreducible": PassKind(FUNCTION, _S),
    "flatten-cfg": PassKind(FUNCTION, _S),
    "float2int": PassKind(FUNCTION, _S),
    "gvn": PassKind(FUNCTION, _S + _M, ("pre", "load-pre", "split-backedge-load-pre", "memoryssa")),
    "gvn-hoist": PassKind(FUNCTION, _M + _R),
    "gvn-sink": PassKind(FUNCTION, _R),
    "infer-alignment": PassKind(FUNCTION, _M),
    "instcombine": PassKind(FUNCTION, _S, numbers={"max-iterations": (1, 2, 4)}),
    "instsimplify": PassKind(FUNCTION, _S),
    "interleaved-load-combine": PassKind(FUNCTION, _V + _M),
    "irce": PassKind(FUNCTION, _S),
    "jump-table-to-switch": PassKind(FUNCTION, _S),
    "jump-threading": PassKind(FUNCTION, _S),
    "lcssa": PassKind(FUNCTION, _S),
    "libcalls-shrinkwrap": PassKind(FUNCTION, _S),
    "load-store-vectorizer": PassKind(FUNCTION, _V + _M),
    "loop-data-prefetch": PassKind(FUNCTION, _M),
    "loop-distribute": PassKind(FUNCTION, _V + _T),
    "loop-fusion": PassKind(FUNCTION, _M + _T),
    "loop-load-elim": PassKind(FUNCTION, _M),
    "loop-simplify": PassKind(FUNCTION, _S),
    "loop-sink": PassKind(FUNCTION, _M),
    "loop-unroll": PassKind(FUNCTION, _U, ("partial", "peeling", "runtime", "upperbound"), {"full-unroll-max": (4, 8, 16, 32)}, {"level": ("O1", "O2", "O3")}),
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
    "newgvn": PassKind(FUNCTION, _S),
    "partially-inline-libcalls": PassKind(FUNCTION, _I),
    "reassociate": PassKind(FUNCTION, _S),
    "reg2mem": PassKind(FUNCTION, _M),
    "sccp": PassKind(FUNCTION, _S),
    "scalarizer": PassKind(FUNCTION, _V, ("load-store",)),
    "select-optimize": PassKind(FUNCTION, _S),
    "separate-const-offset-from-gep": PassKind(FUNCTION, _M, words={"kind": ("lower-gep",)}),
    "simplifycfg": PassKind(
        FUNCTION, _S,
        ("forward-switch-cond", "hoist-common-insts", "keep-loops", "simplify-cond-branch", "sink-common-insts", "speculate-blocks", "speculate-unpredictables",
         "switch-range-to-icmp", "switch-to-lookup"),
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
    "loop-bound-split": PassKind(LOOP, _S),
    "loop-deletion": PassKind(LOOP, _S),
    "loop-flatten": PassKind(LOOP, _T),
    "loop-idiom": PassKind(LOOP, _M),
    "loop-idiom-vectorize": PassKind(LOOP, _V),
    "loop-instsimplify": PassKind(LOOP_MSSA, _S),
    "loop-interchange": PassKind(LOOP, _T),
    "loop-predication": PassKind(LOOP, _S),
    "loop-reduce": PassKind(LOOP, _M + _S),
    "loop-simplifycfg": PassKind(LOOP_MSSA, _S),
    "loop-term-fold": PassKind(LOOP, _S),
    "loop-unroll-and-jam": PassKind(LOOP, _U + _T),
    "loop-unroll-full": PassKind(LOOP, _U),
    "loop-versioning-licm": PassKind(LOOP, _M),
    "licm": PassKind(LOOP_MSSA, _M, ("allowspeculation",)),
    "lnicm": PassKind(LOOP_MSSA, _M, ("allowspeculation",)),
    "loop-rotate": PassKind(LOOP_MSSA, _S, ("header-duplication",)),
    "simple-loop-unswitch": PassKind(LOOP_MSSA, _S, ("nontrivial", "trivial")),
}


@dataclass(frozen=True)
class FlagKind:
    """One of LLVM's command-line flags.

    Attributes:
        values: those worth trying; `true` and `false` of a switch.
        intents: what it is good for, of `INTENTS`.
        polly: whether it belongs to Polly, which only `opt` itself has.
        needs: what is printed with it, so that it keeps the meaning of programs.
    """

    values: tuple[Setting, ...]
    intents: tuple[str, ...]
    polly: bool = False
    needs: tuple[str, ...] = ()


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
    "force-vector-width": FlagKind((1, 2, 4, 8, 16), _V, needs=("-hints-allow-reordering=false",)),
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
    "partial-inlining-extra-penalty": FlagKind((0, 50), _I),
    # memory
    "enable-gvn-hoist": FlagKind((True,), _M),
    "enable-gvn-sink": FlagKind((True,), _M),
    "enable-loop-versioning-licm": FlagKind((True,), _M),
    "licm-mssa-optimization-cap": FlagKind((1000,), _M),
    "memdep-block-scan-limit": FlagKind((500,), _M),
    "memssa-check-limit": FlagKind((500,), _M),
    "gvn-max-num-deps": FlagKind((500,), _M),
    "enable-scoped-noalias": FlagKind((False,), _M),
    "enable-load-in-loop-pre": FlagKind((False,), _M),
    # loops
    "enable-loop-distribute": FlagKind((True,), _T + _V),
    "enable-loop-flatten": FlagKind((True,), _T),
    "enable-loopinterchange": FlagKind((True,), _T),
    "loop-interchange-threshold": FlagKind((-10, 5), _T),
    "enable-unroll-and-jam": FlagKind((True,), _T + _U),
    "allow-unroll-and-jam": FlagKind((True,), _T + _U),
    "unroll-and-jam-count": FlagKind((2, 4), _T + _U),
    "rotation-max-header-size": FlagKind((0, 64), _S),
    "disable-lsr": FlagKind((True,), _S),
    "lsr-insns-cost": FlagKind((False,), _S),
    "lsr-complexity-limit": FlagKind((1000, 500000), _S),
    # control flow and scalars
    "enable-dfa-jump-thread": FlagKind((True,), _S),
    "enable-constraint-elimination": FlagKind((False,), _S),
    "jump-threading-threshold": FlagKind((0, 12, 30), _S),
    "phi-node-folding-threshold": FlagKind((0, 4, 8), _S),
    "two-entry-phi-node-folding-threshold": FlagKind((0, 8, 16), _S),
    "speculate-one-expensive-inst": FlagKind((False,), _S),
    "unswitch-threshold": FlagKind((0, 100, 300), _S),
    "enable-merge-functions": FlagKind((True,), _R),
    "hot-cold-split": FlagKind((True,), _R),
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


@dataclass(frozen=True)
class Pass:
    """A transform pass, as `opt -passes=` reads it.

    Attributes:
        name: a key of `PASSES`.
        options: (option, its value), by name.
    """

    name: str
    options: tuple[tuple[str, Setting], ...] = ()

    def __post_init__(self) -> None:
        kind = PASSES.get(self.name) if isinstance(self.name, str) else None
        if kind is None:
            raise IllegalActionError(f"there is no pass {_shown(self.name)}")
        object.__setattr__(self, "options", tuple(sorted(self.options)))
        names = [name for name, _ in self.options]
        if len(set(names)) < len(names):
            raise IllegalActionError(f"pass {self.name} has an option twice: {names}")
        for name, value in self.options:
            if name in kind.switches:
                fits = isinstance(value, bool)
            elif name in dict(kind.numbers):
                fits = type(value) is int and 0 <= value <= max(kind.numbers[name])
            else:
                fits = name in dict(kind.words) and value in kind.words[name]
            if not fits:
                raise IllegalActionError(f"pass {self.name} takes {_describe(kind)}, but got {_shown(name)}={_shown(value)}")

    @property
    def kind(self) -> PassKind:
        """What LLVM knows of it."""
        return PASSES[self.name]

    def __str__(self) -> str:
        words = [_option_text(self.kind, name, value) for name, value in self.options]
        return f"{self.name}<{';'.join(words)}>" if words else self.name


@dataclass(frozen=True)
class Flag:
    """One of LLVM's command-line flags; it holds for the whole run.

    Attributes:
        name: a key of `FLAGS`.
        value: one of its kind's values.
    """

    name: str
    value: Setting

    def __post_init__(self) -> None:
        kind = FLAGS.get(self.name) if isinstance(self.name, str) else None
        if kind is None:
            raise IllegalActionError(f"there is no flag {_shown(self.name)}")
        if not any(type(self.value) is type(known) and self.value == known for known in kind.values):
            raise IllegalActionError(f"flag {self.name} takes one of {list(kind.values)}, but got {_shown(self.value)}")

    @property
    def kind(self) -> FlagKind:
        """What LLVM knows of it."""
        return FLAGS[self.name]

    def __str__(self) -> str:
        value = str(self.value).lower() if isinstance(self.value, bool) else str(self.value)
        return f"-{self.name}={value}"


Step = Union[Pass, Flag]


@dataclass(frozen=True)
class PassSequence:
    """Passes in order, and flags; what a candidate does to a module.

    Attributes:
        passes: in order.
        flags: by name, each at most once.
    """

    passes: tuple[Pass, ...] = ()
    flags: tuple[Flag, ...] = ()

    def __post_init__(self) -> None:
        flags = {flag.name: flag for flag in self.flags}  # the last one holds, as on a command line
        object.__setattr__(self, "flags", tuple(flags[name] for name in sorted(flags)))

    @property
    def pipeline(self) -> str:
        """The text for `opt -passes=`; neighbours of one level share a pass manager."""
        groups: list[tuple[str, list[str]]] = []
        for step in self.passes:
            if not groups or groups[-1][0] != step.kind.level or step.kind.level == MODULE:
                groups.append((step.kind.level, []))
            groups[-1][1].append(str(step))
        return ",".join(_NESTED[level].format(",".join(names)) for level, names in groups)

    @property
    def flag_texts(self) -> list[str]:
        """The flags as words of a command line."""
        return [word for flag in self.flags for word in (str(flag), *flag.kind.needs)]

    @property
    def uses_polly(self) -> bool:
        """Whether `opt` itself must run it."""
        return any(flag.kind.polly for flag in self.flags)

    def trace(self) -> Trace:
        """The sequence as a trace: flags first, then passes."""
        flags = [Action("flag", attrs=(flag.name,), decision=flag.value) for flag in self.flags]
        return Trace((*flags, *(Action(step.name, attrs=step.options) for step in self.passes)))

    @classmethod
    def from_trace(cls, trace: Trace) -> PassSequence:
        """Reads what `trace` made.

        Raises:
            IllegalActionError: an action is none of LLVM's.
        """
        flags = [a for a in trace.actions if a.op == "flag"]
        if any(len(a.attrs) != 1 for a in flags):
            raise IllegalActionError("a flag's action must have its name as the only attribute")
        options = [a.attrs for a in trace.actions if a.op != "flag"]
        if not all(isinstance(option, tuple) and len(option) == 2 for row in options for option in row):
            raise IllegalActionError("a pass's attributes must be pairs of option and value")
        passes = [Pass(a.op, a.attrs) for a in trace.actions if a.op != "flag"]
        return cls(tuple(passes), tuple(Flag(a.attrs[0], a.decision) for a in flags))

    def __str__(self) -> str:
        return " ".join([f"-passes='{self.pipeline}'", *self.flag_texts])


BASELINE = PassSequence((Pass("default<O3>"),))
"""What all is compared with."""

_NESTED = {
    MODULE: "{}", CGSCC: "cgscc({})", FUNCTION: "function({})", LOOP: "function(loop({}))", LOOP_MSSA: "function(loop-mssa({}))",
}  # fmt: skip

_MAX_STEPS, _MAX_TEXT = 256, 20_000


def parse_sequence(passes: Iterable[object], flags: Iterable[object] = ()) -> tuple[PassSequence, list[str]]:
    """Reads a proposal: what the grammar has is taken, what it does not have is refused.

    Args:
        passes: texts such as `gvn`, `simplifycfg<bonus-inst-threshold=2;no-keep-loops>` or `default<O3>`.
        flags: texts such as `-unroll-count=4`.

    Returns:
        (what was read, a reason for each refusal).
    """
    taken: list[Pass] = []
    set_flags: list[Flag] = []
    refused: list[str] = []
    for parse, texts, into in ((parse_pass, passes, taken), (parse_flag, flags, set_flags)):
        for number, text in enumerate(texts):
            if number >= _MAX_STEPS:
                refused.append(f"more than {_MAX_STEPS} steps")
                break
            try:
                into.append(parse(text))
            except IllegalActionError as error:
                refused.append(str(error))
    return PassSequence(tuple(taken), tuple(set_flags)), refused


def parse_step(text: object) -> Step:
    """Reads a pass or a flag as it prints.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    return parse_flag(text) if isinstance(text, str) and text.lstrip().startswith("-") else parse_pass(text)


def parse_pass(text: object) -> Pass:
    """Reads a pass as it prints.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise IllegalActionError(f"a pass must be a short text, but got {_shown(text)}")
    text = text.strip()
    if text in PASSES:
        return Pass(text)
    match = re.fullmatch(r"([a-z0-9-]+)<([^<>]*)>", text)
    if match is None or match[1] not in PASSES:
        raise IllegalActionError(f"there is no pass {_shown(text)}")
    kind = PASSES[match[1]]
    options = [_parse_option(kind, match[1], word.strip()) for word in match[2].split(";") if word.strip()]
    return Pass(match[1], tuple(options))


def parse_flag(text: object) -> Flag:
    """Reads a flag as it prints; a switch may stand alone.

    Raises:
        IllegalActionError: the grammar does not have it.
    """
    match = re.fullmatch(r"\s*--?([A-Za-z0-9-]+)(?:=(\S+))?\s*", text) if isinstance(text, str) and len(text) <= _MAX_TEXT else None
    if match is None or match[1] not in FLAGS:
        raise IllegalActionError(f"there is no flag {_shown(text)}")
    known = {str(Flag(match[1], value)).partition("=")[2]: value for value in FLAGS[match[1]].values}
    value = "true" if match[2] is None else match[2]
    if value not in known:
        raise IllegalActionError(f"flag {match[1]} takes one of {list(known)}, but got {_shown(value)}")
    return Flag(match[1], known[value])


def _parse_option(kind: PassKind, name: str, word: str) -> tuple[str, Setting]:
    if word in kind.switches:
        return word, True
    if word.startswith("no-") and word[3:] in kind.switches:
        return word[3:], False
    for option, words in dict(kind.words).items():
        if word in words:
            return option, word
    option, equals, number = word.partition("=")
    if equals and option in dict(kind.numbers) and re.fullmatch(r"\d{1,6}", number):
        return option, int(number)
    raise IllegalActionError(f"pass {name} takes {_describe(kind)}, but got {_shown(word)}")


def _option_text(kind: PassKind, name: str, value: Setting) -> str:
    if name in kind.switches:
        return name if value else f"no-{name}"
    return f"{name}={value}" if name in dict(kind.numbers) else str(value)


def _describe(kind: PassKind) -> str:
    known = [*kind.switches, *(f"{name}=0..{max(values)}" for name, values in dict(kind.numbers).items()), *(w for words in dict(kind.words).values() for w in words)]
    return ", ".join(known) if known else "no options"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
