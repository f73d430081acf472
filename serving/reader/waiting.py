"""Requests that wait for a row: a bounded number, and each adapter in its turn. Guarded by whoever holds it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Waiting(Generic[K, T]):
    """By key, first come first served within one; among several each has one taken in turn, however many wait."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[K, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._by_key.values())

    def put(self, key: K, item: T) -> None:
        self._by_key.setdefault(key, deque()).append(item)

    def take(self, most: int) -> list[tuple[K, T]]:
        """The next ones, at most so many."""
        taken: list[tuple[K, T]] = []
        while self._by_key and len(taken) < most:
            key, queue = self._by_key.popitem(last=False)
            taken.append((key, queue.popleft()))
            if queue:
                self._by_key[key] = queue
        return taken

    def drop(self, unwanted: Callable[[T], bool]) -> None:
        """Forget those that are not wanted any more."""
        for key, queue in list(self._by_key.items()):
            kept = deque(item for item in queue if not unwanted(item))
            if kept:
                self._by_key[key] = kept
            else:
                del self._by_key[key]
