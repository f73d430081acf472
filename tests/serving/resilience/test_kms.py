"""A KMS that is gone and comes back, behind the whole application: refused as what may pass, and left alone meanwhile."""

from __future__ import annotations

import socket
import time

import boto3
import pytest
from moto.server import ThreadedMotoServer

from safelight.client import Client
from safelight.sealing.aws import kms_keyring
from serving.privacy.refusals import BROKEN
from serving.resilience.dependency import RESET_S
from tests.serving.conftest import AppTransport, encoded, squares

REGION = "eu-central-1"
PICTURE = encoded(squares(person=(8, 8)))


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def moto():
    """Starts and stops moto's server at one address; what is in it stays."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []

    def start():
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        started.append(server)
        return server

    yield f"http://127.0.0.1:{port}", start
    started[-1].stop()


def test_a_kms_that_is_gone_is_told_apart_from_an_envelope_that_does_not_open(
    settings, make_app, portal, credentials, moto, tmp_path
):
    url, start = moto
    server = start()
    own = boto3.client("kms", REGION, endpoint_url=url)
    arn = own.create_key()["KeyMetadata"]["Arn"]
    keyring = kms_keyring(arn, own)
    aws = settings.sealing.aws.model_copy(update={"kms_keys": (arn,), "kms_endpoint": url})
    sealing = settings.sealing.model_copy(update={"aws": aws, "keys": tmp_path / "keys"})
    network = Keeping(AppTransport(make_app(settings.model_copy(update={"sealing": sealing})), portal))
    with Client("http://127.0.0.1", network, seal="aws-encryption-sdk", keyring=keyring, attempts=1) as client:
        assert client.detect(PICTURE).counts == {"person": 1}
        sent = network.requests[-1]
        envelopes = [sealed_now(client, network) for _ in range(12)]
        broken = sent.content[:-1] + bytes([sent.content[-1] ^ 1])
        assert network.again(sent, broken).content == BROKEN.body
        server.stop()
        begun, times = time.perf_counter(), []
        for envelope in envelopes[:10]:
            answer = network.again(envelope, envelope.content)
            times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            assert answer.status_code == 503 and answer.headers["retry-after"] == "2"
            problem = answer.json()
            assert problem["type"].endswith("#key-service-down") and problem["retryable"] is True
            assert problem["request_id"] == answer.headers["x-request-id"]
        assert max(times[-4:]) < 0.3, "it is not asked any more"
        assert network.again(sent, sent.content[:30]).content == BROKEN.body  # no key was needed to see that
        start()
        time.sleep(RESET_S)
        opened = network.again(envelopes[11], envelopes[11].content)
        assert opened.status_code == 200 and opened.headers["content-type"] == "application/vnd.aws-encryption-sdk"


class Keeping:
    """A network that keeps what passes, and can be told to pass nothing on. requests: with their bodies."""

    def __init__(self, inner) -> None:
        self._inner, self.requests, self.cut = inner, [], False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def handle_request(self, request):
        request.read()
        self.requests.append(request)
        if self.cut:
            raise ConnectionError
        return self._inner.handle_request(request)

    def again(self, request, body):
        fresh = request.__class__(
            request.method, request.url, content=body, headers={"content-type": request.headers["content-type"]}
        )
        answer = self._inner.handle_request(fresh)
        answer.read()
        return answer


def sealed_now(client, network):
    """A request that was sealed and not sent."""
    network.cut = True
    with pytest.raises(ConnectionError):
        client.detect(PICTURE)
    network.cut = False
    return network.requests[-1]
