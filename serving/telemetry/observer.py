"""What models report, as figures. An `Observer`: quick, silent, from any thread. Knows nothing of requests or of drift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.drift import Reference
from serving.models.observer import BreakerState, Failure, Swap
from serving.telemetry.drift import DriftWatch
from serving.telemetry.labels import BREAKER_STATES, FAILURES, SWAPS, Names
from serving.telemetry.metrics import Bound, Metrics


class Figures:
    """metrics: where they go. names: which routes and members are told apart. drift: looks at pictures and detections, if
    anybody does."""

    def __init__(self, metrics: Metrics, names: Names, drift: DriftWatch | None) -> None:
        self._names, self._drift = names, drift
        self._batch_size, self._run_seconds = Bound(metrics.batch_size), Bound(metrics.run_seconds)
        self._queue_depth, self._breaker_state = Bound(metrics.queue_depth), Bound(metrics.breaker_state)
        self._fallbacks, self._swaps = Bound(metrics.fallbacks), Bound(metrics.swaps)
        self._tokens = Bound(metrics.tokens)
        self._model_ready, self._agreement = Bound(metrics.model_ready), Bound(metrics.agreement)

    def ran(self, route: str, member: str, size: int, seconds: float) -> None:
        who = self._who(route, member)
        self._batch_size(*who).observe(size)
        self._run_seconds(*who).observe(seconds)

    def read(self, route: str, member: str, chosen: int, forced: int) -> None:
        who = self._who(route, member)
        self._tokens(*who, "chosen").inc(chosen)
        self._tokens(*who, "forced").inc(forced)

    def queued(self, route: str, member: str, waiting: int) -> None:
        self._queue_depth(*self._who(route, member)).set(waiting)

    def breaker(self, route: str, member: str, state: BreakerState) -> None:
        for one in BREAKER_STATES:
            self._breaker_state(*self._who(route, member), one).set(one == state)

    def fell_back(self, route: str, member: str, reason: Failure) -> None:
        self._fallbacks(*self._who(route, member), reason).inc()

    def swapped(self, route: str, member: str, outcome: Swap) -> None:
        self._swaps(*self._who(route, member), outcome).inc()

    def loaded(self, route: str, member: str, ready: bool) -> None:
        who = self._who(route, member)
        self._model_ready(*who).set(ready)
        # From 0 on: Prometheus does not see the first step of a counter that begins with 1, nor a queue that nobody joined.
        self._queue_depth(*who)
        for reason in FAILURES:
            self._fallbacks(*who, reason)
        for outcome in SWAPS:
            self._swaps(*who, outcome)

    def seen(self, route: str, member: str, view: NDArray[np.uint8], found: Detections) -> None:
        if self._drift is not None:
            self._drift.seen(*self._who(route, member), view, found)

    def expects(self, route: str, member: str, reference: Reference | None) -> None:
        if self._drift is not None:
            self._drift.expects(*self._who(route, member), reference)

    def compared(self, route: str, member: str, agreement: float) -> None:
        self._agreement(*self._who(route, member)).observe(agreement)

    def _who(self, route: str, member: str) -> tuple[str, str]:
        return self._names.of(route), self._names.of(member)
