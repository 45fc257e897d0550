"""Whether two runs agree within a tolerance, number by number.

A number with a point or an exponent may be off by so much of the larger of the two; integers, and all that is no
number, must be equal, but for the width of blanks. What holds bytes that are no text must be equal whole.
"""

from __future__ import annotations

import math
import re

from foretune.passes.llvm.execution.outcome import Outcome

_NUMBER = re.compile(
    rb"(?<![\w.])[-+]?(?:0[xX][0-9a-fA-F]+(?:\.[0-9a-fA-F]*)?[pP][-+]?\d+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
    rb"|inf(?:inity)?|nan)(?![\w])",
    re.I,
)
_INTEGER = re.compile(rb"[-+]?\d+")
_BLANKS = re.compile(rb"[ \t]+")


def difference(one: Outcome, other: Outcome, tolerance: float) -> str:
    """Where two runs differ by more than a tolerance, in words; empty where they agree.

    Args:
        one, other: what they left, with their texts whole.
        tolerance: relative.
    """
    if one.digest == other.digest:
        return ""
    for name in sorted({*one.texts, *other.texts}):
        if name not in one.texts or name not in other.texts:
            return f"only one of the runs writes the file {name}"
        if told := _difference(one.texts[name], other.texts[name], tolerance):
            return f"{name}: {told}"
    return ""


def _difference(one: bytes, other: bytes, tolerance: float) -> str:
    if one == other:
        return ""
    if b"\0" in one or b"\0" in other:
        return "bytes that are no text differ"
    first, second = (_NUMBER.split(text) for text in (one, other))
    numbers, others = (_NUMBER.findall(text) for text in (one, other))
    if len(first) != len(second) or any(_squeezed(a) != _squeezed(b) for a, b in zip(first, second)):
        return "something differs beside its numbers"
    for a, b in zip(numbers, others):
        if not agree(a, b, tolerance):
            return f"{a.decode()} in place of {b.decode()}, more than {tolerance:g} of it"
    return ""


def _squeezed(text: bytes) -> bytes:
    return _BLANKS.sub(b" ", text).strip(b" ")


def agree(one: bytes, other: bytes, tolerance: float) -> bool:
    """Whether two numbers, as they are printed, agree within a tolerance; integers must be equal."""
    if one == other:
        return True
    if _INTEGER.fullmatch(one) and _INTEGER.fullmatch(other):
        return int(one) == int(other)
    a, b = _value(one), _value(other)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= tolerance * max(abs(a), abs(b)) < math.inf


def _value(number: bytes) -> float:
    text = number.decode()
    return float.fromhex(text) if "x" in text.lower() else float(text)
