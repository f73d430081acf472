"""The clients: one that blocks and one that awaits. What they ask is in `calls`, how it is sealed in `safelight.sealing`."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar, Unpack

import httpx

from safelight.client import calls
from safelight.client.answers import Answer, ModelInfo
from safelight.client.calls import ApiError, Call, DetectOptions, Image, ReadOptions, Unreachable
from safelight.client.patience import Patience
from safelight.client.readings import Reading, Unread
from safelight.client.settings import Options, session_of
from safelight.sealing.transport import AsyncSealingTransport, SealingTransport

T = TypeVar("T")


class Client:
    """A connection to one gateway; use it as a context manager, or call `close`.

    base_url: such as http://127.0.0.1:3000. network: what carries the requests, by default httpx. options: `Options`.
    Raises ConfigError when pictures would travel, or keys be fetched, in a way that others could read or change.
    """

    def __init__(self, base_url: str, network: httpx.BaseTransport | None = None, **options: Unpack[Options]) -> None:
        session = session_of(httpx.URL(base_url), options)
        transport = network or httpx.HTTPTransport(trust_env=False)
        if session is not None:
            transport = SealingTransport(session, transport, relay=options.get("relay"))
        self._http = httpx.Client(transport=transport, **_http_settings(base_url, options))
        self._timeout_s, self._attempts = options.get("timeout_s", 60.0), options.get("attempts", 3)
        self._deadline_s = options.get("deadline_s")

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def detect(self, image: Image, **options: Unpack[DetectOptions]) -> Answer:
        """The objects on a picture. options: `DetectOptions`.

        Raises ApiError when the service refuses, Unreachable when it does not answer, SealBroken when its answer does
        not open.
        """
        return self._do(calls.detect(image, options))

    def render(self, image: Image, **options: Unpack[DetectOptions]) -> bytes:
        """The picture with its boxes drawn, as PNG. Raises as `detect` does."""
        return self._do(calls.render(image, options))

    def read(self, image: Image, **options: Unpack[ReadOptions]) -> Reading:
        """What stands on a picture. options: `ReadOptions`.

        Raises as `detect` does; a picture that is too poor is an ApiError of status 422 that says what to do.
        """
        return self._do(calls.read(image, options))

    def read_several(self, images: Sequence[Image], **options: Unpack[ReadOptions]) -> list[Reading | Unread]:
        """What stands on each of several pictures, or why it was not read. Raises as `detect` does, for all of them."""
        return self._do(calls.read_several(images, options))

    def models(self) -> list[ModelInfo]:
        """What the service serves, and in which state. Raises as `detect` does."""
        return self._do(calls.models())

    def ready(self) -> bool:
        """Whether the service answers and its default model is ready."""
        try:
            return self._once(calls.ready())
        except (ApiError, Unreachable):
            return False

    def _do(self, call: Call[T]) -> T:
        patience = Patience(self._attempts, self._deadline_s)
        for attempt in patience.attempts():
            with attempt:
                return self._once(call, patience.left_s)
        raise AssertionError("stamina raises the last error")

    def _once(self, call: Call[T], left_s: float | None = None) -> T:
        try:
            response = self._http.request(**_sent(call, left_s, self._timeout_s))
        except httpx.TransportError as error:
            raise Unreachable(f"No answer came ({type(error).__name__}).") from None
        return call.result(response)


class AsyncClient:
    """As `Client`, with `await` and `async with`."""

    def __init__(
        self, base_url: str, network: httpx.AsyncBaseTransport | None = None, **options: Unpack[Options]
    ) -> None:
        session = session_of(httpx.URL(base_url), options)
        transport = network or httpx.AsyncHTTPTransport(trust_env=False)
        if session is not None:
            transport = AsyncSealingTransport(session, transport, relay=options.get("relay"))
        self._http = httpx.AsyncClient(transport=transport, **_http_settings(base_url, options))
        self._timeout_s, self._attempts = options.get("timeout_s", 60.0), options.get("attempts", 3)
        self._deadline_s = options.get("deadline_s")

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def detect(self, image: Image, **options: Unpack[DetectOptions]) -> Answer:
        """As `Client.detect`."""
        return await self._do(calls.detect(image, options))

    async def render(self, image: Image, **options: Unpack[DetectOptions]) -> bytes:
        """As `Client.render`."""
        return await self._do(calls.render(image, options))

    async def read(self, image: Image, **options: Unpack[ReadOptions]) -> Reading:
        """As `Client.read`."""
        return await self._do(calls.read(image, options))

    async def read_several(self, images: Sequence[Image], **options: Unpack[ReadOptions]) -> list[Reading | Unread]:
        """As `Client.read_several`."""
        return await self._do(calls.read_several(images, options))

    async def models(self) -> list[ModelInfo]:
        """As `Client.models`."""
        return await self._do(calls.models())

    async def ready(self) -> bool:
        """As `Client.ready`."""
        try:
            return await self._once(calls.ready())
        except (ApiError, Unreachable):
            return False

    async def _do(self, call: Call[T]) -> T:
        patience = Patience(self._attempts, self._deadline_s)
        async for attempt in patience.attempts():
            with attempt:
                return await self._once(call, patience.left_s)
        raise AssertionError("stamina raises the last error")

    async def _once(self, call: Call[T], left_s: float | None = None) -> T:
        try:
            response = await self._http.request(**_sent(call, left_s, self._timeout_s))
        except httpx.TransportError as error:
            raise Unreachable(f"No answer came ({type(error).__name__}).") from None
        return call.result(response)


def _http_settings(base_url: str, options: Options) -> dict[str, Any]:
    key = options.get("api_key")
    return {
        "base_url": base_url,
        "headers": {} if key is None else {"authorization": f"Bearer {key}"},
        "trust_env": False,  # no proxy that the environment names gets to see who asks
    }


def _sent(call: Call[Any], left_s: float | None, timeout_s: float) -> dict[str, Any]:
    """As httpx takes it. What has a deadline says so, and the service gives up when nobody waits for it any more."""
    params = dict(call.params)
    if left_s is not None and call.content is not None:
        params["timeout_ms"] = str(max(1, int(left_s * 1000)))
    timeout_s = timeout_s if left_s is None else min(timeout_s, left_s)
    return {
        "method": call.method,
        "url": call.path,
        "params": params,
        "content": call.content,
        "headers": dict(call.headers),
        "timeout": timeout_s,
    }
