"""The figures by name, as Prometheus will see them; docs/observability.md says what each means. Knows nothing of who counts.

prometheus_client decides when it is first imported whether processes share their figures: BentoML sets
PROMETHEUS_MULTIPROC_DIR for its workers before anything is imported there. Each gauge therefore says how the values of several
workers become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)
_MEMBER = ("route", "member")


class Metrics:
    """registry: what shows them in a process that shares with no other. Few buckets: each is a number to keep per label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # Of requests; route: a path.
        self.requests = self._counter(
            "safelight_requests",
            "Requests that were answered, or given up.",
            ("route", "status", "protocol", "refusal"),
        )
        self.request_seconds = self._histogram(
            "safelight_request_seconds",
            "From the whole request's arrival to the end of its answer.",
            ("route", "status_class"),
            REQUEST_BUCKETS,
        )
        self.stage_seconds = self._histogram(
            "safelight_stage_seconds", "Time of one request in one stage.", ("stage", "model"), STAGE_BUCKETS
        )
        self.in_flight = self._gauge("safelight_requests_in_flight", "Requests under way.", (), "livesum")
        self.dependency_failures = self._counter(
            "safelight_dependency_failures",
            "Requests refused because something the service needs failed: audit log, replay store, access.",
            ("dependency",),
        )
        # Of models; route: what requests ask for, member: one of the models behind it.
        self.batch_size = self._histogram("safelight_batch_size", "Inputs in one run.", _MEMBER, BATCH_BUCKETS)
        self.run_seconds = self._histogram("safelight_run_seconds", "Time of one run.", _MEMBER, STAGE_BUCKETS)
        self.tokens = self._counter(
            "safelight_tokens",
            "Tokens of answers that readers gave: chosen, or forced by the schema.",
            (*_MEMBER, "kind"),
        )
        self.queue_depth = self._gauge(
            "safelight_queue_depth", "Pictures that wait for a thread of a model.", _MEMBER, "livesum"
        )
        self.breaker_state = self._gauge(
            "safelight_breaker_state", "Workers whose breaker is in a state.", (*_MEMBER, "state"), "livesum"
        )
        self.fallbacks = self._counter(
            "safelight_fallbacks", "Requests that a model could not answer.", (*_MEMBER, "reason")
        )
        self.swaps = self._counter("safelight_swaps", "Versions that came, or not.", (*_MEMBER, "outcome"))
        self.model_ready = self._gauge("safelight_model_ready", "1 where every worker can use it.", _MEMBER, "livemin")
        self.agreement = self._summary(
            "safelight_challenger_agreement", "Share of boxes on which challenger and champion agree.", _MEMBER
        )
        self.drift_psi = self._gauge(
            "safelight_drift_psi",
            "Population stability index of a statistic against its reference.",
            (*_MEMBER, "statistic"),
            "livemax",
        )
        self.drift_changed = self._gauge(
            "safelight_drift_changed",
            "Workers where a statistic is further from its reference than chance would take it.",
            (*_MEMBER, "statistic"),
            "livesum",
        )
        self.drift_pictures = self._gauge(
            "safelight_drift_pictures", "Pictures that the statistics were taken of.", _MEMBER, "livesum"
        )
        # Of workers.
        self.memory = self._gauge("safelight_worker_memory_bytes", "Resident set size.", (), "liveall")
        self.memory_bound = self._gauge(
            "safelight_worker_memory_bound_bytes", "What it should not pass.", (), "livemin"
        )
        self.spans = self._counter("safelight_spans", "Spans of traces: made, sent, failed to be sent.", ("outcome",))

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Any:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Any:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def _summary(self, name: str, text: str, labels: Sequence[str]) -> Any:
        return Summary(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str], of_workers: str) -> Any:
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=of_workers)


class Bound:
    """Children of one metric by their label values, each made once: `labels()` looks them up under a lock at every call."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {}

    def __call__(self, *values: str) -> Any:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child
