"""Base models that several adapters share: each is opened once, and closed when the last that uses it has gone.

A base takes hundreds of megabytes and seconds to open, an adapter a few of each. Knows nothing of what a base is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
E = TypeVar("E")


class Bases(Generic[K, E]):
    """open: verifies and opens the base of a key; it may take seconds, and raises what it raises to all who wait for it.
    close: lets one go. Both are called by one thread at a time for a key; may be used from several threads."""

    def __init__(self, open: Callable[[K], E], close: Callable[[E], None]) -> None:
        self._open, self._close = open, close
        self._lock = threading.Lock()
        self._shared: dict[K, _Shared[E]] = {}

    def lease(self, key: K) -> Lease[E]:
        """The base of a key, open for as long as the lease is not given back. Raises what opening raises."""
        with self._lock:
            shared = self._shared.setdefault(key, _Shared())
            shared.users += 1
        lease = Lease(lambda: self._give_back(key, shared), shared)
        try:
            with shared.lock:
                if not shared.opened:
                    shared.opened.append(self._open(key))
        except BaseException:
            lease.give_back()
            raise
        return lease

    @property
    def open_keys(self) -> tuple[K, ...]:
        """The bases that are open, or being opened."""
        with self._lock:
            return tuple(self._shared)

    def _give_back(self, key: K, shared: _Shared[E]) -> None:
        with self._lock:
            shared.users -= 1
            last = shared.users == 0
            if last and self._shared.get(key) is shared:
                del self._shared[key]
        if last:
            with shared.lock:
                while shared.opened:
                    self._close(shared.opened.pop())


class Lease(Generic[E]):
    """One user's hold on a base."""

    def __init__(self, give_back: Callable[[], None], shared: _Shared[E]) -> None:
        self._give_back, self._shared = give_back, shared
        self._lock, self._given_back = threading.Lock(), False

    @property
    def base(self) -> E:
        """What was opened."""
        return self._shared.opened[0]

    def give_back(self) -> None:
        """The base is not needed any more. Idempotent."""
        with self._lock:
            if self._given_back:
                return
            self._given_back = True
        self._give_back()


class _Shared(Generic[E]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.opened: list[E] = []
