"""The clients: one that blocks and one that awaits. What they ask is in `calls`, how it is sealed in `safelight.sealing`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, TypeVar, Unpack

import httpx
import stamina

from safelight.client import calls
from safelight.client.answers import Answer, ModelInfo
from safelight.client.calls import ApiError, Call, DetectOptions, Image, Unreachable
from safelight.client.settings import Options, session_of
from safelight.errors import SafelightError
from safelight.sealing.transport import AsyncSealingTransport, SealingTransport

T = TypeVar("T")
_LONGEST_WAIT_S = 30.0


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
        self._attempts = options.get("attempts", 3)

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
        for attempt in _attempts(self._attempts):
            with attempt:
                return self._once(call)
        raise AssertionError("stamina raises the last error")

    def _once(self, call: Call[T]) -> T:
        try:
            response = self._http.request(call.method, call.path, params=call.params, content=call.content)
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
        self._attempts = options.get("attempts", 3)

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
        async for attempt in _attempts(self._attempts):
            with attempt:
                return await self._once(call)
        raise AssertionError("stamina raises the last error")

    async def _once(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(call.method, call.path, params=call.params, content=call.content)
        except httpx.TransportError as error:
            raise Unreachable(f"No answer came ({type(error).__name__}).") from None
        return call.result(response)


def _http_settings(base_url: str, options: Options) -> dict[str, Any]:
    key = options.get("api_key")
    return {
        "base_url": base_url,
        "timeout": options.get("timeout_s", 60.0),
        "headers": {} if key is None else {"authorization": f"Bearer {key}"},
        "trust_env": False,  # no proxy that the environment names gets to see who asks
    }


def _attempts(most: int) -> Any:
    """The attempts, for `for` and `async for`; stamina does not export their type."""
    return stamina.retry_context(on=_wait, attempts=most, timeout=None)


def _wait(error: Exception) -> bool | float:
    """Whether to try again: what the service asks for when it says, else stamina's growing waits with jitter."""
    if isinstance(error, ApiError) and error.retryable and error.retry_after_s is not None:
        return min(error.retry_after_s, _LONGEST_WAIT_S)
    return isinstance(error, SafelightError) and error.retryable
