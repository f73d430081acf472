"""HTTP requests that are ready to be sent, sent: as fast as answers come, or at given times. Made to be light, since the load
must not be the limit; how light is measured by `harness.ceiling`. Knows nothing of what is in them.

One thread, uvloop, httptools' parser, connections that are kept open. A request is one piece of bytes, made before the
clock starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

_TIMEOUT_S = 60.0
_SPIN_S = 0.0015  # timers of the loop are good to a millisecond; the rest is waited for awake


@dataclass(frozen=True)
class Answer:
    """status, media_type, body: what came. ms: until its last byte, from the first byte sent, or from when it was to be
    sent where that was given. late_ms: how long after that it was sent."""

    status: int
    media_type: str
    body: bytes
    ms: float
    late_ms: float = 0.0


Check = Callable[[int, Answer], Answer]


@dataclass(frozen=True)
class Block:
    """answers: in the order of the requests. elapsed_s: from the first byte sent to the last received."""

    answers: list[Answer]
    elapsed_s: float

    @property
    def per_s(self) -> float:
        return len(self.answers) / self.elapsed_s


def request(target: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    lines = {"host": "127.0.0.1", **headers, "content-length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body


def closed(url: str, requests: Sequence[bytes], connections: int) -> Block:
    """Each connection sends its next request when it has its answer. Raises OSError or TimeoutError."""
    return uvloop.run(_closed(url, requests, connections))


def opened(
    url: str, requests: Iterable[bytes], at_s: Iterable[float], connections: int, check: Check | None = None
) -> Block:
    """Each request is sent at its time, in seconds from the start, whatever became of those before it: latencies count from
    that time, so that a server that falls behind cannot hide it (coordinated omission). Where all connections are taken it
    waits for one, and that counts too. requests: taken one by one, when their turn comes. check: is given each turn and its
    answer as soon as it is there, and says what to keep; a request that fails is an answer of status 0 to it, and raises
    without it."""
    return uvloop.run(_opened(url, iter(requests), at_s, connections, check))


async def _closed(url: str, requests: Sequence[bytes], connections: int) -> Block:
    lines = [await _connect(url) for _ in range(connections)]
    answers: list[Any] = [None] * len(requests)
    turns = iter(range(len(requests)))

    async def keep_asking(line: _Line) -> None:
        for turn in turns:
            answers[turn] = await line.ask(requests[turn], time.perf_counter())

    begun = time.perf_counter()
    await _all([keep_asking(line) for line in lines], lines)
    return Block(answers, time.perf_counter() - begun)


async def _opened(
    url: str, requests: Iterator[bytes], at_s: Iterable[float], connections: int, check: Check | None
) -> Block:
    lines = [await _connect(url) for _ in range(connections)]
    free: asyncio.LifoQueue[_Line] = asyncio.LifoQueue()  # the same few connections are used while they are enough
    for line in lines:
        free.put_nowait(line)

    async def ask(turn: int, body: bytes, due: float) -> Answer:
        line = await free.get()
        if not line.alive:  # the server closes those that nobody used for a while
            lines.append(line := await _connect(url))
        try:
            answer = await line.ask(body, due)
        except (OSError, TimeoutError, httptools.HttpParserError):
            if check is None:
                raise
            answer = Answer(0, "", b"", 1000 * (time.perf_counter() - due))
            line.close()
            lines.append(line := await _reconnect(url))
        finally:
            free.put_nowait(line)
        return answer if check is None else check(turn, answer)

    asked, begun = [], time.perf_counter()
    for turn, at in enumerate(at_s):
        one = next(requests)
        await _until(begun + at)
        asked.append(asyncio.ensure_future(ask(turn, one, begun + at)))
    answers = await _all(asked, lines)
    return Block(answers, time.perf_counter() - begun)


async def _all(asked: Sequence[Awaitable[Any]], lines: Sequence[_Line]) -> list[Any]:
    try:
        return list(await asyncio.gather(*asked))
    finally:
        for line in lines:
            line.close()


async def _until(due: float) -> None:
    left = due - time.perf_counter()
    if left > _SPIN_S:
        await asyncio.sleep(left - _SPIN_S)
    while time.perf_counter() < due:
        await asyncio.sleep(0)


async def _connect(url: str) -> _Line:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, line = await loop.create_connection(lambda: _Line(loop), parts.hostname, parts.port)
    return line


async def _reconnect(url: str) -> _Line:
    """A fresh connection, as soon as there is one: the server may be starting again. Raises OSError."""
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return await _connect(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


class _Line(asyncio.Protocol):
    """One connection, with at most one request under way. alive: until it is closed by either end."""

    alive = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None
        self._media_type, self._body = "", []  # type: tuple[str, list[bytes]]
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, wire: bytes, due: float) -> Answer:
        self._waiting, self._body = self._loop.create_future(), []
        sent = time.perf_counter()
        self._transport.write(wire)
        waiting = self._waiting
        alarm = self._loop.call_later(_TIMEOUT_S, self._fail, TimeoutError("No answer came in time."))
        try:
            await waiting
        finally:
            alarm.cancel()
        ended, status = time.perf_counter(), self._parser.get_status_code()
        return Answer(status, self._media_type, b"".join(self._body), 1000 * (ended - due), 1000 * (sent - due))

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        self._fail(exc or ConnectionError("The server closed the connection."))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._media_type = value.decode("latin-1").partition(";")[0].strip()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
