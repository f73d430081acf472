"""Each request as figures, and as a trace where those are on, once it is over. Knows its record, never the request itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.privacy.record import Record, record_of
from serving.telemetry.labels import DEPENDENCIES, PROTOCOLS, REFUSALS, Names, listed, status_label
from serving.telemetry.metrics import Bound, Metrics

_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True)
class Parent:
    """The span of a caller that a request says it belongs to (W3C Trace Context)."""

    trace_id: int
    span_id: int
    sampled: bool


@dataclass(frozen=True)
class Passage:
    """A request that is over. begun: it came in. arrived: the whole of it was here. ended: its answer was complete. All in
    seconds of the service's monotonic clock. parent: as the connection's own headers had it."""

    record: Record
    begun: float
    arrived: float
    ended: float
    parent: Parent | None


class Tracer(Protocol):
    """What makes traces."""

    def trace(self, passage: Passage) -> None:
        """Quick, and raises nothing."""


class Measured:
    """ASGI middleware around everything, the audit log included. clock: monotonic seconds. tracer: None for no traces."""

    def __init__(
        self, app: ASGIApp, figures: RequestFigures, clock: Callable[[], float], tracer: Callable[[], Tracer | None]
    ) -> None:
        self._app, self._figures, self._clock, self._tracer = app, figures, clock, tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watch = _Watch(receive, send, self._clock)
        self._figures.began()
        try:
            await self._app(scope, watch.receive, watch.send)
        finally:
            tracer = self._tracer()
            parent = None if tracer is None else parent_of(scope)
            passage = Passage(record_of(scope), watch.begun, watch.arrived, watch.ended or self._clock(), parent)
            self._figures.ended(passage)
            if tracer is not None:
                tracer.trace(passage)


class RequestFigures:
    """metrics: where they go. names: which models are told apart."""

    def __init__(self, metrics: Metrics, names: Names) -> None:
        self._names = names
        self._requests, self._request_seconds = Bound(metrics.requests), Bound(metrics.request_seconds)
        self._stage_seconds, self._in_flight = Bound(metrics.stage_seconds), metrics.in_flight
        self._dependency_failures = Bound(metrics.dependency_failures)
        for dependency in DEPENDENCIES.values():  # from 0 on, so that the first failure is a step
            self._dependency_failures(dependency)

    def began(self) -> None:
        """A request came in."""
        self._in_flight.inc()

    def ended(self, passage: Passage) -> None:
        """A request is over."""
        record = passage.record
        status, refusal = status_label(record.status), listed(record.refusal, REFUSALS)
        self._in_flight.dec()
        self._requests(record.route, status, listed(record.protocol, PROTOCOLS), refusal).inc()
        status_class = status if record.status is None else f"{status[0]}xx"
        self._request_seconds(record.route, status_class).observe(max(0.0, passage.ended - passage.arrived))
        if refusal in DEPENDENCIES:
            self._dependency_failures(DEPENDENCIES[refusal]).inc()
        spent: dict[str, float] = {}
        for stage, begun, ended in tuple(record.stages):  # a thread that was given up may still note one
            spent[stage] = spent.get(stage, 0.0) + ended - begun
        model = self._names.of(record.model)
        for name, seconds in spent.items():
            self._stage_seconds(name, model).observe(seconds)


class _Watch:
    """When a request's last byte came and its answer's last byte went."""

    def __init__(self, receive: Receive, send: Send, clock: Callable[[], float]) -> None:
        self._receive, self._send, self._clock = receive, send, clock
        self.begun = self.arrived = clock()
        self.ended: float | None = None
        self._arriving = True

    async def receive(self) -> Message:
        message = await self._receive()
        if self._arriving and not message.get("more_body", False):
            self._arriving, self.arrived = False, self._clock()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.ended = self._clock()  # what follows is the network's
        await self._send(message)


def parent_of(scope: Scope) -> Parent | None:
    """Of the header `traceparent`, if there is one and it is right; `tracestate` and `baggage` are never looked at."""
    values = [value for name, value in scope["headers"] if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return Parent(trace_id, span_id, bool(flags & 1)) if trace_id and span_id else None
