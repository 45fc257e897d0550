"""Bounds on the JSON of a log: how deeply it may be nested, which readers follow recursively, and how large its
integers may be.
"""

from __future__ import annotations

import json
import re
from typing import Any

from foretune.datasets.importers.report import LineError

MAX_NESTING = 64
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def check_nesting(text: bytes, data: Any) -> None:
    """Refuses JSON with lists and objects more than `MAX_NESTING` deep.

    Args:
        text: of the JSON.
        data: what it says, or a part of that; it is walked only where the brackets of the text do not settle the
            question.

    Raises:
        LineError: it is nested more deeply.
    """
    brackets = text.translate(None, _OTHERS)
    for _ in range(MAX_NESTING):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not fewer:
            return
        if len(fewer) == len(brackets):  # brackets within texts
            break
        brackets = fewer
    level, depth = [data], 0
    while level := [value for value in level if isinstance(value, (list, dict))]:
        depth += 1
        if depth > MAX_NESTING:
            raise LineError(f"lists and objects are nested more than {MAX_NESTING} deep")
        level = [child for value in level for child in (value.values() if isinstance(value, dict) else value)]


def check_integers(text: bytes) -> None:
    """Refuses JSON with integers that do not fit into 64 bits: they would be read as the nearest floating-point
    numbers.

    Args:
        text: of the JSON, which is not nested deeply.

    Raises:
        LineError: there is one.
    """
    if _LONG_NUMBER.search(text):
        json.loads(text, parse_int=_small)


def _small(digits: str) -> int:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 64:
        raise LineError(f"the integer {digits[:24]} does not fit into 64 bits")
    return int(digits)
