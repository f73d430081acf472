"""deploy/relay as nginx really runs it, between the sealing client and a gateway, each at an address of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from safelight.client import Client
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares
from tests.serving.test_relay import served

RELAY = ROOT / "deploy/relay"
CLIENT, GATEWAY = "127.0.0.2", "127.0.0.4"
ENVELOPE = {"content-type": "message/ohttp-req"}

pytestmark = pytest.mark.nginx


@dataclass
class Running:
    """url: of the relay. folder: all that it could write to. log: what it said."""

    url: str
    folder: Path
    log: Path


class Watched:
    """An application, and what the requests to it brought."""

    def __init__(self, app) -> None:
        self.app, self.peers, self.headers = app, [], []

    async def __call__(self, scope, receive, send):
        self.peers.append(scope["client"][0])
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.app(scope, receive, send)


async def echo(scope, receive, send) -> None:
    """Sends back the body it was sent, with headers of the kind that a relay should keep to itself."""
    body = await Request(scope, receive).body()
    kept = {"content-type": "message/ohttp-res", "x-request-id": "5f2d", "set-cookie": "a=b", "server": "secret/1.0"}
    await Response(body, 200, kept)(scope, receive, send)


@pytest.fixture
def relay(tmp_path: Path):
    """Starts the relay in front of a gateway's URL."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    started: list[subprocess.Popen[bytes]] = []

    def start(gateway: str) -> Running:
        for name in ("nginx.conf", "gateway.conf"):
            shutil.copy(RELAY / name, tmp_path / name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        folder = tmp_path / "written"
        folder.mkdir()
        replace(tmp_path / "nginx.conf", "listen 8080;", f"listen {address};")
        replace(tmp_path / "nginx.conf", "/tmp/", f"{folder}/", times=6)
        replace(tmp_path / "gateway.conf", "service:3000", gateway.removeprefix("http://"))
        checked = subprocess.run(
            [nginx, "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf"], capture_output=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
        with (tmp_path / "log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [nginx, "-e", "stderr", "-c", tmp_path / "nginx.conf", "-g", "daemon off;"], stdout=log, stderr=log
                )
            )
        running = Running(f"http://{address}", folder, tmp_path / "log")
        deadline = time.monotonic() + 10
        while not alive(running.url):
            assert time.monotonic() < deadline and started[0].poll() is None, running.log.read_text()
            time.sleep(0.02)
        return running

    yield start
    for process in started:
        process.terminate()
        assert process.wait(timeout=10) == 0


def replace(path: Path, old: str, new: str, times: int = 1) -> None:
    text = path.read_text()
    assert text.count(old) == times
    path.write_text(text.replace(old, new))


def alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 204
    except httpx.TransportError:
        return False


@pytest.fixture
def echoing() -> Iterator[tuple[str, Watched]]:
    watched = Watched(echo)
    with served(watched, GATEWAY) as url:
        yield url, watched


@pytest.mark.parametrize("chunk_above", [None, 1000])
def test_sealed_requests_pass_and_the_gateway_learns_nothing_of_who_asks(relay, settings, make_app, chunk_above):
    gateway = Watched(make_app(settings.model_copy(update={"allow_plaintext": False})))
    picture = encoded(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8))
    with served(gateway, GATEWAY) as url:
        running = relay(url)
        own = httpx.HTTPTransport(local_address=CLIENT)
        with Client(url, relay=f"{running.url}/", chunk_above=chunk_above, transport=own) as client:
            assert client.detect(squares(person=(16, 16))).counts == {"person": 1}
            client.detect(picture)
    envelopes = [(peer, headers) for peer, headers in zip(gateway.peers, gateway.headers, strict=True)
                 if "message/" in headers.get("content-type", "")]  # fmt: skip
    assert len(envelopes) == 2
    for peer, headers in envelopes:
        assert peer != CLIENT
        assert set(headers) <= {"host", "content-type", "content-length", "transfer-encoding"}
        assert headers["host"] == "gateway"


def test_whatever_a_client_says_of_itself_stays_behind(relay, echoing):
    url, gateway = echoing
    running = relay(url)
    telling = {
        "cookie": "id=CANARY", "user-agent": "CANARY", "forwarded": "for=CANARY", "x-forwarded-for": "10.9.8.7",
        "x-real-ip": "CANARY", "via": "CANARY", "referer": "CANARY", "authorization": "Bearer CANARY", "accept": "CANARY",
        "accept-language": "CANARY", "traceparent": "CANARY",
    }  # fmt: skip
    answer = httpx.post(f"{running.url}/?id=CANARY", content=b"sealed", headers=ENVELOPE | telling)
    assert answer.status_code == 200 and answer.content == b"sealed"
    (headers,) = gateway.headers
    assert set(headers) == {"host", "content-type", "content-length"}
    assert "CANARY" not in str(headers) and "10.9.8.7" not in str(headers)
    assert not {"x-request-id", "set-cookie"} & set(answer.headers)
    assert answer.headers["server"] == "nginx"


def test_only_envelopes_pass_on_one_path(relay, echoing):
    url, gateway = echoing
    running = relay(url)
    refused = [
        httpx.get(running.url), httpx.put(running.url, content=b"", headers=ENVELOPE),
        httpx.post(running.url, content=b"", headers={"content-type": "image/png"}), httpx.post(running.url, content=b""),
        httpx.post(f"{running.url}/v1/detect", content=b"", headers=ENVELOPE),
        httpx.get(f"{running.url}/metrics"), httpx.post(f"{running.url}/ohttp", content=b"", headers=ENVELOPE),
    ]  # fmt: skip
    assert [answer.status_code for answer in refused] == [405, 405, 415, 415, 404, 404, 404]
    assert gateway.headers == []


def test_neither_bodies_nor_addresses_are_written(relay, echoing):
    """Of a large body and of a refusal nothing is on the disk or in the log."""
    url, _ = echoing
    running = relay(url)
    large = np.random.default_rng(0).bytes(8_000_000)
    assert httpx.post(running.url, content=large, headers=ENVELOPE, timeout=30).content == large
    httpx.get(f"{running.url}/CANARY")
    files = [path for path in running.folder.rglob("*") if path.is_file() and path.name != "nginx.pid"]
    assert files == []
    assert running.log.read_text() == ""


def test_an_address_that_asks_too_often_has_to_wait(relay, echoing):
    running = relay(echoing[0])
    with httpx.Client() as client:
        answers = [client.post(running.url, content=b"x", headers=ENVELOPE).status_code for _ in range(80)]
    assert set(answers) == {200, 429} and answers[:40] == [200] * 40


def test_the_largest_envelope_passes_and_a_larger_one_does_not(relay, echoing, settings):
    running = relay(echoing[0])
    most = settings.limits.envelope_bytes
    for size, status in ((most, 200), (42 * 1024 * 1024 + 1, 413)):
        assert httpx.post(running.url, content=bytes(size), headers=ENVELOPE, timeout=60).status_code == status


def test_a_gateway_that_is_gone_is_a_502_without_a_word_of_the_client(relay):
    running = relay("http://127.0.0.1:1")
    assert httpx.post(running.url, content=b"x", headers=ENVELOPE).status_code == 502
    assert running.log.read_text() == ""
