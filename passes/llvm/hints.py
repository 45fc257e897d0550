"""Hints: what is written into a module before any pass runs, for one of its hottest loops or functions.

Which are the hottest is read from the module as it is: loops by depth, then by size; functions by their instructions,
those in loops counting ten times for each level. A flag holds for all loops of a program; a hint for one.

Hints are what `#pragma clang loop` writes: LLVM follows them where it can prove that nothing changes, and its
vectoriser is told beside them to keep the order of floating-point sums (`tables.ORDERED`).

`fast-math` alone changes what a program computes. It is for programs with a tolerance, and is as `-ffast-math` but for
NaN and infinity, which keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foretune.passes.llvm.capi import Llvm
from foretune.passes.llvm.observe import loops_of
from foretune.passes.llvm.tables import PASSES

_ATTRIBUTES = {
    "width": "llvm.loop.vectorize.width",
    "interleave": "llvm.loop.interleave.count",
    "unroll": "llvm.loop.unroll.count",
    "jam": "llvm.loop.unroll_and_jam.count",
    "distribute": "llvm.loop.distribute.enable",
}
_OF_OUTER = ("jam",)  # what the loop around the one that is meant is told
_FUNCTIONS = {"always-inline": "alwaysinline", "no-inline": "noinline", "cold": "cold"}
_CLASHING = ("alwaysinline", "noinline", "optnone", "cold", "hot")  # such functions have their hint already
_OF_LOOPS = 10  # a level of loops weighs as much as so many instructions outside
_NAMES = "acos asin atan2 cbrt cos cosh exp exp2 expm1 fmod hypot log log10 log1p log2 pow sin sinh sqrt tan tanh"
_ERRNO = "__errno_location"


@dataclass(frozen=True)
class _Loop:
    """A loop: the branches that go round it, and those of the loop around it."""

    latches: tuple[int, ...]
    outer: tuple[int, ...]
    depth: int
    size: int


def give_hints(llvm: Llvm, module: int, hints: Iterable[tuple[str, Iterable[tuple[str, Any]]]]) -> None:
    """Writes hints into a module; one for a loop or a function that is not there does nothing.

    Args:
        llvm: the library.
        module: where.
        hints: (name, its options), as of `actions.Pass`.
    """
    given = [(name, dict(options)) for name, options in hints]
    loops = hot_loops(llvm, module) if any(name == "loop-hint" for name, _ in given) else []
    functions = hot_functions(llvm, module) if any(name == "function-hint" for name, _ in given) else []
    for name, options in given:
        at = options.pop("at", 0)
        if name == "no-math-errno":
            _forget_errno(llvm, module)
        elif name == "fast-math":
            _relax(llvm, module, [flag for flag in PASSES[name].switches if options.get(flag, True)])
        elif name == "loop-hint" and at < len(loops):
            _hint_loop(llvm, loops[at], options)
        elif name == "function-hint" and at < len(functions) and "kind" in options:
            _hint_function(llvm, functions[at], options["kind"])


def hot_loops(llvm: Llvm, module: int) -> list[_Loop]:
    """The loops of a module, the hottest first."""
    found: list[_Loop] = []
    for function in llvm.functions(module):
        order, _, bodies = loops_of(llvm, function)
        sizes = [sum(1 for _ in llvm.instructions(block)) for block in order]
        latches = {
            head: tuple(
                llvm.terminator(order[j]) or 0 for j in sorted(body) if order[head] in llvm.successors(order[j])
            )
            for head, body in bodies.items()
        }
        for head, body in bodies.items():
            around = sorted((len(other), at) for at, other in bodies.items() if at != head and head in other)
            outer = latches[around[0][1]] if around else ()
            found.append(_Loop(latches[head], outer, len(around), sum(sizes[j] for j in body)))
    return sorted(found, key=lambda loop: (-loop.depth, -loop.size))


def hot_functions(llvm: Llvm, module: int) -> list[int]:
    """The functions of a module, the hottest first."""
    weights: dict[int, float] = {}
    for function in llvm.functions(module):
        order, _, bodies = loops_of(llvm, function)
        depths = [sum(j in body for body in bodies.values()) for j in range(len(order))]
        weights[function] = sum(
            sum(1 for _ in llvm.instructions(block)) * float(_OF_LOOPS**depth) for block, depth in zip(order, depths)
        )
    return sorted(weights, key=lambda function: -weights[function])


def _hint_loop(llvm: Llvm, loop: _Loop, options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        for latch in loop.outer if name in _OF_OUTER else loop.latches:
            if latch:
                llvm.add_loop_attributes(latch, {_ATTRIBUTES[name]: value})


def _hint_function(llvm: Llvm, function: int, kind: str) -> None:
    if not any(llvm.has_attribute(function, known) for known in _CLASHING):
        llvm.add_attribute(function, _FUNCTIONS[kind])


def _relax(llvm: Llvm, module: int, flags: list[str]) -> None:
    _forget_errno(llvm, module)
    for function in llvm.functions(module):
        for block in llvm.blocks(function):
            for instruction in llvm.instructions(block):
                llvm.add_fast_math(instruction, flags)


def _forget_errno(llvm: Llvm, module: int) -> None:
    """Functions of mathematics only compute, as under `-fno-math-errno`; unless the program asks for errno."""
    if llvm.function(module, _ERRNO):
        return
    for name in (f"{name}{suffix}" for name in _NAMES.split() for suffix in ("", "f", "l")):
        function = llvm.function(module, name)
        if function and not any(llvm.blocks(function)):
            llvm.add_attribute(function, "memory")  # none
