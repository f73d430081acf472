"""Whether each model is shown, or finds, other things than it was made for: `safelight.drift` of a part of the pictures.

Of a busy model not every picture is looked at, since the statistics of one would cost more than all other figures of a request
together. Knows nothing of how a statistic is computed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.drift import Drift, Reference
from serving.telemetry.metrics import Bound, Metrics

EVERY_S = 0.05
"""A model's pictures are at least so far apart to be looked at."""


class DriftWatch:
    """clock: monotonic seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._psi, self._changed = Bound(metrics.drift_psi), Bound(metrics.drift_changed)
        self._pictures = Bound(metrics.drift_pictures)
        self._watched: dict[tuple[str, str], Drift] = {}
        self._next: dict[tuple[str, str], float] = {}

    def expects(self, route: str, member: str, reference: Reference | None) -> None:
        """Begin anew with this reference; without one the first pictures become it."""
        self._watched[route, member] = Drift(reference)

    def seen(self, route: str, member: str, view: NDArray[np.uint8], found: Detections) -> None:
        """A picture's first view `(S, S, 3)` uint8 RGB, and what was found."""
        who, now = (route, member), self._clock()
        if now < self._next.get(who, now):
            return
        self._next[who] = now + EVERY_S
        drift = self._watched.get(who) or self._watched.setdefault(who, Drift(None))
        drift.see(view, found)

    def publish(self) -> None:
        """Tell what has changed by now."""
        for who, drift in tuple(self._watched.items()):
            told = drift.told()
            self._pictures(*who).set(told.pictures)
            for statistic, change in told.changes.items():
                self._psi(*who, statistic).set(change.psi)
                self._changed(*who, statistic).set(change.psi > change.limit)
