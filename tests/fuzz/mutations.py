"""Seeded damage to bytes and to JSON."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

_NUMBERS = (0, 1, -1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e300, 1e-300, 1.5)
_OTHERS = (None, True, False, [], {}, "", "x", "None", "²", "\u0000", "[" * 40, [[]], {"a": 1}, [1, [2, [3]]])
_DEPTHS = (3, 63, 65, 200)


def mutate_bytes(data: bytes, rng: random.Random, tokens: Sequence[bytes] = ()) -> bytes:
    """One to three changes: bits and bytes flipped, runs removed, doubled, moved or overwritten, the end cut off,
    tokens put in.
    """
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = _change(data, rng, tokens)
    return data


def _change(data: bytes, rng: random.Random, tokens: Sequence[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 200)))
    kind = rng.randrange(8 if tokens else 7)
    if kind == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 1 and at < len(data):
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:end] + data[at:end] + data[end:]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + bytes([rng.choice((0, 255, 32, 48))]) * (end - at) + data[end:]
    if kind == 6:
        other = rng.randrange(len(data) + 1)
        return data[:other] + data[at:end] + data[other:]
    return data[:at] + rng.choice(tokens) + data[end:] if tokens else data


def mutate_json(document: Any, rng: random.Random) -> Any:
    """One or two values are replaced, removed, doubled or wrapped."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        places = _places(document)
        if not places:
            return document
        container, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.insert(key, copy.deepcopy(container[key]))
        elif kind == 2:
            container[key] = _nested(container[key], rng.choice(_DEPTHS))
        elif kind == 3 and type(container[key]) in (int, float):
            container[key] = rng.choice(_NUMBERS)
        else:
            container[key] = copy.deepcopy(rng.choice((*_NUMBERS, *_OTHERS)))
    return document


def mutate_json_text(text: bytes, rng: random.Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Half of the time as JSON, else as bytes."""
    if rng.random() < 0.5:
        return json.dumps(mutate_json(json.loads(text), rng)).encode()
    return mutate_bytes(text, rng, tokens)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, waiting = [], [value]
    while waiting:
        container = waiting.pop()
        keys = (
            range(len(container))
            if isinstance(container, list)
            else container.keys()
            if isinstance(container, dict)
            else ()
        )
        for key in keys:
            found.append((container, key))
            waiting.append(container[key])
    return found


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value
