"""The BentoML service: settings, and a process around the gateway. Knows no detail of either.

It is imported twice: by the supervisor, which only looks after workers, and by each worker. What only workers need is
imported when they need it, since both imports are over before the first request can be answered.
"""

from __future__ import annotations

import gc
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml

from safelight.errors import ConfigError
from serving.privacy.process import harden
from serving.settings import load_settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from serving.gateway import Worker

harden()
settings = load_settings(Path(__file__).resolve().parent.parent, os.environ)


@cache
def worker() -> Worker:
    """The one of this process. What is imported and loaded from here on stays: until then nothing is looked through for
    garbage."""
    gc.disable()
    from serving.gateway import Worker

    return Worker(settings)


class FrontedService(bentoml.Service):  # type: ignore[misc]  # BentoML is not typed
    """A BentoML service whose workers stand behind the gateway's own application."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        return worker().fronted(super().to_asgi(is_main))


@bentoml.service(
    name="safelight",
    service_class=FrontedService,
    workers=settings.workers,
    traffic={"timeout": 600.0},  # the gateway has its own, shorter limits and answers them itself
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # spans would hold query strings
)
class Gateway:
    """Finds objects on pictures without keeping them."""

    def __init__(self) -> None:
        from serving.resilience.supervisor import can_serve, give_up

        try:
            worker().load()
        except ConfigError as error:
            give_up(error)  # a worker that fails would be started again for ever
            raise
        can_serve()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def refuse_to_start() -> None:
        """Without keys, or a store of what was seen and counted. Runs once, in the supervisor, before any worker. Whether
        there is a model is found out by the workers, who load it."""
        from serving.rehearsal import rehearse
        from serving.resilience.supervisor import adapt_supervisor

        adapt_supervisor()
        rehearse(settings)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Give up what still waits for a network, and the connections to Redis."""
        await worker().close()
