"""Sequences without one of their steps, and without all that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from foretune.passes.llvm.actions import BASELINE, Pass, PassSequence, Setting
from foretune.passes.llvm.tables import O3_WITH


def shortest(
    sequence: PassSequence, code_of: Callable[[PassSequence], str], has_time: Callable[[], bool] = lambda: True
) -> PassSequence:
    """A sequence without the steps that its machine code does not need, left out one after another.

    Args:
        sequence: which.
        code_of: hash of the machine code that a sequence gives; empty where it fails.
        has_time: whether there is time for one more compilation.
    """
    code = code_of(sequence)
    for shorter, _ in without_each(sequence) if code else ():
        if not has_time():
            break
        if code_of(shorter(sequence)) == code:
            sequence = shorter(sequence)
    return sequence


def without_each(sequence: PassSequence) -> Iterator[tuple[Callable[[PassSequence], PassSequence], str]]:
    """(what leaves the step out of a sequence, the step as it prints) for each step but whole pipelines; of passes
    inside `-O3`, for each of them.
    """
    for step in sequence.passes:
        if step.name == O3_WITH:
            for option in step.options:
                text = str(Pass(O3_WITH, (option,)))
                yield (lambda s, option=option: _without_inside(s, option)), text
        elif not step.name.startswith("default<"):
            yield (lambda s, step=step: _without_pass(s, step)), str(step)
    for flag in sequence.flags:
        yield (lambda s, flag=flag: PassSequence(s.passes, tuple(f for f in s.flags if f != flag))), str(flag)


def _without_pass(sequence: PassSequence, step: Pass) -> PassSequence:
    at = sequence.passes.index(step)
    return PassSequence((*sequence.passes[:at], *sequence.passes[at + 1 :]), sequence.flags)


def _without_inside(sequence: PassSequence, option: tuple[str, Setting]) -> PassSequence:
    at = next(i for i, step in enumerate(sequence.passes) if step.name == O3_WITH and option in step.options)
    left = tuple(other for other in sequence.passes[at].options if other != option)
    inside = Pass(O3_WITH, left) if left else BASELINE.passes[0]
    return PassSequence((*sequence.passes[:at], inside, *sequence.passes[at + 1 :]), sequence.flags)
