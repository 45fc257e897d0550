"""Memory that nobody uses any more, back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Frees what only cycles of objects hold, and has glibc return free memory; elsewhere, the allocator decides.

    glibc keeps what lies below memory in use, however much it is: after a graph was compiled, hundreds of megabytes.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
