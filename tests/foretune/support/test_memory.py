"""What only a cycle holds is freed."""

from __future__ import annotations

import gc
import weakref

from foretune.support.memory import give_back


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_cycles_are_freed():
    gc.disable()
    try:
        gone = weakref.ref(Node())
        assert gone() is not None
        give_back()
        assert gone() is None
    finally:
        gc.enable()
