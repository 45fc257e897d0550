"""A bound on how deeply the JSON of a log may be nested: what readers and the later readers of the data follow recursively."""

from __future__ import annotations

from typing import Any

from foretune.datasets.importers.report import LineError

MAX_NESTING = 64
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def check_nesting(text: bytes, data: Any) -> None:
    """Refuses JSON with lists and objects more than `MAX_NESTING` deep.

    Args:
        text: of the JSON.
        data: what it says, or a part of that; it is walked only where the brackets of the text do not settle the question.

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
