"""Everything of a worker, put together: models, keys, access, audit log, figures, and the application in front of them.

Imported by the processes that serve, not by the one that looks after them (`serving/service.py`). Knows nothing of BentoML.
"""

from __future__ import annotations

import gc
import secrets
import time
from functools import partial

from starlette.types import ASGIApp

from serving.allocator import keep_freed_memory
from serving.api.app import create_app
from serving.api.readiness import Readiness
from serving.front import Front
from serving.models.loading import catalogue_of, needed_route
from serving.privacy.access import Access
from serving.privacy.audit import Trail
from serving.privacy.gate import Gate
from serving.privacy.listeners import listening_addresses
from serving.privacy.logs import open_log
from serving.privacy.quiet import scrub, silence
from serving.resilience.connections import ConnectionLimits, bound_connections
from serving.settings import Settings
from serving.telemetry.telemetry import Telemetry


def new_id() -> str:
    """A fresh random request id."""
    return secrets.token_hex(16)


class Worker:
    """settings: the service's. Nothing is read before `load`."""

    def __init__(self, settings: Settings) -> None:
        clock, limits = time.perf_counter, settings.limits
        bound_connections(
            ConnectionLimits(limits.connections, limits.head_bytes, limits.head_timeout_s, limits.fetch_timeout_s),
            new_id,
        )
        self._telemetry = Telemetry(settings, clock=clock)
        self._catalogue = catalogue_of(settings, self._telemetry.observer, clock)
        self._gate = Gate(settings, now=time.time)
        self._access = Access(settings, listeners=listening_addresses, now=time.time)
        self._trail = Trail(settings, now=time.time)
        self._readiness = Readiness(
            self._catalogue,
            {"audit log": self._trail.not_ready, "sealing": self._gate.not_ready},
            needed=partial(needed_route, settings),
        )
        self._app = create_app(
            settings,
            self._catalogue,
            self._gate,
            self._access,
            listeners=listening_addresses,
            new_id=new_id,
            clock=clock,
            audit=self._trail,
            telemetry=self._telemetry,
        )

    def fronted(self, platform: ASGIApp) -> ASGIApp:
        """BentoML's application, with the gateway's own in front of it."""
        return Front(platform, self._app, self._access, self._readiness, new_id)

    def load(self) -> None:
        """Read keys and models, and begin to watch over them. Raises ConfigError."""
        silence()
        scrub()
        open_log()
        keep_freed_memory()
        self._gate.load(reach=False)  # that there is a Redis was found out before; if it is gone now, it may come back
        self._access.load(reach=False)
        self._catalogue.load()
        self._trail.load()
        self._telemetry.start()
        self._catalogue.watch()
        gc.freeze()  # what was loaded stays: looking through it again and again would only cost time
        gc.enable()

    async def close(self) -> None:
        """Take no more work; let connections, threads and files go."""
        self._catalogue.close()
        self._telemetry.close()
        await self._access.rates.close()
        self._trail.close()
