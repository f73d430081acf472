"""The time of day for those that forget by it: without its jumps ahead. Knows nothing of what is forgotten."""

from __future__ import annotations

from collections.abc import Callable

_STEADY_S = 60.0  # clocks are put right by as much without having jumped
_BELIEVED_AFTER_S = 2 * 3600.0 + 120.0  # twice the longest freshness that settings allow, and some


class SteadyClock:
    """The time of day, less what it jumped ahead. What a clock that was wrong for a while had made one forget could be sent
    again once it is right. A jump that lasts is believed, after the longest time that an envelope may be fresh.

    now: seconds since the epoch. monotonic: seconds that pass.
    """

    def __init__(self, now: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._now, self._monotonic = now, monotonic
        self._behind_s = now() - monotonic()
        self._off_since: float | None = None

    def __call__(self) -> float:
        passed, now = self._monotonic(), self._now()
        if abs(now - passed - self._behind_s) < _STEADY_S:
            self._off_since = None
        elif self._off_since is None:
            self._off_since = passed
        elif passed - self._off_since > _BELIEVED_AFTER_S:
            self._behind_s, self._off_since = now - passed, None
        return min(now, passed + self._behind_s)
