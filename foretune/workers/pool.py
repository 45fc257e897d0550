"""Some workers of one kind, and work that is shared among them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from foretune.workers.messages import Reply
from foretune.workers.process import WorkerProcess

W = TypeVar("W", bound=Reply)
Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool(Generic[W]):
    """Workers that each do one thing at a time.

    Args:
        make: makes a worker; its process starts with its first request.
        num_workers: how many there are at first.
    """

    def __init__(self, make: Callable[[], WorkerProcess[W]], num_workers: int) -> None:
        self._make = make
        self._workers = [make() for _ in range(num_workers)]

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[WorkerProcess[W]]:
        return iter(self._workers)

    def __getitem__(self, number: int) -> WorkerProcess[W]:
        return self._workers[number]

    def grow(self, num_workers: int) -> None:
        """Adds workers until there are so many."""
        self._workers += [self._make() for _ in range(num_workers - len(self))]

    def map(self, function: Callable[[WorkerProcess[W], Item], Result], items: Sequence[Item]) -> list[Result]:
        """The results of all items, in order; each worker takes the next item as soon as it is free.

        What the function raises ends the work of its worker, and is raised when the others have done the rest.
        """
        waiting, results = deque(enumerate(items)), {}

        def work(worker: WorkerProcess[W]) -> None:
            while True:
                try:
                    number, item = waiting.popleft()
                except IndexError:
                    return
                results[number] = function(worker, item)

        self.each(work)
        return [results[number] for number in range(len(items))]

    def each(self, function: Callable[[WorkerProcess[W]], Result]) -> list[Result]:
        """The results of a function for each worker, all at once."""
        with ThreadPoolExecutor(len(self)) as threads:
            return list(threads.map(function, self._workers))

    def kill(self) -> None:
        """Ends the processes from another thread; requests that wait for them raise `Death`."""
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """Ends the processes; safe to call twice."""
        for worker in self._workers:
            worker.close()
