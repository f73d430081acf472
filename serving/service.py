"""The BentoML service: settings, models, the application and a process around them. Knows no detail of any of them."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import bentoml

from serving.api import readiness
from serving.api.app import PATHS, create_app
from serving.front import fronted
from serving.models.loading import catalogue_of
from serving.privacy.access import Access
from serving.privacy.audit import Trail
from serving.privacy.gate import Gate
from serving.privacy.listeners import listening_addresses
from serving.privacy.logs import open_log
from serving.privacy.process import harden
from serving.privacy.quiet import scrub, silence
from serving.settings import load_settings

harden()
settings = load_settings(Path(__file__).resolve().parent.parent, os.environ)
catalogue = catalogue_of(settings)
gate = Gate(settings, now=time.time)
access = Access(settings, listeners=listening_addresses, now=time.time)
trail = Trail(settings, now=time.time)
app = create_app(
    settings,
    catalogue,
    gate,
    access,
    listeners=listening_addresses,
    new_id=lambda: secrets.token_hex(16),
    clock=time.perf_counter,
    audit=trail,
)


@bentoml.service(
    name="safelight",
    service_class=fronted(app, PATHS, access, lambda: secrets.token_hex(16)),
    workers=settings.workers,
    traffic={"timeout": 600.0},  # the gateway has its own, shorter limits and answers them itself
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # spans would hold query strings
)
@bentoml.asgi_app(app, path="/")
class Gateway:
    """Finds objects on pictures without keeping them."""

    def __init__(self) -> None:
        silence()
        scrub()
        open_log()
        gate.load()
        access.load()
        catalogue.load()
        trail.load()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # BentoML is not typed
    @staticmethod
    def refuse_to_start() -> None:
        """Without keys, a store of what was seen and counted, or a model. Runs once, before any worker, on instances of its
        own: a worker that failed would be started again for ever."""
        open_log()
        Trail(settings, now=time.time).rehearse()
        Gate(settings, now=time.time).load()
        Access(settings, listeners=listening_addresses, now=time.time).load()
        catalogue_of(settings).load()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Give up what still waits for a network, and the connections to Redis."""
        catalogue.close()
        await access.rates.close()
        trail.close()

    def __is_alive__(self) -> bool:
        return True

    def __is_ready__(self) -> bool:
        return readiness.check(catalogue, lambda: secrets.token_hex(16), trail.ready)
