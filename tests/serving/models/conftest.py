"""Models without a network: what looks is a function, and time moves at will."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from safelight.detections import Detections
from serving.models.member import Member
from serving.models.observer import UNOBSERVED
from serving.models.served import Served
from serving.models.trial import Trial
from serving.resilience.breaker import Breaker
from serving.resilience.workers import Workers
from tests.serving.graphs import manifest


class Time:
    """Monotonic seconds, moved on at will."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Notes:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        getattr(UNOBSERVED, name)  # nothing that no observer knows
        return lambda *given: self.told.append((name, *given))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [rest for said, *rest in self.told if said == name]


@dataclass(frozen=True)
class Version:
    """What a source has: stands for a verified bundle."""

    version: str
    labels: tuple[str, ...] = ("person", "cat")
    error: Exception | None = None

    @property
    def digest(self) -> str:
        return f"{self.version:0>64}"


@dataclass
class Source:
    """A source whose version is set by the test. started: how often one was made to answer."""

    current: Version | Exception
    workers: Callable[[], Workers]
    stopped: list[str] = field(default_factory=list)
    started: int = 0

    def mark(self) -> object:
        return self.current

    def read(self) -> Any:
        if isinstance(self.current, Exception):
            raise self.current
        return self.current

    def start(self, bundle: Any) -> Served:
        self.started += 1
        if bundle.error is not None:
            raise bundle.error
        return Served(
            manifest(version=bundle.version, labels=bundle.labels),
            bundle.digest,
            lambda: None,  # type: ignore[arg-type,return-value]  # nothing here looks through a predictor
            None,  # type: ignore[arg-type]
            self.workers(),
            lambda: self.stopped.append(bundle.version),
            answers=bundle.labels,
        )


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def make_member(clock: Time, notes: Notes) -> Callable[..., tuple[Member, Source]]:
    """name, the version its source has → the member, and the source."""

    def make(
        name: str = "a", current: Version | Exception = Version("v1"), *, threads: int = 2, waiting: int = 2, **own: Any
    ):
        source = Source(current, lambda: Workers(threads, waiting, clock))
        member = Member(
            "route",
            name,
            source,
            breaker=lambda: Breaker(3, 10.0, clock, lambda state: notes.breaker("route", name, state)),
            trial=lambda: Trial(10, 0.2, 300.0, clock),
            limit_s=own.pop("limit_s", None),
            weight=own.pop("weight", 1.0),
            observer=notes,  # type: ignore[arg-type]
        )
        assert not own
        return member, source

    return make


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    """Persons on a picture of 100 x 100 pixels."""
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score), np.zeros(len(boxes), int), (100, 100)
    )
