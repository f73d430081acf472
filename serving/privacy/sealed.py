"""Opens sealed requests, passes them on to the application, and seals its answers.

Whatever does not open is answered with the same bytes, at the same distance from the end of the request, whichever step
failed. Knows nothing of what is inside an envelope, or of any one protocol.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.errors import ReplayStoreDown, SafelightError, SealBroken, UnknownKey
from safelight.sealing.dates import write_date
from safelight.sealing.messages import Headers, InnerRequest
from safelight.sealing.ohttp import DATE_PROBLEM, KEY_PROBLEM, KEYS_PATH, KEYS_TYPE
from safelight.sealing.protocol import Opened, Opener, OuterRequest, Sealer
from serving.api import problems
from serving.privacy.context import Seal, sealed_scope
from serving.privacy.gate import Gate
from serving.privacy.record import UNOPENED, record_of

INNER_PREFIX = "/v1/"
_KEYS_MAX_AGE_S = 300
_CLOCKS_APART_S = 60
_SLOW_BYTES = 256 * 1024  # opening more than this would hold up other requests: it is done in a thread
_OWN_HEADERS = frozenset({b"host", b"content-length", b"expect"})
_DROPPED = frozenset({b"content-length", b"date", b"server"})


class Sealed:
    """ASGI middleware.

    app: gets inner requests, marked as sealed, and everything that is not sealed. max_bytes: of an envelope.
    body_timeout_s: for it to arrive. linger_bytes: how much more of one that is too large is thrown away before it is
    refused. turns: envelopes held at a time. clock: monotonic seconds. new_id: a fresh random id.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        *,
        max_bytes: int,
        linger_bytes: int,
        body_timeout_s: float,
        turns: int,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._app, self._gate = app, gate
        self._max_bytes, self._linger_bytes, self._timeout_s = max_bytes, linger_bytes, body_timeout_s
        self._turns = anyio.CapacityLimiter(turns)
        self._clock, self._new_id, self._sleep = clock, new_id, sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outer = _outer(scope)
        opener = next((opener for opener in self._gate.openers if opener.recognises(outer)), None)
        if outer.path == KEYS_PATH:
            await self._keys(outer)(scope, receive, send)
        elif opener is None:
            await self._app(scope, receive, send)
        else:
            async with self._turns:
                refused = await self._exchange(opener, outer, scope, receive, send)
            if refused is not None:  # waits without a turn: many of these must not keep others from being served
                await self._until_the_next_step(refused.ended)
                await refused.answer(scope, receive, send)

    def _keys(self, outer: OuterRequest) -> Response:
        if outer.method != "GET":
            return problems.answer(problems.of_status(405, self._new_id()), {"allow": "GET"})
        cache = {"cache-control": f"public, max-age={_KEYS_MAX_AGE_S}"}
        return Response(self._gate.key_configs(), headers=cache, media_type=KEYS_TYPE)

    async def _exchange(
        self, opener: Opener, outer: OuterRequest, scope: Scope, receive: Receive, send: Send
    ) -> _Refused | None:
        """Returns what is still to be answered where the envelope was refused."""
        envelope = _Envelope(opener, outer, receive, self._max_bytes, self._linger_bytes)
        with anyio.move_on_after(self._timeout_s):
            await envelope.take_in()
        ended = self._clock()
        record = record_of(scope)
        record.protocol = UNOPENED
        try:
            slow = opener.blocking or envelope.size > _SLOW_BYTES
            opened = await anyio.to_thread.run_sync(envelope.open) if slow else envelope.open()
            refusal = await self._refusal(opened)
        except (SealBroken, UnknownKey) as error:
            return _Refused(UNKNOWN_KEY if isinstance(error, UnknownKey) else BROKEN, ended)
        record.protocol, record.key_id = opened.protocol, opened.key_id
        sealing = _SealedAnswer(opened.sealer, send, self._gate.now, blocking=opener.blocking)
        if refusal is not None:
            await refusal(scope, receive, sealing.send)
        else:
            await self._app(_inner_scope(scope, opened), _Body(opened.request.body, receive), sealing.send)
        await sealing.close()
        return None

    async def _refusal(self, opened: Opened) -> Response | None:
        """What is answered, sealed, in place of the application: the date is off, or the path leads elsewhere.

        Raises SealBroken for an envelope that was sent before.
        """
        if self._stale(opened):
            return self._date_problem()
        freshness_s = self._gate.settings.freshness_s
        # A date may be ahead by as much as it may be behind, and other machines' clocks may be behind this one's.
        until = None if opened.sent_at is None else self._gate.now() + 2 * freshness_s + _CLOCKS_APART_S
        try:
            first = await anyio.to_thread.run_sync(self._gate.first_time, opened.key_id, opened.token, until)
        except ReplayStoreDown as error:
            return problems.answer(problems.of_error(error, self._new_id()))
        if not first:
            raise SealBroken()
        if not opened.request.path.startswith(INNER_PREFIX):
            return problems.answer(problems.of_status(404, self._new_id()))
        return None

    def _stale(self, opened: Opened) -> bool:
        return opened.sent_at is not None and abs(self._gate.now() - opened.sent_at) > self._gate.settings.freshness_s

    def _date_problem(self) -> Response:
        """RFC 9458, section 6.5.2: the answer's Date header lets the client correct its clock."""
        problem = problems.of_status(400, self._new_id()).model_copy(
            update={
                "type": DATE_PROBLEM,
                "title": "The date is not acceptable",
                "detail": "Expected the request's Date to be near this answer's.",
            }
        )
        return problems.answer(problem)

    async def _until_the_next_step(self, ended: float) -> None:
        """Refusals leave at whole steps after the end of the request, so that no clock tells which check failed."""
        step_s = self._gate.settings.refusal_step_ms / 1000
        elapsed = self._clock() - ended
        await self._sleep(math.ceil(max(elapsed, 1e-9) / step_s) * step_s - elapsed)


@dataclass(frozen=True)
class _Refused:
    """An answer, and when the request had ended that it refuses."""

    answer: Response
    ended: float


class _Envelope:
    """One sealed request as it comes in. Whatever fails on the way is told at the end, once all of it was received."""

    def __init__(
        self, opener: Opener, outer: OuterRequest, receive: Receive, max_bytes: int, linger_bytes: int
    ) -> None:
        self._receive, self._max_bytes, self._linger_bytes = receive, max_bytes, linger_bytes
        self._failure: SafelightError | None = None
        self._ended = False
        self.size = 0
        try:
            self._opening = opener.begin(outer)
        except (SealBroken, UnknownKey) as error:
            self._failure = error

    async def take_in(self) -> None:
        """Receive to the end, or to more than is allowed."""
        while not self._ended and self.size <= self._max_bytes + self._linger_bytes:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            data = message.get("body", b"")
            self.size += len(data)
            if self.size > self._max_bytes:
                self._failure = SealBroken()
            self._feed(data)
            self._ended = not message.get("more_body", False)

    def open(self) -> Opened:
        """Raises SealBroken or UnknownKey."""
        if not self._ended and self._failure is None:
            self._failure = SealBroken()
        if self._failure is not None:
            raise self._failure
        return self._opening.finish()

    def _feed(self, data: bytes) -> None:
        if self._failure is None and data:
            try:
                self._opening.feed(data)
            except (SealBroken, UnknownKey) as error:
                self._failure = error


class _Body:
    """The receive channel of an inner request: its body at once, then what happens to the outer connection."""

    def __init__(self, body: bytes, outer: Receive) -> None:
        self._body: bytes | None = body
        self._outer = outer

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._outer()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _SealedAnswer:
    """The send channel of an inner request: seals what passes, and sends it on as soon as there is something sealed.

    blocking: whether sealing works for long, or waits for another machine.
    """

    def __init__(self, sealer: Sealer, send: Send, now: Callable[[], float], *, blocking: bool) -> None:
        self._sealer, self._send, self._now, self._blocking = sealer, send, now, blocking
        self._started = self._ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = tuple((bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ()))
            kept = tuple(line for line in headers if line[0] not in _DROPPED)
            await self._pass_on(self._sealer.begin(message["status"], (*kept, (b"date", write_date(self._now())))))
        elif message["type"] == "http.response.body":
            sealed = self._sealer.write(message.get("body", b""))
            if not message.get("more_body", False):
                end = self._sealer.end
                sealed += await anyio.to_thread.run_sync(end) if self._blocking else end()
                self._ended = True
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


def _outer(scope: Scope) -> OuterRequest:
    headers: Headers = tuple((bytes(name).lower(), bytes(value)) for name, value in scope["headers"])
    content_type = next((value for name, value in headers if name == b"content-type"), b"").decode("latin-1")
    media_type = content_type.partition(";")[0].strip().lower()
    return OuterRequest(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), media_type, headers)


def _inner_scope(scope: Scope, opened: Opened) -> Scope:
    request: InnerRequest = opened.request
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


def _fixed(status: int, type_: str, title: str, detail: str) -> Response:
    """A refusal that is the same bytes for everybody: it has no request id."""
    problem = problems.Problem(type=type_, title=title, status=status, detail=detail, request_id="")
    body = problem.model_dump_json(exclude={"request_id"})
    return problems.Refusal(body, status, {"cache-control": "no-store"}, problem)


BROKEN = _fixed(400, f"{problems.DOCS}#seal-broken", SealBroken.title, SealBroken().detail)
UNKNOWN_KEY = _fixed(400, KEY_PROBLEM, UnknownKey.title, UnknownKey().detail)
BROKEN_DOWN = _fixed(500, f"{problems.DOCS}#internal-server-error", "Internal Server Error", "The answer broke off.")
