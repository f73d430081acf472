"""A circuit breaker: what fails again and again is left alone for a while, and then tried by one caller at a time.

After M. Nygard, "Release It!", 2nd edition, chapter 5. Knows nothing of what is called, of models or of stores; why it is our
own: docs/decisions/0007-own-circuit-breaker.md.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

State = Literal["closed", "open", "half-open"]


class BreakerOpen(Exception):
    """The call was not made. retry_after_s: whole seconds until it may be, at least 1."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("The breaker is open: nothing was called.")
        self.retry_after_s = retry_after_s


class Breaker:
    """Closed, it lets every call through, and opens after `failures` failed ones in a row. Open, it lets none through for
    `reset_s`; then, half-open, one at a time: the first that succeeds closes it, one that fails opens it again.

    clock: monotonic seconds. on_change: told of each new state, in order; it is quick, raises nothing and does not call the
    breaker. Any thread may use any method, and none waits.
    """

    def __init__(
        self,
        failures: int,
        reset_s: float,
        clock: Callable[[], float],
        on_change: Callable[[State], None] = lambda state: None,
    ) -> None:
        if failures < 1 or reset_s <= 0:
            raise ValueError(f"Expected failures >= 1 and reset_s > 0, got {failures} and {reset_s}.")
        self._most, self._reset_s, self._clock, self._on_change = failures, reset_s, clock, on_change
        self._lock = threading.Lock()
        self._state: State = "closed"
        self._round = 0  # rises with each change of state, and with each trial: older calls say nothing about now
        self._failed = 0
        self._wait_until = 0.0

    @property
    def state(self) -> State:
        """Open until somebody asks: time alone changes nothing."""
        return self._state

    @property
    def may_admit(self) -> bool:
        """Whether a caller who came now might be let through. Changes nothing."""
        return self._state == "closed" or self._clock() >= self._wait_until

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until a call may be let through, at least 1."""
        return max(1, math.ceil(self._wait_until - self._clock()))

    def admit(self) -> Call | None:
        """A call that may be made now, or None. Whoever gets one says how it went."""
        with self._lock:
            if self._state == "closed":
                return Call(self, self._round)
            if self._clock() < self._wait_until:
                return None
            # Whether it was open long enough, or a trial has not come back for as long: this caller tries.
            self._wait_until = self._clock() + self._reset_s
            self._round += 1
            self._change("half-open")
            return Call(self, self._round)

    @contextmanager
    def guard(self, *failures: type[BaseException]) -> Iterator[None]:
        """Make a call in a `with` block, in asynchronous code too. An error of the kinds in `failures` is a failed call; one
        of any other kind, a cancellation among them, says nothing about what was called.

        Raises BreakerOpen in place of entering the block.
        """
        call = self.admit()
        if call is None:
            raise BreakerOpen(self.retry_after_s)
        try:
            yield
        except failures:
            call.failed()
            raise
        except BaseException:
            call.abandoned()
            raise
        call.succeeded()

    def _told(self, of_round: int, outcome: Literal["succeeded", "failed", "abandoned"]) -> None:
        with self._lock:
            if of_round != self._round:
                return
            if outcome == "failed":
                self._failed += 1
                if self._state == "half-open" or self._failed >= self._most:
                    self._wait_until = self._clock() + self._reset_s
                    self._change("open")
            elif outcome == "succeeded":
                self._failed = 0
                self._change("closed")
            elif self._state == "half-open":
                self._wait_until = self._clock()  # nothing is known: the next caller tries

    def _change(self, state: State) -> None:
        if state != self._state:
            self._round += state != "half-open"
            self._state = state
            self._on_change(state)


class Call:
    """One call that a breaker let through; whoever makes it says once how it went. What is said later than the breaker's
    next change of state is not heard."""

    __slots__ = ("_breaker", "_round")

    def __init__(self, breaker: Breaker, of_round: int) -> None:
        self._breaker, self._round = breaker, of_round

    def succeeded(self) -> None:
        """What was called did its work."""
        self._breaker._told(self._round, "succeeded")

    def failed(self) -> None:
        """What was called is to blame for the failure."""
        self._breaker._told(self._round, "failed")

    def abandoned(self) -> None:
        """The call ended without telling anything about what was called."""
        self._breaker._told(self._round, "abandoned")
