"""The Python clients, sealed, against the application: boxes, rotated keys, wrong clocks, relays, forged answers."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pytest

from safelight.client import ApiError, AsyncClient, Client
from safelight.errors import KeyNotTrusted, SealBroken
from safelight.sealing import keystore
from safelight.sealing.ohttp.config import decode_keys
from safelight.sealing.ohttp.session import OhttpSession
from safelight.sealing.transport import SealingTransport
from tests.serving.conftest import AppTransport, Clock, encoded, squares

URL = "http://127.0.0.1"
PICTURE = encoded(squares(person=(8, 8)))


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def keys(tmp_path_factory, clock):
    """The store that the application looks into."""
    return keystore.KeyStore(tmp_path_factory.mktemp("own-keys") / "sealing", clock)


@pytest.fixture(scope="module")
def sealed_app(settings, make_app, keys, clock):
    """An application with keys of its own, that takes sealed requests only."""
    sealing = settings.sealing.model_copy(update={"keys": keys.folder})
    return make_app(settings.model_copy(update={"allow_plaintext": False, "sealing": sealing}), now=clock)


class Recording(httpx.BaseTransport):
    """Passes on, and remembers what it saw. It can be a network, or a relay."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner, self.seen = inner, []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        return self.inner.handle_request(request)


@pytest.fixture
def network(sealed_app, portal):
    return Recording(AppTransport(sealed_app, portal))


def test_everything_the_client_does_is_sealed(network):
    with Client(URL, network) as client:
        answer = client.detect(squares(person=(16, 16)), model="coco", threshold=0.5)
        assert answer.counts == {"person": 1} and answer.annotations[0].box == (16, 16, 24, 24)
        assert client.render(PICTURE).startswith(b"\x89PNG")
        assert {model.name for model in client.models()} == {"coco", "tree-crowns"}
        with pytest.raises(ApiError) as caught:
            client.detect(b"no picture")
        assert caught.value.status == 415 and caught.value.type.endswith("#not-an-image")
    assert {request.url.raw_path for request in network.seen} == {b"/ohttp-keys", b"/ohttp"}
    assert [request.method for request in network.seen].count("GET") == 1  # the keys, once
    for request in network.seen:
        assert b"IHDR" not in request.content and b"detect" not in request.content


def test_a_large_picture_goes_in_chunks(network):
    noise = encoded(np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8))
    with Client(URL, network) as client:
        client.detect(noise)
        client.detect(PICTURE)
    large, small = network.seen[1:]
    assert large.headers["content-type"] == "message/ohttp-chunked-req" and len(large.content) > len(noise) > 1024**2
    assert large.headers["transfer-encoding"] == "chunked"
    assert small.headers["content-type"] == "message/ohttp-req"


def test_the_asynchronous_client(sealed_app, portal):
    async def use() -> tuple[object, ...]:
        async with AsyncClient(URL, httpx.ASGITransport(sealed_app)) as client:
            noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
            large = await client.detect(noise)
            answer = await client.detect(PICTURE)
            picture = await client.render(PICTURE)
            models = await client.models()
            with pytest.raises(ApiError):
                await client.detect(b"no picture")
            return large.model.name, answer.counts, picture[:4], len(models)

    assert portal.call(use) == ("coco", {"person": 1}, b"\x89PNG", 2)


def test_rotation_fails_no_request(network, keys, clock):
    """A client that holds the old key goes on during the overlap, and fetches again once it has retired."""
    with Client(URL, network, attempts=1) as client:
        client.detect(PICTURE)
        old = decode_keys(network.inner.handle_request(httpx.Request("GET", f"{URL}/ohttp-keys")).content)
        for kind in ("x25519", "mlkem768-x25519"):
            keys.rotate(kind, overlap_s=60)
        clock.ahead_s += 1.1  # the service looks into the folder once a second
        offered = decode_keys(network.inner.handle_request(httpx.Request("GET", f"{URL}/ohttp-keys")).content)
        assert not {one.number for one in offered} & {one.number for one in old}
        client.detect(PICTURE)
        assert [request.method for request in network.seen].count("GET") == 1
        clock.ahead_s += 60
        client.detect(PICTURE)
        assert [request.method for request in network.seen].count("GET") == 2
        client.detect(PICTURE)


def test_a_key_retired_at_once_is_fetched_anew(network, keys, clock):
    with Client(URL, network, attempts=1) as client:
        client.detect(PICTURE)
        for key in keys.in_use():
            keys.retire(key.name)
        clock.ahead_s += 1.1
        client.detect(PICTURE)
        assert [request.url.path for request in network.seen[-3:]] == ["/ohttp", "/ohttp-keys", "/ohttp"]


def test_only_pinned_keys_are_used(network):
    offered = decode_keys(network.handle_request(httpx.Request("GET", f"{URL}/ohttp-keys")).content)
    with Client("http://example.org", network, pins=[offered[0].fingerprint.upper()]) as client:
        assert client.detect(PICTURE).counts == {"person": 1}
    with Client("http://example.org", network, pins=["0" * 64]) as client, pytest.raises(KeyNotTrusted):
        client.detect(PICTURE)


@pytest.mark.parametrize("off_s", [-7200.0, 7200.0])
def test_a_wrong_clock_is_corrected(network, off_s):
    session = OhttpSession(pins=(), chunk_above=None, now=lambda: time.time() + off_s)
    with httpx.Client(base_url=URL, transport=SealingTransport(session, network)) as http:
        assert [http.post("/v1/detect", content=PICTURE).status_code for _ in range(2)] == [200, 200]
    assert [request.url.path for request in network.seen] == ["/ohttp-keys", "/ohttp", "/ohttp", "/ohttp"]


class Relay(httpx.BaseTransport):
    """An oblivious relay: takes envelopes at its own address and posts them to the gateway, from an address of its own."""

    def __init__(self, gateway: httpx.BaseTransport) -> None:
        self.gateway, self.seen = gateway, []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        if request.url.host != "relay.example":
            return self.gateway.handle_request(request)
        self.seen.append(request.content)
        headers = {"content-type": request.headers["content-type"]}
        return self.gateway.handle_request(
            httpx.Request("POST", f"{URL}/ohttp", headers=headers, content=request.content)
        )


def test_through_a_relay_neither_end_sees_too_much(network):
    relay = Relay(network)
    with Client(URL, relay, relay="https://relay.example/gateway", api_key="sl_secret") as client:
        assert client.detect(PICTURE).counts == {"person": 1}
    assert len(relay.seen) == 1 and b"IHDR" not in relay.seen[0] and b"sl_secret" not in relay.seen[0]
    envelope = network.seen[-1]
    assert set(envelope.headers) == {"host", "content-type", "content-length"}


@pytest.mark.parametrize(
    ("status", "media_type", "error"),
    [(200, "application/json", SealBroken), (200, "message/ohttp-res", SealBroken), (502, "text/html", ApiError)],
)
def test_an_answer_that_is_not_sealed_is_none(network, status, media_type, error):
    def forge(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return network.handle_request(request)
        return httpx.Response(status, headers={"content-type": media_type}, content=b'{"counts": {"person": 9}}')

    with Client(URL, httpx.MockTransport(forge), attempts=1) as client, pytest.raises(error):
        client.detect(PICTURE)
