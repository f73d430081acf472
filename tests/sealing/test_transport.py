"""What leaves a client unsealed: nothing that says who asks, or what."""

from __future__ import annotations

import anyio
import httpx
import pytest

from safelight.client import AsyncClient, Client
from safelight.errors import SealBroken
from safelight.sealing.ohttp.session import OhttpSession
from safelight.sealing.transport import SealingTransport

URL = "http://gateway.example"


class Network:
    """Answers everything with an empty success and remembers what came."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200)


def test_credentials_do_not_travel_unsealed():
    network = Network()
    with Client(URL, httpx.MockTransport(network), pins=["0" * 64], api_key="sl_secret") as client:
        assert client.ready()
        with pytest.raises(SealBroken):
            client.models()

    async def use() -> None:
        async with AsyncClient(URL, httpx.MockTransport(network), pins=["0" * 64], api_key="sl_secret") as client:
            assert await client.ready()

    anyio.run(use)
    assert [request.url.path for request in network.seen] == ["/readyz", "/ohttp-keys", "/readyz"]
    assert not any("sl_secret" in str(request.headers.raw) for request in network.seen)


def test_other_ways_to_say_who_asks_do_not_either():
    network = Network()
    transport = SealingTransport(OhttpSession(pins=(), chunk_above=None, now=lambda: 0), httpx.MockTransport(network))
    headers = {"cookie": "a=secret", "proxy-authorization": "secret", "x-api-key": "secret"}
    with httpx.Client(base_url=URL, transport=transport, auth=("me", "secret")) as http:
        assert http.get("/healthz", headers=headers).status_code == 200
    (request,) = network.seen
    assert {"authorization", "cookie", "proxy-authorization", "x-api-key"}.isdisjoint(request.headers)


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/", "/v1/%64etect"])
def test_an_unsealed_success_is_refused(path):
    transport = SealingTransport(OhttpSession(pins=(), chunk_above=None, now=lambda: 0), httpx.MockTransport(Network()))
    with httpx.Client(base_url=URL, transport=transport) as http, pytest.raises(SealBroken):
        http.post(path, content=b"picture")
