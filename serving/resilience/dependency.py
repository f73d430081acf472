"""Asking something that may be gone: a second try after a short random wait, and none at all while its breaker is open.

Only errors that may pass by themselves are tried again, after a full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015); all of it takes seconds at most, and the request's own time goes on running. Knows nothing of what is
asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from serving.privacy import logs
from serving.resilience.breaker import Breaker, State

T = TypeVar("T")
FAILURES, RESET_S = 5, 2.0
"""Failed calls in a row after which a dependency is left alone, and for how long: far less than a model, since trying it again
costs one request a second or two at most."""


def dependency_breaker(name: str, clock: Callable[[], float] = time.monotonic) -> Breaker:
    """A breaker that says in the log when its state changes. name: ours."""
    log = logs.logger()

    def say(state: State) -> None:
        log.warning("dependency_breaker", state=state, reason=name)

    return Breaker(FAILURES, RESET_S, clock, say)


class Dependency:
    """failures: what it raises when it is at fault; passing: those of them that may pass by themselves. attempts: in all.
    longest_wait_s: between two; the second half of nothing is as likely as the first. sleep, draw: of the test's, if it likes;
    draw gives a number in [0, 1)."""

    def __init__(
        self,
        breaker: Breaker,
        failures: tuple[type[Exception], ...],
        passing: tuple[type[Exception], ...],
        *,
        attempts: int = 2,
        longest_wait_s: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.breaker = breaker
        self._failures, self._passing, self._attempts = failures, passing, attempts
        self._longest_wait_s, self._sleep, self._draw = longest_wait_s, sleep, draw

    def ask(self, call: Callable[[bool], T]) -> T:
        """What `call` returns; it is told whether it was tried before, and may then have been carried out. Blocks.

        Raises BreakerOpen, or what the last attempt raised.
        """
        for attempt in range(1, self._attempts):
            try:
                with self.breaker.guard(*self._failures):
                    return call(attempt > 1)
            except self._passing:
                self._sleep(self._draw() * self._longest_wait_s * attempt)
        with self.breaker.guard(*self._failures):
            return call(self._attempts > 1)
