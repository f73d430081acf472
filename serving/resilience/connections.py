"""What connections may cost before and after their requests: the time and bytes of a head, an answer that is not fetched, and
how many there are.

uvicorn waits for ever for a head that does not end and for a reader that does not read, and answers what is no HTTP in plain
text. Here all of these are bounded, and answered with problems. Knows nothing of requests: what has a head is the
application's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn.config
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from safelight.errors import Overloaded
from serving.api import problems
from serving.privacy.headers import ALWAYS

_PARTING_S = 1.0


@dataclass(frozen=True)
class ConnectionLimits:
    """most: connections at a time. head_bytes, head_s: for a request's head to arrive. fetch_s: for some of an answer to be
    taken by a client that is behind."""

    most: int
    head_bytes: int
    head_s: float
    fetch_s: float


class Connection(HttpToolsProtocol):
    """uvicorn's, with bounds. It is made for each connection, by a subclass of `bounded`."""

    limits: ConnectionLimits
    new_id: Callable[[], str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None  # for a head, or for the client to hang up
        self._fetching: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._deaf = False  # nothing that comes now is heard

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > 2 * self.limits.most:
            transport.abort()
        elif len(self.connections) > self.limits.most:
            self._say(problems.refusal(Overloaded(), request_id := self.new_id()), request_id)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._fetched()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._idle:  # the head of the next request, or what follows a request that was answered early
            self._await_head()
        super().data_received(data)
        if self._timer is not None and not self._deaf:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(431)

    def on_headers_complete(self) -> None:
        self._disarm()
        self._head_bytes = 0
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._fetching = self.loop.call_later(self.limits.fetch_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._fetched()
        super().resume_writing()

    @property
    def _unasked(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None

    @property
    def _idle(self) -> bool:
        return self._unasked or self.cycle.response_complete

    def _await_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.head_s, self._head_too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fetched(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _head_too_slow(self) -> None:
        if self._head_bytes and self._unasked:
            self._refuse(408)
        else:  # nothing was asked, or it has been answered
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Say what is wrong with what came, unless it is behind a request that is complete: that one is still answered."""
        cycle = self.cycle
        if not self._idle and not cycle.more_body:
            self._deaf, cycle.keep_alive = True, False
        elif not self._idle and cycle.response_started:
            self.transport.close()
        else:
            request_id = self.new_id()
            self._say(problems.answer(problems.of_status(status, request_id)), request_id)

    def _say(self, answer: Response, request_id: str) -> None:
        """Answer in the application's place, and wait a moment for the client to read it: to hang up with bytes unread would
        make it lose the answer."""
        if not self._idle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        own = [(b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = [*answer.raw_headers, *((k, v) for k, v in ALWAYS.items() if k not in dict(answer.raw_headers)), *own]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
        self._deaf = True
        self._disarm()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(_PARTING_S, self.transport.close)
        else:
            self.transport.close()


def bounded(limits: ConnectionLimits, new_id: Callable[[], str]) -> type[Connection]:
    """A protocol for uvicorn's `http`. new_id: a fresh random id, for refusals."""
    return type("BoundedConnection", (Connection,), {"limits": limits, "new_id": staticmethod(new_id)})


def bound_connections(limits: ConnectionLimits, new_id: Callable[[], str]) -> None:
    """Have the uvicorn of this process, which others start and configure, take these connections by default."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = bounded(limits, new_id)  # type: ignore[assignment]  # a class will do, too
