"""What stands between the network and BentoML: only paths that Safelight knows ever reach it.

BentoML's metrics keep each path they see as a label, on disk too, its logs print paths, and it has pages of its own
(`/schema.json`, `/healthz`, an index). Any other path is therefore answered by the gateway's application straight away.
What BentoML answers itself is guarded here: metrics are for those who may see them, and so are the words of /readyz.
Knows nothing of what the routes do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from bentoml import Service
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import SafelightError
from serving.api import problems, readiness
from serving.privacy.access import Access
from serving.privacy.headers import SecurityHeaders

PLATFORM_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
"""The routes that BentoML itself answers."""
_OPEN = frozenset({"/livez", "/readyz"})


class Front:
    """ASGI middleware. platform: BentoML's application, with everything mounted. app: the gateway's own. known: the
    paths that go through BentoML. access: who may see what BentoML answers. new_id: a fresh random id."""

    def __init__(
        self, platform: ASGIApp, app: ASGIApp, known: Collection[str], access: Access, new_id: Callable[[], str]
    ) -> None:
        self._platform, self._app = platform, app
        self._known, self._access, self._new_id = frozenset(known), access, new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        astray = scope["type"] == "websocket" or (scope["type"] == "http" and scope["path"] not in self._known)
        if astray:
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in PLATFORM_PATHS:
            await self._guarded(scope, receive, send)
        else:
            await SecurityHeaders(self._platform)(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in _OPEN:
            try:
                self._access.check(scope["path"], scope["headers"])
            except SafelightError as error:
                request_id = self._new_id()
                answer = problems.refusal(error, request_id)
                answer.headers["x-request-id"] = request_id
                await SecurityHeaders(answer)(scope, receive, send)
                return
        with readiness.telling(self._access.allows("/v1/models", scope["headers"])):
            await SecurityHeaders(self._platform)(scope, receive, send)


def fronted(app: ASGIApp, paths: Collection[str], access: Access, new_id: Callable[[], str]) -> type[Service[Any]]:
    """A kind of BentoML service (its `service_class`) whose workers stand behind a `Front`. paths: those of `app`."""

    class FrontedService(Service):  # type: ignore[misc]  # BentoML is not typed
        def to_asgi(self, is_main: bool = True) -> ASGIApp:
            return Front(super().to_asgi(is_main), app, {*paths, *PLATFORM_PATHS}, access, new_id)

    return FrontedService
