"""Gives each request an id, each answer the headers of its context, and each failure a form.

Whatever happens inside, the answer is a response, and neither it nor the log holds anything of the request. Knows
nothing of routes.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import SafelightError
from serving.api import problems
from serving.privacy.context import Context, open_context
from serving.privacy.logs import report
from serving.privacy.record import record_of


class Boundary:
    """ASGI middleware. new_id: makes a fresh random request id. linger_bytes, linger_s: how much of an unread body is
    received and thrown away, and for how long, before an early answer is sent."""

    def __init__(self, app: ASGIApp, *, new_id: Callable[[], str], linger_bytes: int, linger_s: float) -> None:
        self._app, self._new_id = app, new_id
        self._linger_bytes, self._linger_s = linger_bytes, linger_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # a WebSocket: there are none here
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(scope, receive, send, open_context(scope, self._new_id()))
        record_of(scope).enter(scope, exchange.context.request_id)
        exchange.linger_bytes, exchange.linger_s = self._linger_bytes, self._linger_s
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except SafelightError as error:
            await exchange.fail(problems.refusal(error, exchange.context.request_id))
        except Exception as error:
            report(error, exchange.context.request_id)
            await exchange.fail(problems.answer(problems.of_status(500, exchange.context.request_id)))


class _Exchange:
    """One request and its answer, watched."""

    linger_bytes = 0
    linger_s = 0.0

    def __init__(self, scope: Scope, receive: Receive, send: Send, context: Context) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.context = context
        self._unread, self._started = True, False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._unread:
                await self._linger()
            self._started = True
            record_of(self._scope).status = message["status"]
            mine = (b"x-request-id", self.context.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), *self.context.headers, mine]}
        await self._send(message)

    async def fail(self, answer: Response) -> None:
        """Answer, unless an answer is already on its way: then the server cuts it off."""
        if not self._started:
            await answer(self._scope, self.receive, self.send)

    async def _linger(self) -> None:
        """Receive the rest of the body and drop it: closing with unread bytes would reset the connection, and the
        client would never see why it was refused. A client that waits for 100 Continue has sent nothing yet."""
        if any(name == b"expect" for name, _ in self._scope["headers"]):
            return
        left = self.linger_bytes
        with anyio.move_on_after(self.linger_s):
            while self._unread and left > 0:
                left -= len((await self.receive()).get("body", b""))
