"""The first while of a version that took another one's place: whether it fails more than it may."""

from __future__ import annotations

from collections.abc import Callable


class Trial:
    """least: answers before anything is said. share: of them that may fail. lasts_s: how long it takes. clock: monotonic."""

    def __init__(self, least: int, share: float, lasts_s: float, clock: Callable[[], float]) -> None:
        self._least, self._share = least, share
        self._clock, self._ends = clock, clock() + lasts_s
        self._answers = self._failures = 0

    def lost(self, failed: bool) -> bool:
        """Count one answer; whether more than the share has failed by now."""
        self._answers += 1
        self._failures += failed
        enough = self._answers >= self._least
        return enough and self._failures > self._share * self._answers

    def over(self) -> bool:
        """Whether its time has passed."""
        return self._clock() >= self._ends
