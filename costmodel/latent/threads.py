"""Work shared among threads, each with one thread of PyTorch's own: less waiting for each other than operators split in two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Results in the order of the items; as many threads as PyTorch is allowed in this one."""
    count = torch.get_num_threads()
    if len(items) < 2 or count < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(count, len(items)), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        results = pool.map(work, items)
    torch.set_num_threads(count)  # also what threads begin with that are started later
    return list(results)
