"""Opens sealed requests, passes them on to the application, and seals its answers.

Whatever does not open is answered with the same bytes, at the same distance from the end of the request, whichever step
failed. Knows nothing of what is inside an envelope, or of any one protocol.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.errors import KeyServiceDown, Overloaded, ReplayStoreDown, SafelightError, SealBroken, UnknownKey
from safelight.sealing.ohttp import DATE_PROBLEM, KEYS_PATH, KEYS_TYPE
from safelight.sealing.protocol import Opened, Opener, OuterRequest
from serving.api import problems
from serving.privacy.channels import Body, Envelope, SealedAnswer, inner_scope, outer_request
from serving.privacy.gate import Gate
from serving.privacy.record import UNOPENED, record_of
from serving.privacy.refusals import BROKEN, UNKNOWN_KEY
from serving.resilience.memory import Budget, Holding
from serving.resilience.pace import Pace

INNER_PREFIX = "/v1/"
_KEYS_MAX_AGE_S = 300
_CLOCKS_APART_S = 60
_BLOCKING = 8  # openings that may wait for another machine; threads of their own, so that others find some
_SLOW_BYTES = 256 * 1024  # opening more than this would hold up other requests: it is done in a thread


class Sealed:
    """ASGI middleware.

    app: gets inner requests, marked as sealed, and everything that is not sealed. max_bytes: of an envelope.
    linger_bytes: how much more of one that is too large is thrown away before it is refused. pace: how fast it has to
    arrive. budget: of bytes that all requests may hold together. clock: monotonic seconds. new_id: a fresh random id.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        *,
        max_bytes: int,
        linger_bytes: int,
        pace: Pace,
        budget: Budget,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._app, self._gate = app, gate
        self._max_bytes, self._linger_bytes = max_bytes, linger_bytes
        self._pace, self._budget = pace, budget
        self._blocking = anyio.CapacityLimiter(_BLOCKING)
        self._clock, self._new_id, self._sleep = clock, new_id, sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outer = outer_request(scope)
        opener = next((opener for opener in self._gate.openers if opener.recognises(outer)), None)
        if outer.path == KEYS_PATH:
            await self._keys(outer)(scope, receive, send)
        elif opener is None:
            await self._app(scope, receive, send)
        else:
            with self._budget.holding() as holding:
                refused = await self._exchange(opener, outer, scope, receive, send, holding)
                if refused is not None:  # what it held is given back with its answer: that, too, would tell
                    await self._until_the_next_step(refused.ended)
                    await refused.answer(scope, receive, send)

    def _keys(self, outer: OuterRequest) -> Response:
        if outer.method != "GET":
            request_id = self._new_id()
            named = {"allow": "GET", "x-request-id": request_id}
            return problems.answer(problems.of_status(405, request_id), named)
        cache = {"cache-control": f"public, max-age={_KEYS_MAX_AGE_S}"}
        return Response(self._gate.key_configs(), headers=cache, media_type=KEYS_TYPE)

    async def _exchange(
        self, opener: Opener, outer: OuterRequest, scope: Scope, receive: Receive, send: Send, holding: Holding
    ) -> _Refused | None:
        """Returns what is still to be answered where the envelope was refused."""
        envelope = Envelope(opener, outer, receive, holding, max_bytes=self._max_bytes, linger_bytes=self._linger_bytes)
        await envelope.take_in(self._pace)
        ended = self._clock()
        record = record_of(scope)
        record.protocol = UNOPENED
        try:
            slow = opener.blocking or envelope.size > _SLOW_BYTES
            threads = self._blocking if opener.blocking else None
            opened = await anyio.to_thread.run_sync(envelope.open, limiter=threads) if slow else envelope.open()
            refusal = await self._refusal(opened)
        except (SealBroken, UnknownKey) as error:
            return _Refused(UNKNOWN_KEY if isinstance(error, UnknownKey) else BROKEN, ended)
        except (Overloaded, KeyServiceDown) as error:
            return _Refused(self._unopened(error), ended)
        holding.keep(len(opened.request.body))
        record.protocol, record.key_id = opened.protocol, opened.key_id
        # Of what opened only: how long it took with others would tell why they did not.
        record.spent("open", ended, self._clock())
        seal = partial(record.spent, "seal")
        sealing = SealedAnswer(
            opened.sealer, send, self._gate.now, blocking=opener.blocking, clock=self._clock, spent=seal
        )
        if refusal is not None:
            await refusal(scope, receive, sealing.send)
        else:
            await self._app(inner_scope(scope, opened), Body(opened.request.body, receive), sealing.send)
        await sealing.close()
        return None

    def _unopened(self, error: SafelightError) -> Response:
        """In the clear: it depends on nothing but sizes, or on a service elsewhere and on what is not secret anyway."""
        request_id = self._new_id()
        answer = problems.refusal(error, request_id)
        answer.headers["x-request-id"] = request_id
        return answer

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
            first = self._gate.first_time_at_once(opened.key_id, opened.token, until)
            if first is None:
                first = await anyio.to_thread.run_sync(self._gate.first_time, opened.key_id, opened.token, until)
        except ReplayStoreDown as error:
            return problems.answer(problems.of_error(error, self._new_id()))
        if not first:
            raise SealBroken()
        if not opened.request.path.startswith(INNER_PREFIX):
            return problems.answer(problems.of_status(404, self._new_id()))
        return None

    def _stale(self, opened: Opened) -> bool:
        settings = self._gate.settings
        if opened.sent_at is None:
            return settings.require_date
        return abs(self._gate.now() - opened.sent_at) > settings.freshness_s

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
