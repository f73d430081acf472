"""What stands between the network and BentoML: only paths that Safelight knows ever reach it.

BentoML's metrics keep each path they see as a label, on disk too, its logs print paths, and it has pages of its own
(`/schema.json`, `/healthz`, an index). Any other path is therefore answered by the gateway's application straight away.
Knows nothing of what the routes do.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bentoml import Service
from starlette.types import ASGIApp, Receive, Scope, Send

PLATFORM_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
"""The routes that BentoML itself answers."""


class Front:
    """ASGI middleware. platform: BentoML's application, with everything mounted. app: the gateway's own. known: the
    paths that go through BentoML."""

    def __init__(self, platform: ASGIApp, app: ASGIApp, known: Collection[str]) -> None:
        self._platform, self._app, self._known = platform, app, frozenset(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        astray = scope["type"] != "lifespan" and scope["path"] not in self._known
        await (self._app if astray else self._platform)(scope, receive, send)


def fronted(app: ASGIApp, paths: Collection[str]) -> type[Service[Any]]:
    """A kind of BentoML service (its `service_class`) whose workers stand behind a `Front`. paths: those of `app`."""

    class FrontedService(Service):  # type: ignore[misc]  # BentoML is not typed
        def to_asgi(self, is_main: bool = True) -> ASGIApp:
            return Front(super().to_asgi(is_main), app, {*paths, *PLATFORM_PATHS})

    return FrontedService
