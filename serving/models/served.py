"""One version of a model that answers: what its bundle says, what looks at pictures, and the threads it looks with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from safelight.bundle import Manifest, VariantName
from serving.detector.predictor import Predictor
from serving.resilience.workers import Workers

VariantState = Literal["in use", "available", "missing"]


@dataclass(frozen=True)
class Served:
    """digest: SHA-256 of the manifest. stop: ends the runs of the network that are under way. renew: a predictor on the same
    network that shares nothing else with this one. least_side: what the longer side of a decoded JPEG has to keep, None for
    all of it. variants: what became of each."""

    manifest: Manifest
    digest: str
    renew: Callable[[], Predictor]
    predictor: Predictor
    workers: Workers
    stop: Callable[[], None]
    least_side: int | None = None
    variants: Mapping[VariantName, VariantState] = field(default_factory=dict)

    def with_fresh_threads(self) -> Served:
        """The same network, beside threads that do not come back from it."""
        return replace(self, predictor=self.renew(), workers=self.workers.fresh())
