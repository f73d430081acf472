"""Through a relay, over TCP: the gateway never sees the client's address, the relay never sees plaintext."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
import uvicorn

from safelight.client import Client
from tests.serving.conftest import encoded, squares
from tests.serving.relay import Relay

CLIENT, RELAY, GATEWAY = "127.0.0.2", "127.0.0.3", "127.0.0.4"
CANARY = "CANARY-4be1d7"


@contextmanager
def served(app, host: str) -> Iterator[str]:
    """An application under uvicorn, in a thread, at an address of its own."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 10
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


class Watched:
    """Notes where connections come from and which headers they bring."""

    def __init__(self, app) -> None:
        self.app, self.peers, self.headers = app, [], []

    async def __call__(self, scope, receive, send):
        self.peers.append(scope["client"][0])
        self.headers += [name.decode() for name, _ in scope["headers"]]
        await self.app(scope, receive, send)


@pytest.mark.parametrize("chunk_above", [None, 1000])
def test_neither_sees_what_the_other_sees(settings, make_app, chunk_above):
    gateway = Watched(make_app(settings.model_copy(update={"allow_plaintext": False})))
    picture = encoded(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))
    with served(gateway, GATEWAY) as gateway_url:
        relay = Relay(f"{gateway_url}/ohttp", httpx.AsyncHTTPTransport(local_address=RELAY))
        with served(relay, RELAY) as relay_url:
            keys = httpx.get(f"{gateway_url}/ohttp-keys").content  # by another way: somebody publishes them
            gateway.peers.clear(), gateway.headers.clear()
            network = httpx.HTTPTransport(local_address=CLIENT)
            given = {"keys": keys, "relay": relay_url, "chunk_above": chunk_above, "api_key": CANARY}
            with Client(gateway_url, network, **given) as client:
                assert client.detect(squares(person=(8, 8))).counts == {"person": 1}
                client.detect(picture, model="tree-crowns")
    assert set(gateway.peers) == {RELAY} and CLIENT not in gateway.peers
    assert set(gateway.headers) <= {"host", "accept", "accept-encoding", "connection", "user-agent", "content-length",
                                    "content-type"}  # fmt: skip
    passed = b"".join(relay.seen)
    assert len(relay.seen) == 4
    for secret in (b"IHDR", b"IDAT", b"person", b"tree-crowns", b"/v1/detect", CANARY.encode(), picture[60:80]):
        assert secret not in passed
