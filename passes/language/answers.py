"""Finding the proposals in what a language model said: JSON alone, in code fences, behind a thinking block, or broken
off in the middle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_END_OF_THOUGHT = re.compile(r"</(?:think|thinking|reasoning|thought)>", re.I)
_FENCE = re.compile(r"```[A-Za-z0-9_+-]*\s*\n?(.*?)(?:```|\Z)", re.S)
_LIST = re.compile(r'"proposals"\s*:\s*\[')
_MOST_STARTS = 64  # braces at which an answer may begin
_DECODER = json.JSONDecoder()


def read_rows(text: str, most: int) -> tuple[list[Any], list[str]]:
    """(`proposals` in a model's answer, at most so many; reasons for what was refused); what is no answer is refused,
    never raised.
    """
    refused: list[str] = []
    text = _without_thoughts(text)
    answer = _find(text)
    if not _has_rows(answer) and (rows := _whole_rows(text)):
        answer, refused = {"proposals": rows}, [f"the answer breaks off after {len(rows)} proposals"]
    if answer is None:
        return [], ["the answer is no JSON"]
    rows = answer.get("proposals") if isinstance(answer, dict) else None
    if isinstance(answer, list) and answer and all(isinstance(row, dict) for row in answer):
        rows = answer
    if not isinstance(rows, list):
        return [], ["the answer has no list of proposals"]
    return rows[:most], refused + ([f"more than {most} proposals"] if len(rows) > most else [])


def _has_rows(answer: Any) -> bool:
    return "proposals" in answer if isinstance(answer, dict) else isinstance(answer, list) and len(answer) > 0


def _without_thoughts(text: str) -> str:
    """What follows the last thinking block; its beginning some servers keep to themselves."""
    ends = [match.end() for match in _END_OF_THOUGHT.finditer(text)]
    return text[ends[-1] :] if ends else text


def _find(text: str) -> Any:
    """The first JSON value that has proposals, or else the first one at all; None if there is none."""
    first = None
    for place in _places(text):
        try:
            value, _ = _DECODER.raw_decode(place)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "proposals" in value:
            return value
        first = value if first is None else first
    return first


def _places(text: str) -> Iterator[str]:
    """Texts that may begin with an answer: all of it, what stands in fences, what follows a brace."""
    yield text.strip()
    for match in _FENCE.finditer(text):
        yield match[1].strip()
    starts = (match.start() for match in re.finditer(r"\{", text))
    for _, start in zip(range(_MOST_STARTS), starts):
        yield text[start:]


def _whole_rows(text: str) -> list[Any]:
    """The proposals that are whole in an answer that breaks off."""
    found = _LIST.search(text)
    rows: list[Any] = []
    rest = text[found.end() :] if found else ""
    while rest := rest.lstrip(" \t\r\n,"):
        try:
            row, end = _DECODER.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        rows.append(row)
        rest = rest[end:]
    return rows
