"""JSON from elsewhere: of a known size and depth, without a name that stands twice."""

from __future__ import annotations

import json
import math
from typing import Any

from foretune.errors import DataError

_MOST_DEPTH = 200
_LARGEST_INTEGER = 1 << 63


def parse_json(data: bytes | str, what: str, infinity: bool = False) -> Any:
    """Parses JSON text.

    Args:
        data: the text.
        what: its name, for messages.
        infinity: take `Infinity`, which is no JSON, but what Python writes.

    Raises:
        DataError: it is no JSON, has NaN or another Infinity, a name twice in one object, or integers of more than 64
            bits, or is nested too deep.
    """
    try:
        parsed = json.loads(
            data, object_pairs_hook=_unique, parse_constant=_infinity if infinity else _refuse, parse_int=_integer
        )
        _check_depth(parsed)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{what} cannot be read: {reason}") from None
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands twice in one object")
    return made


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


def _infinity(constant: str) -> float:
    return math.inf if constant == "Infinity" else _refuse(constant)


def _integer(text: str) -> int:
    if len(text) > 20 or not -_LARGEST_INTEGER <= int(text) < _LARGEST_INTEGER:
        raise ValueError(f"the integer {text[:30]} has more than 64 bits")
    return int(text)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MOST_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {_MOST_DEPTH} levels")
