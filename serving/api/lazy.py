"""An application that is made when it is first asked for, so that the service is ready without it."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send


class Lazy:
    """ASGI. make: the application; called once, in a thread. Where it raises, so does the request, and the next tries again."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: ASGIApp | None = None
        self._one = anyio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._made is None:
            async with self._one:
                if self._made is None:
                    self._made = await anyio.to_thread.run_sync(self._make)
        await self._made(scope, receive, send)
