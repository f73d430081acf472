"""A bound on the requests that are under way: one more is told to come back, before any of its body is read.

What waits is memory, and the time of those who wait behind it; refusing costs next to nothing. Knows nothing of what requests
ask for.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import Overloaded
from serving.api import problems


class UnderWay:
    """ASGI middleware. most: requests at a time. new_id: a fresh random id, for refusals. count: those under way now."""

    def __init__(self, app: ASGIApp, most: int, *, new_id: Callable[[], str]) -> None:
        self._app, self._most, self._new_id = app, most, new_id
        self.count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.count >= self._most and scope["type"] == "http":
            request_id = self._new_id()
            answer = problems.refusal(Overloaded(), request_id)
            answer.headers["x-request-id"] = request_id
            await answer(scope, receive, send)
            return
        self.count += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.count -= 1
