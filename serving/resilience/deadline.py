"""The time that a request has, from its first byte to its answer. Every step is given what is left of it."""

from __future__ import annotations

from collections.abc import Callable

from safelight.errors import DeadlineExceeded


class Deadline:
    """begun: when the request arrived, by `clock` (monotonic seconds). seconds: that it has."""

    __slots__ = ("_clock", "_ends", "seconds")

    def __init__(self, begun: float, seconds: float, clock: Callable[[], float]) -> None:
        self._ends, self._clock = begun + seconds, clock
        self.seconds = seconds

    def left_s(self) -> float:
        """Seconds that are left. Raises DeadlineExceeded when there are none."""
        left = self._ends - self._clock()
        if left <= 0:
            raise self.exceeded()
        return left

    @property
    def remaining_s(self) -> float:
        """Seconds that are left; below zero once the time is over."""
        return self._ends - self._clock()

    def exceeded(self) -> DeadlineExceeded:
        """The error that says that the time is over."""
        return DeadlineExceeded(
            f"Expected an answer within {self.seconds:g} s of the request's arrival. Send it again later."
        )
