"""All of it together: what models report to, what the application is wrapped in, and a thread that looks around now and then.

Knows nothing of BentoML, whose /metrics shows the figures: prometheus_client's files are what the two share.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry
from starlette.types import ASGIApp

from serving.models.observer import Observer
from serving.privacy import logs
from serving.settings import Settings
from serving.telemetry import memory, workers
from serving.telemetry.drift import DriftWatch
from serving.telemetry.labels import Names
from serving.telemetry.metrics import Metrics
from serving.telemetry.observer import Figures
from serving.telemetry.requests import Measured, RequestFigures

if TYPE_CHECKING:
    from serving.telemetry.traces import Traces

log = logs.logger()
_LOOK_AROUND_S = 5.0


class Telemetry:
    """settings: the service's. clock: monotonic seconds, the one that records are kept with. registry: what shows the figures
    in a process that shares them with no other.

    Figures count from the beginning; the thread, and what sends traces, begin with `start`, in the process that serves.
    """

    def __init__(
        self, settings: Settings, *, clock: Callable[[], float], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._settings, self._clock = settings, clock
        self._folder = workers.shared_folder()
        if self._folder is not None and not workers.make_room(self._folder, os.getpid()):
            log.warning("metrics_without_room", reason="the disk is nearly full")
        self.metrics, names = Metrics(registry), Names()
        self._figures = RequestFigures(self.metrics, names)
        self._drift = DriftWatch(self.metrics, clock) if settings.telemetry.drift else None
        self.observer: Observer = Figures(self.metrics, names, self._drift)
        self._traces: Traces | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_around, name="telemetry", daemon=True)

    def measured(self, app: ASGIApp) -> ASGIApp:
        """The application, with every request counted."""
        return Measured(app, self._figures, self._clock, lambda: self._traces)

    def start(self) -> None:
        """Once the models are loaded: what the worker holds then is what it needs at rest."""
        at_rest = memory.resident_bytes() + memory.working_bytes(self._settings.limits, _decoding(self._settings))
        allowed = memory.allowed_bytes(self._settings.workers)
        self.metrics.memory_bound.set(at_rest if allowed is None else min(at_rest, allowed))
        if self._settings.telemetry.traces != "none":
            from serving.telemetry.traces import OUTCOMES, Traces

            for outcome in OUTCOMES:
                self._count_spans(outcome, 0)
            self._traces = Traces(self._settings.telemetry, clock=self._clock, count=self._count_spans)
        self.look_around()
        self._thread.start()

    def look_around(self) -> None:
        """What nobody reports."""
        self.metrics.memory.set(memory.resident_bytes())
        if self._drift is not None:
            self._drift.publish()
        if self._folder is not None:
            workers.bury(self._folder)

    def close(self) -> None:
        """Stop the thread, and send what is left of the traces, for a few seconds at most. Idempotent."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._traces is not None:
            self._traces.close()
            self._traces = None

    def _count_spans(self, outcome: str, number: int) -> None:
        self.metrics.spans.labels(outcome).inc(number)

    def _look_around(self) -> None:
        while not self._stopping.wait(_LOOK_AROUND_S):
            try:
                self.look_around()
            except Exception as error:  # a full disk, a file that another worker took away: there is a next time
                logs.report(error, None)


def _decoding(settings: Settings) -> int:
    """How many decode pictures, each as many at a time: every detector, and all readers together."""
    return len(settings.models) + bool(settings.readers.routes)
