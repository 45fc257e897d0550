"""Work shared among threads, each with one thread of PyTorch's own: less waiting for each other than operators split in
two.

`torch.set_num_threads` is no way to it: what it sets for one thread is also what every thread begins with that any part
of the program starts later. OpenMP and MKL, which compute for PyTorch, keep a number for each thread by themselves.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results in the order of the items; as many threads as PyTorch is allowed in this one."""
    count = torch.get_num_threads()
    if len(items) < 2 or count < 2:
        return [work(item) for item in items]

    def alone(item: T) -> R:
        with threads_of_this_thread(1):
            return work(item)

    with ThreadPoolExecutor(min(count, len(items))) as pool:
        return list(pool.map(alone, items))


@contextlib.contextmanager
def threads_of_this_thread(count: int) -> Iterator[None]:
    """Has PyTorch compute on so many threads where this thread calls it; all other threads of the program are left
    alone.

    Args:
        count: of threads. Where PyTorch was built without OpenMP it has no effect.
    """
    openmp, mkl = _libraries()
    if openmp is None:
        yield
        return
    before = torch.get_num_threads()  # also has PyTorch set this thread up, which it does once
    openmp.omp_set_num_threads(count)
    mkl_before = mkl.MKL_Set_Num_Threads_Local(count) if mkl is not None else 0
    try:
        yield
    finally:
        openmp.omp_set_num_threads(before)
        if mkl is not None:
            mkl.MKL_Set_Num_Threads_Local(mkl_before)


@lru_cache
def _libraries() -> tuple[ctypes.CDLL | None, ctypes.CDLL | None]:
    """What PyTorch computes with, (with OpenMP's functions, with MKL's); None for what it was built without."""
    try:
        library = ctypes.CDLL(
            str(next((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")))
        )  # it is loaded already
    except (OSError, StopIteration):
        return None, None
    return (library if hasattr(library, "omp_set_num_threads") else None), (
        library if hasattr(library, "MKL_Set_Num_Threads_Local") else None
    )
