"""An application that is counted, and its figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serving.models.catalogue import Catalogue
from serving.models.loading import catalogue_of
from serving.settings import Settings
from serving.telemetry.telemetry import Telemetry


@dataclass
class Counted:
    """A client of an application, and what was counted."""

    client: httpx.Client
    registry: CollectorRegistry
    telemetry: Telemetry
    catalogue: Catalogue

    def value(self, name: str, **labels: str) -> float:
        """0 for what was never counted."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of all samples of that name."""
        return [s.labels for family in self.registry.collect() for s in family.samples if s.name == name]

    @property
    def text(self) -> bytes:
        return bytes(generate_latest(self.registry))


@pytest.fixture(scope="session")
def make_counted(make_client: Callable[..., httpx.Client]) -> Callable[..., Counted]:
    """settings, and what `make_client` takes → Counted."""

    def make(settings: Settings, **kwargs: Any) -> Counted:
        registry = CollectorRegistry()
        telemetry = Telemetry(settings, clock=time.perf_counter, registry=registry)
        catalogue = catalogue_of(settings, telemetry.observer, time.perf_counter)
        catalogue.load()
        client = make_client(settings, catalogue, telemetry=telemetry, **kwargs)
        return Counted(client, registry, telemetry, catalogue)

    return make


@pytest.fixture
def counted(settings: Settings, make_counted: Callable[..., Counted]) -> Counted:
    return make_counted(settings)
