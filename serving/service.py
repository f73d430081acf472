"""The BentoML service: settings, models, the application and a process around them. Knows no detail of any of them."""

from __future__ import annotations

import gc
import os
import secrets
import time
from pathlib import Path

import bentoml

from serving.api.app import create_app
from serving.api.readiness import Readiness
from serving.front import fronted
from serving.models.loading import catalogue_of
from serving.privacy.access import Access
from serving.privacy.audit import Trail
from serving.privacy.gate import Gate
from serving.privacy.listeners import listening_addresses
from serving.privacy.logs import open_log
from serving.privacy.process import harden
from serving.privacy.quiet import scrub, silence
from serving.resilience.connections import ConnectionLimits, bound_connections
from serving.resilience.supervisor import adapt_supervisor
from serving.settings import load_settings
from serving.telemetry.telemetry import Telemetry


def new_id() -> str:
    """A fresh random request id."""
    return secrets.token_hex(16)


harden()
clock = time.perf_counter
settings = load_settings(Path(__file__).resolve().parent.parent, os.environ)
limits = settings.limits
bound_connections(
    ConnectionLimits(limits.connections, limits.head_bytes, limits.head_timeout_s, limits.fetch_timeout_s), new_id
)
telemetry = Telemetry(settings, clock=clock)
catalogue = catalogue_of(settings, telemetry.observer, clock)
gate = Gate(settings, now=time.time)
access = Access(settings, listeners=listening_addresses, now=time.time)
trail = Trail(settings, now=time.time)
readiness = Readiness(catalogue, {"audit log": trail.not_ready, "sealing": gate.not_ready})
app = create_app(
    settings,
    catalogue,
    gate,
    access,
    listeners=listening_addresses,
    new_id=new_id,
    clock=clock,
    audit=trail,
    telemetry=telemetry,
)


@bentoml.service(
    name="safelight",
    service_class=fronted(app, access, readiness, new_id),
    workers=settings.workers,
    traffic={"timeout": 600.0},  # the gateway has its own, shorter limits and answers them itself
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # spans would hold query strings
)
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
        telemetry.start()
        catalogue.watch()
        gc.collect()
        gc.freeze()  # what was loaded stays: looking through it again and again would only cost time

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # BentoML is not typed
    @staticmethod
    def refuse_to_start() -> None:
        """Without keys, a store of what was seen and counted, or a model. Runs once, in the supervisor, before any worker, on
        instances of its own: a worker that failed would be started again for ever."""
        open_log()
        adapt_supervisor()
        Trail(settings, now=time.time).rehearse()
        Gate(settings, now=time.time).load()
        Access(settings, listeners=listening_addresses, now=time.time).load()
        catalogue_of(settings).load()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Give up what still waits for a network, and the connections to Redis."""
        catalogue.close()
        telemetry.close()
        await access.rates.close()
        trail.close()
