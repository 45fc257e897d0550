"""Schedules of MLIR actions as arrays, for rollouts: the action's name, and its numbers as logarithms.

Dimension letters: N schedules, T actions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from foretune.trace import Action, Trace

NUM_NUMBERS = 12


def symbol(action: Action) -> str:
    """What an action is embedded as: its operation, and the words among its options."""
    words = [f"{name}={value}" for name, value in _options(action) if isinstance(value, (str, bool))]
    return " ".join([action.op, *sorted(words)])


def encode_traces(traces: Sequence[Trace], symbols: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids [N, T] int64, -1 behind the last action and 0 for a symbol that is not known, and numbers [N, T, NUM_NUMBERS]
    float32.
    """
    known = {name: i + 1 for i, name in enumerate(symbols)}
    longest = max((len(trace) for trace in traces), default=0)
    ids, numbers = (
        np.full((len(traces), longest), -1, np.int64),
        np.zeros((len(traces), longest, NUM_NUMBERS), np.float32),
    )
    for n, trace in enumerate(traces):
        for t, action in enumerate(trace.actions):
            ids[n, t] = known.get(symbol(action), 0)
            numbers[n, t] = _numbers(action)
    return ids, numbers


def _options(action: Action) -> list[tuple[str, object]]:
    pairs = (a for a in action.attrs if isinstance(a, tuple) and len(a) == 2)
    return [(name, value) for name, value in pairs if isinstance(name, str)]


def _numbers(action: Action) -> np.ndarray:
    """The position of the operation that is worked on, then all integers of the options in order."""
    row = np.zeros(NUM_NUMBERS, np.float32)
    match = re.search(r":(\d+)$", action.attrs[0]) if action.attrs and isinstance(action.attrs[0], str) else None
    row[0] = math.log2(1 + int(match[1])) if match else -1.0
    at = 1
    for _, value in _options(action):
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and at < NUM_NUMBERS:
                row[at] = math.log2(1 + max(0, number))
                at += 1
    return row
