"""How often a kernel is run to be timed."""

from __future__ import annotations

from collections.abc import Callable


def repeats(milliseconds: Callable[[int], float], repeat: int, min_repeat_ms: float) -> tuple[int, int]:
    """Decides on the length of a measurement by a short trial, several times quicker than TVM's own search for it.

    Args:
        milliseconds: runs the kernel so many times, and returns the mean of one run.
        repeat: repeats wanted; slow kernels get fewer.
        min_repeat_ms: how long each of them shall last at least.

    Returns:
        (runs in each repeat, repeats).
    """
    one_ms = milliseconds(1)
    if one_ms > 4 * min_repeat_ms:
        return 1, 1 if one_ms > 500 else min(2, repeat)
    one_ms = milliseconds(3 if one_ms > 0.5 else 10)
    return max(1, int(min_repeat_ms / one_ms) + 1), repeat
