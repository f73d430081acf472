"""httpx transports that seal what passes through them, so that any httpx client talks sealed.

Requests to `/v1/` paths are sealed; others (health, keys) hold nobody's data and pass as they are, without credentials.
Knows nothing of any one protocol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence

import httpx

from safelight.errors import SealBroken
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.protocol import Received, Sending, Session

SEALED_PREFIX = "/v1/"
_OUTER_ONLY = frozenset(
    {b"host", b"connection", b"content-length", b"transfer-encoding", b"user-agent", b"accept-encoding", b"accept"}
)
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization", "x-api-key")
Steps = Generator[Sending, Received, InnerResponse | Received]


class SealingTransport(httpx.BaseTransport):
    """session: seals and opens. network: what carries envelopes. relay: the URL that envelopes are posted to in place of
    the service's own, so that the service does not see who asks."""

    def __init__(self, session: Session, network: httpx.BaseTransport, *, relay: str | None = None) -> None:
        self._session, self._network, self._relay = session, network, relay

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.startswith(SEALED_PREFIX):
            return self._network.handle_request(_without_credentials(request))
        request.read()
        steps = self._session.exchange(_inner(request))
        answer = _advance(steps, None)
        while isinstance(answer, Sending):
            response = self._network.handle_request(_outer(request, answer, self._relay))
            response.read()
            answer = _advance(steps, _received(response))
        return _response(answer, request)

    def close(self) -> None:
        self._network.close()


class AsyncSealingTransport(httpx.AsyncBaseTransport):
    """As `SealingTransport`, for `httpx.AsyncClient`."""

    def __init__(self, session: Session, network: httpx.AsyncBaseTransport, *, relay: str | None = None) -> None:
        self._session, self._network, self._relay = session, network, relay

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.startswith(SEALED_PREFIX):
            return await self._network.handle_async_request(_without_credentials(request))
        await request.aread()
        steps = self._session.exchange(_inner(request))
        answer = _advance(steps, None)
        while isinstance(answer, Sending):
            response = await self._network.handle_async_request(_outer(request, answer, self._relay))
            await response.aread()
            answer = _advance(steps, _received(response))
        return _response(answer, request)

    async def aclose(self) -> None:
        await self._network.aclose()


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces that either kind of client can send."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _advance(steps: Steps, received: Received | None) -> Sending | InnerResponse | Received:
    try:
        return next(steps) if received is None else steps.send(received)
    except StopIteration as stop:
        answer: InnerResponse | Received = stop.value
        return answer


def _without_credentials(request: httpx.Request) -> httpx.Request:
    """They say who asks, to everybody on the way: they travel inside envelopes only."""
    for name in _CREDENTIALS:
        request.headers.pop(name, None)
    return request


def _inner(request: httpx.Request) -> InnerRequest:
    lines = ((name.lower(), value) for name, value in request.headers.raw)
    headers = tuple(line for line in lines if line[0] not in _OUTER_ONLY)
    return InnerRequest(
        request.method,
        request.url.raw_path.decode("ascii"),
        headers,
        request.content,
        request.url.scheme,
        request.url.netloc.decode("ascii"),
    )


def _outer(request: httpx.Request, sending: Sending, relay: str | None) -> httpx.Request:
    """relay: where envelopes go; keys are fetched from the service itself."""
    url = httpx.URL(relay) if relay and sending.method == "POST" else request.url.join(sending.target)
    framing: list[tuple[bytes, bytes]] = []
    if isinstance(sending.body, Sequence):
        framing.append((b"content-length", str(sum(map(len, sending.body))).encode()))
    else:
        framing.append((b"transfer-encoding", b"chunked"))
    return httpx.Request(
        sending.method,
        url,
        headers=[(b"host", url.netloc), *sending.headers, *framing],
        stream=_Pieces(sending.body),
        extensions=request.extensions,
    )


def _received(response: httpx.Response) -> Received:
    return Received(
        response.status_code,
        response.headers.get("content-type", ""),
        response.content,
        tuple((name.lower(), value) for name, value in response.headers.raw),
    )


def _response(answer: InnerResponse | Received, request: httpx.Request) -> httpx.Response:
    """Raises SealBroken for a success that is not sealed: only the service itself can say that, in a sealed answer."""
    if isinstance(answer, Received) and answer.status < 400:
        raise SealBroken()
    return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body, request=request)
