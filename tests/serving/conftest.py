"""The gateway in this process: signed bundles of tiny graphs, the ASGI application, and a client that calls it."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.types import ASGIApp

from safelight.signing import signing_key
from serving.api.app import create_app
from serving.model_settings import Batching, Runtime
from serving.models.catalogue import Catalogue
from serving.models.loading import catalogue_of
from serving.privacy.access import Access
from serving.privacy.audit import UNAUDITED, Sink
from serving.privacy.gate import Gate
from serving.settings import Settings, load_settings
from serving.telemetry.telemetry import Telemetry
from tests.conftest import ROOT
from tests.serving.graphs import promote
from tests.serving.redis_server import mortal_redis, redis_url  # noqa: F401  # fixtures

LOOPBACK = (ip_address("127.0.0.1"),)


class AppTransport(httpx.BaseTransport):
    """httpx's transport to an ASGI application that lives on an event loop in another thread."""

    def __init__(self, app: ASGIApp, portal: anyio.from_thread.BlockingPortal) -> None:
        self._inner, self._portal = httpx.ASGITransport(app), portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def call() -> httpx.Response:
            stream = request.stream

            class Body(httpx.AsyncByteStream):
                async def __aiter__(self):  # type: ignore[no-untyped-def]
                    chunks = iter(stream)  # type: ignore[arg-type]
                    while (chunk := await anyio.to_thread.run_sync(next, chunks, None)) is not None:
                        yield chunk

            inner = httpx.Request(request.method, request.url, headers=request.headers, stream=Body())
            response = await self._inner.handle_async_request(inner)
            body = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=body)

        return self._portal.call(call)


@pytest.fixture(scope="session")
def portal() -> Iterator[anyio.from_thread.BlockingPortal]:
    with anyio.from_thread.start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def private_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "signing.key"
    signing_key(path)
    return path


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Path:
    """coco in letterbox mode, tree-crowns in tiles of 64 pixels."""
    folder = tmp_path_factory.mktemp("bundles")
    promote(folder, private_key, name="coco")
    tiles = {"mode": "tiles", "input_size": 64, "tile": 64, "overlap": 16}
    promote(folder, private_key, name="tree-crowns", preprocess=tiles)
    return folder


@pytest.fixture(scope="session")
def settings(bundles: Path, private_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shipped settings, with these bundles, plaintext allowed and small limits."""
    shipped = load_settings(ROOT, {"SAFELIGHT_ALLOW_PLAINTEXT": "1"})
    return shipped.model_copy(
        update={
            "bundles": bundles,
            "public_keys": (private_key.with_suffix(".pub"),),
            "limits": shipped.limits.model_copy(
                update={
                    "max_bytes": 2_000_000,
                    "max_pixels": 4_000_000,
                    "memory_bytes": 20_000_000,
                    "body_timeout_s": 5,
                }
            ),
            "readers": shipped.readers.model_copy(update={"routes": (), "default": None}),
            "batching": Batching(max_batch=4),
            "runtime": Runtime(threads=1, precision="fp32", dct=False),
            "rates": shipped.rates.model_copy(update={"limit": "none", "sealed_anonymous": "none"}),
            "sealing": shipped.sealing.model_copy(
                update={"keys": tmp_path_factory.mktemp("sealing"), "replay": "memory", "refusal_step_ms": 10}
            ),
        }
    )


class Clock:
    """The time of day, moved on at will."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture(scope="session")
def make_app() -> Callable[..., ASGIApp]:
    """settings, a catalogue (loaded here unless given), listening addresses, a clock for keys → the application."""

    def make(
        settings: Settings,
        catalogue: Catalogue | None = None,
        addresses: tuple[object, ...] = LOOPBACK,
        audit: Sink = UNAUDITED,
        now: Callable[[], float] = time.time,
        telemetry: Telemetry | None = None,
    ) -> ASGIApp:
        if catalogue is None:
            catalogue = catalogue_of(settings)
            catalogue.load()
        gate = Gate(settings, now=now)
        gate.load()
        ids = (f"{number:032x}" for number in itertools.count(1))
        access = Access(settings, listeners=lambda: addresses, now=time.time)  # type: ignore[arg-type,return-value]
        access.load()
        return create_app(
            settings,
            catalogue,
            gate,
            access,
            listeners=lambda: addresses,  # type: ignore[arg-type,return-value]
            new_id=lambda: next(ids),
            clock=time.perf_counter,
            audit=audit,
            telemetry=telemetry,
        )

    return make


@pytest.fixture(scope="session")
def make_client(
    portal: anyio.from_thread.BlockingPortal, make_app: Callable[..., ASGIApp]
) -> Callable[..., httpx.Client]:
    """As `make_app`, with a client of the application."""

    def make(*args: Any, **kwargs: Any) -> httpx.Client:
        app = make_app(*args, **kwargs)
        return httpx.Client(transport=AppTransport(app, portal), base_url="http://gateway")

    return make


@pytest.fixture(scope="session")
def client(settings: Settings, make_client: Callable[..., httpx.Client]) -> httpx.Client:
    return make_client(settings)


def squares(width: int = 64, height: int = 64, **cells: tuple[int, int]) -> NDArray[np.uint8]:
    """A black (height, width, 3) picture with a red ("person") or green ("cat") square of 8 pixels at each (x, y)."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for name, (x, y) in cells.items():
        pixels[y : y + 8, x : x + 8, ("person", "cat").index(name)] = 255
    return pixels


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
