"""One version of a model that answers: what its bundle says, what looks at pictures, and the threads it looks with.

What looks may be a detector or a reader; nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from safelight.drift import Reference
from safelight.manifest import Described, VariantName
from serving.resilience.workers import Workers

VariantState = Literal["in use", "available", "missing"]


M = TypeVar("M", bound=Described)
L = TypeVar("L")


@dataclass(frozen=True)
class Served(Generic[M, L]):
    """digest: SHA-256 of the manifest. renew: another looker on the same network that shares nothing else with this one.
    looker: what looks at pictures. stop: ends the runs of the network that are under way. least_side: what the longer side
    of a decoded JPEG has to keep, None for all of it. variants: what became of each. let_go: gives back what the version
    shares with others, once nothing of it is under way. answers: what has to be the same for models that stand in for each
    other. reference: what pictures and answers are compared with, None for nothing."""

    manifest: M
    digest: str
    renew: Callable[[], L]
    looker: L
    workers: Workers
    stop: Callable[[], None]
    least_side: int | None = None
    variants: Mapping[VariantName, VariantState] = field(default_factory=dict)
    let_go: Callable[[], None] = lambda: None
    answers: object = None
    reference: Reference | None = None

    def with_fresh_threads(self) -> Served[M, L]:
        """The same network, beside threads that do not come back from it."""
        return replace(self, looker=self.renew(), workers=self.workers.fresh())

    def close(self) -> None:
        """Take no more work; what is under way is finished first. Idempotent."""
        self.workers.close(self.let_go)
