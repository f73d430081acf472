"""A budget of bytes for what requests send: each takes what it has buffered, and gives it back when it is answered.

Whoever would exceed it is refused at once and waits for nothing, so that no two can wait for what the other one holds. Knows
nothing of what the bytes are. For one event loop: nothing here is locked.
"""

from __future__ import annotations

from types import TracebackType

from safelight.errors import Overloaded


class Budget:
    """max_bytes: that all requests may hold together. held: what they hold now."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.held = max_bytes, 0

    def holding(self) -> Holding:
        """One request's share, at first nothing; use it as a context manager."""
        return Holding(self)


class Holding:
    """What one request holds; all of it is given back at the end of the `with` block. held: bytes."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget, self.held = budget, 0

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises Overloaded, and then holds what it held before."""
        if self._budget.held + size > self._budget.max_bytes:
            raise Overloaded()
        self._budget.held += size
        self.held += size

    def keep(self, size: int) -> None:
        """Give back all but so many bytes."""
        self._budget.held -= max(0, self.held - size)
        self.held = min(self.held, size)

    def __enter__(self) -> Holding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.keep(0)
