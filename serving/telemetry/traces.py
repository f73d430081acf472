"""One trace of each sampled request for OpenTelemetry: a span for it, and one for each of its stages, with their real times.

Attributes come from a fixed list; no query, header, address, file name or body is ever among them. A sealed request does not
become part of its sender's trace, which would tie the answer to whoever asked, across any relay between them. Imported only
where traces are on: the SDK and its exporter take a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

import safelight
from serving.privacy import logs
from serving.privacy.record import Record
from serving.settings import Telemetry as TelemetrySettings
from serving.telemetry.requests import Passage

Outcome = Literal["made", "sent", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("made", "sent", "failed")
QUEUE_SPANS = 4096
BATCH_SPANS = 512
_EVERY_MS = 2000.0
_SEND_S = 5.0
_FAREWELL_S = 3.0
_NS = 1_000_000_000


class Traces:
    """settings: where to, and how many. clock: monotonic seconds, as in the passages. now_ns: of the day, since the epoch.
    count: told how many spans were made, sent, or not taken by the collector. Starts a thread that sends."""

    def __init__(
        self,
        settings: TelemetrySettings,
        *,
        clock: Callable[[], float],
        count: Callable[[Outcome, int], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._continued, self._clock, self._now_ns, self._count = settings.continue_traces, clock, now_ns, count
        self._exporter = _Bounded(OTLPSpanExporter(endpoint=settings.traces, timeout=_SEND_S), count)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
            # not Resource.create(), which adds what the environment says
            resource=Resource({"service.name": "safelight", "service.version": safelight.__version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=QUEUE_SPANS,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=BATCH_SPANS,
            )
        )
        self._tracer = self._provider.get_tracer("safelight")

    def trace(self, passage: Passage) -> None:
        """Make the spans of a request that is over; they are sent later, or dropped where the queue is full."""
        try:
            self._trace(passage)
        except Exception as error:  # whatever it is, the request was answered
            logs.report(error, None)

    def _trace(self, passage: Passage) -> None:
        record, stages = passage.record, tuple(passage.record.stages)
        epoch_ns = self._now_ns() - int(self._clock() * _NS)

        def at(seconds: float) -> int:
            return epoch_ns + int(seconds * _NS)

        span = self._tracer.start_span(
            f"{record.method} {record.route}",
            self._context(passage),
            SpanKind.SERVER,
            attributes=attributes(record),
            start_time=at(passage.begun),
        )
        if span.is_recording():
            inside = set_span_in_context(span, Context())
            for stage, begun, ended in stages:
                self._tracer.start_span(stage, inside, start_time=at(begun)).end(at(ended))
            if record.status is not None and record.status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            self._count("made", 1 + len(stages))
        span.end(at(passage.ended))

    def _context(self, passage: Passage) -> Context:
        """Of the caller's span where it may be continued; else a trace of its own. What a caller adds to it is left out."""
        parent, plain = passage.parent, passage.record.protocol == "plain"
        if parent is None or self._continued == "none" or (self._continued == "plain" and not plain):
            return Context()
        flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
        remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(remote), Context())

    def close(self) -> None:
        """Send what is left, for a few seconds at most."""
        self._exporter.end_at = time.monotonic() + _FAREWELL_S
        farewell = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        farewell.start()
        farewell.join(_FAREWELL_S)


def attributes(record: Record) -> dict[str, str | int]:
    """All that is said of a request. Names are checked as they are for the audit log."""
    fields = record.fields()
    said = {
        "http.request.method": fields["method"],
        "http.route": fields["route"],
        "http.response.status_code": fields["status"],
        "safelight.protocol": fields["protocol"],
        "safelight.refusal": fields["refusal"],
        "safelight.model": fields["model"],
        "safelight.model.digest": fields["digest"],
        "safelight.batch_size": record.batch_size,
    }
    return {name: value for name, value in said.items() if value is not None}


class _Bounded(SpanExporter):
    """An exporter that counts, and that gives up at a time. end_at: of `time.monotonic`, once the service stops."""

    def __init__(self, exporter: SpanExporter, count: Callable[[Outcome, int], None]) -> None:
        self._exporter, self._count = exporter, count
        self.end_at = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            if time.monotonic() < self.end_at:
                result = self._exporter.export(spans)
        finally:
            self._count("sent" if result is SpanExportResult.SUCCESS else "failed", len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True
