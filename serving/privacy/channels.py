"""What is between an envelope and the application: the sealed request as it comes in, and the channels of the inner one.

Knows nothing of who may ask, and of no one protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote

import anyio.to_thread
from starlette.types import Message, Receive, Scope, Send

from safelight.errors import Overloaded, SafelightError, SealBroken, UnknownKey
from safelight.sealing.dates import write_date
from safelight.sealing.messages import Headers
from safelight.sealing.protocol import Opened, Opener, Opening, OuterRequest, Sealer
from serving.privacy.context import Seal, sealed_scope
from serving.privacy.refusals import BROKEN_DOWN
from serving.resilience.memory import Holding
from serving.resilience.pace import Pace

_OWN_HEADERS = frozenset({b"host", b"content-length", b"expect"})
_DROPPED = frozenset({b"content-length", b"date", b"server"})


def outer_request(scope: Scope) -> OuterRequest:
    """The request that may carry an envelope."""
    headers: Headers = tuple((bytes(name).lower(), bytes(value)) for name, value in scope["headers"])
    content_type = next((value for name, value in headers if name == b"content-type"), b"").decode("latin-1")
    media_type = content_type.partition(";")[0].strip().lower()
    return OuterRequest(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), media_type, headers)


class Envelope:
    """One sealed request as it comes in. Whatever fails on the way is told at the end, once all of it was received.

    holding: where its bytes are counted, the same whatever is wrong with them: how much room is left tells nothing else.
    """

    def __init__(
        self,
        opener: Opener,
        outer: OuterRequest,
        receive: Receive,
        holding: Holding,
        *,
        max_bytes: int,
        linger_bytes: int,
    ) -> None:
        self._receive, self._max_bytes, self._linger_bytes = receive, max_bytes, linger_bytes
        self._holding, self._copies = holding, opener.copies
        self._failure: SafelightError | None = None
        self._ended = self._given_up = False
        self.size = 0
        self._opening: Opening | None = None
        try:
            self._opening = opener.begin(outer)
        except (SealBroken, UnknownKey) as error:
            self._failure = error

    async def take_in(self, pace: Pace) -> None:
        """Receive to the end, to more than is allowed, or for as long as it comes fast enough; then make room to open it."""
        begun = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(pace.deadline(begun, 0)) as timer:
                while not self._ended and self.size <= self._max_bytes + self._linger_bytes:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        break
                    self._take(message.get("body", b""))
                    self._ended = not message.get("more_body", False)
                    timer.reschedule(pace.deadline(begun, self.size))
        self._hold(int(self._copies * self.size))

    def open(self) -> Opened:
        """Raises SealBroken, UnknownKey, or Overloaded when there was no room for it."""
        if not self._ended and self._failure is None:
            self._failure = SealBroken()
        if self._failure is not None:
            raise self._failure
        assert self._opening is not None
        opening, self._opening = self._opening, None
        return opening.finish()

    def _take(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._max_bytes:
            self._give_up(SealBroken())
        self._hold(len(data))
        if self._failure is None and self._opening is not None and data:
            try:
                self._opening.feed(data)
            except (SealBroken, UnknownKey) as error:
                self._failure = error

    def _hold(self, size: int) -> None:
        """Once there was no room, or it was too large, nothing more of it is kept."""
        if not self._given_up:
            try:
                self._holding.take(size)
            except Overloaded as error:
                self._give_up(error)

    def _give_up(self, error: SafelightError) -> None:
        if not self._given_up:
            self._failure, self._opening, self._given_up = error, None, True
            self._holding.keep(0)


class Body:
    """The receive channel of an inner request: its body at once, then what happens to the outer connection."""

    def __init__(self, body: bytes, outer: Receive) -> None:
        self._body: bytes | None = body
        self._outer = outer

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._outer()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class SealedAnswer:
    """The send channel of an inner request: seals what passes, and sends it on as soon as there is something sealed.

    blocking: whether sealing works for long, or waits for another machine. spent: told when each part was begun and sealed,
    by the clock.
    """

    def __init__(
        self,
        sealer: Sealer,
        send: Send,
        now: Callable[[], float],
        *,
        blocking: bool,
        clock: Callable[[], float],
        spent: Callable[[float, float], None],
    ) -> None:
        self._sealer, self._send, self._now, self._blocking = sealer, send, now, blocking
        self._clock, self._spent = clock, spent
        self._started = self._ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = tuple((bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ()))
            kept = tuple(line for line in headers if line[0] not in _DROPPED)
            await self._pass_on(self._sealer.begin(message["status"], (*kept, (b"date", write_date(self._now())))))
        elif message["type"] == "http.response.body":
            begun = self._clock()
            sealed = self._sealer.write(message.get("body", b""))
            if not message.get("more_body", False):
                end = self._sealer.end
                sealed += await anyio.to_thread.run_sync(end) if self._blocking else end()
                self._ended = True
            self._spent(begun, self._clock())
            await self._pass_on(sealed)

    async def close(self) -> None:
        """Once the application is done: an answer that it did not finish is not finished here either."""
        if not self._ended and not self._started:
            await BROKEN_DOWN({"type": "http"}, _nothing, self._send)

    async def _pass_on(self, sealed: bytes) -> None:
        if not sealed and not self._ended:
            return
        if not self._started:
            self._started = True
            headers = [(b"content-type", self._sealer.media_type.encode()), (b"cache-control", b"no-store")]
            if self._ended:
                headers.append((b"content-length", str(len(sealed)).encode()))
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": sealed, "more_body": not self._ended})


def inner_scope(scope: Scope, opened: Opened) -> Scope:
    """The scope of the inner request, on the connection of the outer one, marked as having arrived sealed."""
    request = opened.request
    headers = [line for line in request.headers if line[0] not in _OWN_HEADERS]
    own = [(b"host", request.authority.encode()), (b"content-length", str(len(request.body)).encode())]
    inner = {
        **scope,
        "method": request.method.upper(),
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "headers": headers + own,
    }
    return sealed_scope(inner, Seal(opened.protocol, opened.key_id))


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
