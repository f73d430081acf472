"""How often a request is sent, after which waits, and for how long in all. Knows nothing of what is sent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import stamina

from safelight.client.calls import ApiError
from safelight.errors import SafelightError

_LONGEST_WAIT_S = 30.0
_SPREAD = 0.25
"""What a service asks for is drawn out by up to so much, lest all whom it turned away come back at once."""


class Patience:
    """For one request. attempts: at most. deadline_s: for all of them and the waits between, None for as long as they take.
    clock: monotonic seconds. draw: a random number in [0, 1)."""

    def __init__(
        self,
        attempts: int,
        deadline_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._attempts, self._clock, self._draw = attempts, clock, draw
        self._until = None if deadline_s is None else clock() + deadline_s

    @property
    def left_s(self) -> float | None:
        """Until the deadline, at least a millisecond; None without one."""
        return None if self._until is None else max(0.001, self._until - self._clock())

    def attempts(self) -> Any:
        """For `for` and `async for`; stamina does not export the type."""
        return stamina.retry_context(on=self.wait, attempts=self._attempts, timeout=None)

    def wait(self, error: Exception) -> bool | float:
        """Whether to try again: after what the service asks for when it says, else after stamina's growing waits with jitter;
        not when the time is up before."""
        if not (isinstance(error, SafelightError) and error.retryable):
            return False
        asked = error.retry_after_s if isinstance(error, ApiError) else None
        wait_s = 0.0 if asked is None else min(asked, _LONGEST_WAIT_S) * (1 + _SPREAD * self._draw())
        if self._until is not None and self._clock() + wait_s >= self._until:
            return False
        return True if asked is None else wait_s
