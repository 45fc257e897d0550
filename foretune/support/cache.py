"""A small least-recently-used cache for values that are costly to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentCache(Generic[Value]):
    """Keeps the values of the keys that were asked for last.

    Args:
        capacity: how many values are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; made if it is not kept."""
        if key not in self._values:
            self.put(key, make())
        self._values.move_to_end(key)
        return self._values[key]

    def find(self, key: Hashable) -> Value | None:
        """The value of a key; None if it is not kept."""
        return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Keeps a value in place of the key's last one."""
        if key not in self._values and len(self._values) >= self._capacity:
            self._values.popitem(last=False)
        self._values[key] = value
        self._values.move_to_end(key)
