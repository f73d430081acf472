"""The headers that tell browsers what they may do with an answer, and whose pages may ask at all.

Set here and nowhere else; an answer that sets one itself, such as the page with its own policy, keeps what it set. Knows
nothing of what is answered.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS: dict[bytes, bytes] = {
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"x-frame-options": b"DENY",
}
"""What every answer carries unless it says otherwise."""
OVER_TLS = (b"strict-transport-security", b"max-age=31536000")
"""Only there: over plain HTTP browsers must ignore it (RFC 6797, section 7.2)."""
CORS_PREFIX, CORS_PATHS = "/v1/", ("/ohttp", "/ohttp-keys")
"""What pages of the allowed origins may call."""
ALLOWED = ("authorization", "content-type", "incremental", "x-api-key")
EXPOSED = ("ratelimit", "ratelimit-policy", "retry-after", "www-authenticate", "x-request-id")
_PREFLIGHT_S = 600


class SecurityHeaders:
    """ASGI middleware that adds what is missing. It may stand in a row with another of its kind."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = [*ALWAYS.items(), OVER_TLS] if scope.get("scheme") == "https" else list(ALWAYS.items())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {name.lower() for name, _ in own}
                message = {**message, "headers": [*own, *(line for line in wanted if line[0] not in names)]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Cors:
    """ASGI middleware: answers preflights and marks answers for the origins on the list, and for no others. Credentials
    that a browser adds by itself (cookies) are never allowed; there are none."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origins=tuple(origins),
            allow_methods=("GET", "POST"),
            allow_headers=ALLOWED,
            expose_headers=EXPOSED,
            max_age=_PREFLIGHT_S,
        )
        self._off = not origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        shared = path.startswith(CORS_PREFIX) or path in CORS_PATHS
        await (self._app if self._off or not shared else self._cors)(scope, receive, send)
