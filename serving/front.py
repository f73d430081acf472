"""What stands between the network and BentoML: only the two paths that BentoML answers better ever reach it.

BentoML's metrics keep each path they see as a label, on disk too, its logs print paths, and it has pages of its own
(`/schema.json`, `/healthz`, an index); and its middleware costs a request more than opening it does. So the gateway's own
application answers whatever is not BentoML's straight away, and BentoML has /livez and /metrics, which are for those who may
see them. /readyz is answered here. Knows nothing of what the routes do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bentoml import Service
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import SafelightError
from serving.api import problems
from serving.api.readiness import Readiness
from serving.privacy.access import Access
from serving.privacy.headers import SecurityHeaders

READY = "/readyz"
PLATFORM_PATHS = frozenset({"/livez", "/metrics"})
"""The routes that BentoML itself answers."""
_OPEN = frozenset({"/livez"})


class Front:
    """ASGI middleware. platform: BentoML's application. app: the gateway's own. access: who may see what BentoML answers, and
    what /readyz tells. new_id: a fresh random id."""

    def __init__(
        self, platform: ASGIApp, app: ASGIApp, access: Access, readiness: Readiness, new_id: Callable[[], str]
    ) -> None:
        self._platform, self._app = platform, app
        self._access, self._readiness, self._new_id = access, readiness, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if scope["type"] == "lifespan":
            await self._platform(scope, receive, send)
        elif path == READY and scope["method"] in ("GET", "HEAD"):
            tell = self._access.allows("/v1/models", scope["headers"])
            await self._marked(self._readiness.answer(self._new_id(), tell=tell), scope, receive, send)
        elif path in PLATFORM_PATHS:
            await self._guarded(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in _OPEN:
            try:
                self._access.check(scope["path"], scope["headers"])
            except SafelightError as error:
                request_id = self._new_id()
                answer = problems.refusal(error, request_id)
                answer.headers["x-request-id"] = request_id
                await self._marked(answer, scope, receive, send)
                return
        await SecurityHeaders(self._platform)(scope, receive, send)

    async def _marked(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        await SecurityHeaders(answer)(scope, receive, send)


def fronted(app: ASGIApp, access: Access, readiness: Readiness, new_id: Callable[[], str]) -> type[Service[Any]]:
    """A kind of BentoML service (its `service_class`) whose workers stand behind a `Front`."""

    class FrontedService(Service):  # type: ignore[misc]  # BentoML is not typed
        def to_asgi(self, is_main: bool = True) -> ASGIApp:
            return Front(super().to_asgi(is_main), app, access, readiness, new_id)

    return FrontedService
