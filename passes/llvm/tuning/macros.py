"""Macros: whole pipelines in sequence, with the flags that they need, as one action each.

A macro stands in the place of the level (`-O3` and its kin) of a sequence. What they do, no single pass or flag does:
a second `-O3` sees loops that the first one has put in order, and unroll-and-jam wants loops in order and runs before
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass

from foretune.passes.llvm.actions import Flag, Pass, PassSequence, parse_pass
from foretune.passes.llvm.observe import FEATURES

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Macro:
    """One macro.

    Attributes:
        name: as a proposal names it.
        intents: what it is good for, of `INTENTS`.
        why: what it does, for a reader.
        sequence: its passes and flags.
        applies: whether a module's counts leave hope for it.
    """

    name: str
    intents: tuple[str, ...]
    why: str
    sequence: PassSequence
    applies: Callable[[Counts], bool] = lambda counts: True


def _passes(*texts: str) -> tuple[Pass, ...]:
    return tuple(map(parse_pass, texts))


def _jam(count: int, enable: bool = True) -> tuple[Flag, ...]:
    """Flags of unroll-and-jam; inside `-O3` it must be enabled, a pass that stands by itself needs not."""
    more = (Flag("unroll-and-jam-threshold", 2000),) if count > 4 else ()
    switch = (Flag("enable-unroll-and-jam", True),) if enable else ()
    return (*switch, Flag("allow-unroll-and-jam", True), Flag("unroll-and-jam-count", count), *more)


def _nests(counts: Counts) -> bool:
    return counts["loop_depth"] > 1


def _loops(counts: Counts) -> bool:
    return counts["loops"] > 0


_O3_O3 = _passes("default<O3>", "default<O3>")


def _polly(*flags: Flag) -> PassSequence:
    return PassSequence(_O3_O3, (Flag("polly", True), *flags))


_TABLE = (
    Macro(
        "jam-8",
        ("tile", "unroll"),
        "eight outer iterations share what the inner loop loads, before a second -O3",
        PassSequence(_O3_O3, _jam(8)),
        _nests,
    ),
    Macro(
        "polly-O3",
        ("tile", "vectorize"),
        "Polly tiles loop nests for the caches, a second -O3 cleans up",
        _polly(),
        _nests,
    ),
    Macro(
        "O1-versioning-jam-8",
        ("tile", "unroll", "memory"),
        "loops are versioned for aliases and jammed before anything is vectorized",
        PassSequence(
            _passes("default<O1>", "loop-versioning", "loop-unroll-and-jam", "default<O3>"), _jam(8, enable=False)
        ),
        _nests,
    ),
    Macro("jam-4", ("tile", "unroll"), "as jam-8, with four outer iterations", PassSequence(_O3_O3, _jam(4)), _nests),
    Macro(
        "jam-8-inside",
        ("tile", "unroll"),
        "eight outer iterations are jammed inside -O3, between inlining and the vectorizer",
        PassSequence(_passes("o3-with<before-vectorizer=loop-unroll-and-jam>"), _jam(8, enable=False)),
        _nests,
    ),
    Macro(
        "O3-O3",
        ("simplify", "vectorize"),
        "a second -O3 works on what the first one has put in order",
        PassSequence(_O3_O3),
    ),
    Macro(
        "O1-jam-8",
        ("tile", "unroll"),
        "loops are jammed before anything is vectorized",
        PassSequence(_passes("default<O1>", "loop-unroll-and-jam", "default<O3>"), _jam(8, enable=False)),
        _nests,
    ),
    Macro(
        "interleave-1",
        ("vectorize",),
        "one vector in flight: shorter loops, fewer registers",
        PassSequence(_passes("default<O3>"), (Flag("force-vector-interleave", 1),)),
        _loops,
    ),
    Macro(
        "jam-4-inside",
        ("tile", "unroll"),
        "as jam-8-inside, with four outer iterations",
        PassSequence(_passes("o3-with<before-vectorizer=loop-unroll-and-jam>"), _jam(4, enable=False)),
        _nests,
    ),
    Macro(
        "interleave-4",
        ("vectorize",),
        "four vectors in flight hide latency",
        PassSequence(_passes("default<O3>"), (Flag("force-vector-interleave", 4),)),
        _loops,
    ),
    Macro(
        "jam-16", ("tile", "unroll"), "as jam-8, with sixteen outer iterations", PassSequence(_O3_O3, _jam(16)), _nests
    ),
    Macro(
        "polly-16-O3",
        ("tile", "vectorize"),
        "as polly-O3, with small tiles",
        _polly(Flag("polly-default-tile-size", 16)),
        _nests,
    ),
    Macro(
        "polly-64-O3",
        ("tile", "vectorize"),
        "as polly-O3, with large tiles",
        _polly(Flag("polly-default-tile-size", 64)),
        _nests,
    ),
    Macro(
        "interleave-2",
        ("vectorize",),
        "two vectors in flight",
        PassSequence(_passes("default<O3>"), (Flag("force-vector-interleave", 2),)),
        _loops,
    ),
    Macro(
        "interleave-8",
        ("vectorize",),
        "eight vectors in flight, for long latencies",
        PassSequence(_passes("default<O3>"), (Flag("force-vector-interleave", 8),)),
        _loops,
    ),
    Macro(
        "O1-interchange-jam-8",
        ("tile", "unroll"),
        "loops change places so that memory is walked in order, then are jammed",
        PassSequence(
            _passes("default<O1>", "loop-interchange", "loop-unroll-and-jam", "default<O3>"), _jam(8, enable=False)
        ),
        _nests,
    ),
)

MACROS: dict[str, Macro] = {macro.name: macro for macro in _TABLE}
"""By name, the most promising first."""


def usable_macros(polly: bool = True, experimental: bool = False) -> list[Macro]:
    """The macros that a search may use, the most promising first."""
    return [m for m in _TABLE if (polly or not m.sequence.uses_polly) and (experimental or not m.sequence.held_back)]


def applicable_macros(features: Many[float], polly: bool = True, experimental: bool = False) -> list[Macro]:
    """Those of them that leave hope for a program.

    Args:
        features: counts in the order of `observe.FEATURES`.
        polly, experimental: as in `usable_macros`.
    """
    counts = dict(zip(FEATURES, features))
    return [macro for macro in usable_macros(polly, experimental) if macro.applies(counts)]
