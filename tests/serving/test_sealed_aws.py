"""AWS Encryption SDK messages through the application: boxes in the form they were asked in, one refusal for the rest."""

from __future__ import annotations

import json

import httpx
import pytest

from safelight.client import ApiError, AsyncClient, Client
from safelight.sealing.aws import AwsWrapper, raw_aes_keyring, raw_rsa_keyring
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest
from safelight.sealing.session import PlainSession
from safelight.sealing.transport import SealingTransport
from tests.serving.conftest import AppTransport, Clock, encoded, squares

URL = "http://127.0.0.1"
PICTURE = encoded(squares(person=(8, 8)))
RAW = "application/vnd.aws-encryption-sdk"


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def store(tmp_path_factory, clock):
    return KeyStore(tmp_path_factory.mktemp("aws-keys") / "sealing", clock)


@pytest.fixture(scope="module")
def app(settings, make_app, store, clock):
    """Takes sealed requests only, of both protocols."""
    aws = settings.sealing.aws.model_copy(update={"kinds": ("aes-256", "rsa-3072")})
    sealing = settings.sealing.model_copy(update={"keys": store.folder, "aws": aws})
    return make_app(settings.model_copy(update={"allow_plaintext": False, "sealing": sealing}), now=clock)


@pytest.fixture(scope="module")
def network(app, portal):
    return AppTransport(app, portal)


@pytest.fixture(params=["aes-256", "rsa-3072"])
def keyring(request, app, store):
    key = next(key for key in store.in_use() if key.kind == request.param)
    return (
        raw_aes_keyring(key.name, key.secret) if key.kind == "aes-256" else raw_rsa_keyring(key.name, public=key.public)
    )


def test_the_client_gets_its_boxes(network, keyring):
    with Client(URL, network, seal="aws-encryption-sdk", keyring=keyring) as client:
        answer = client.detect(squares(person=(16, 16)), model="coco", threshold=0.5)
        assert answer.counts == {"person": 1}
        assert client.render(PICTURE).startswith(b"\x89PNG")
        with pytest.raises(ApiError) as caught:
            client.detect(b"no picture")
        assert caught.value.status == 415 and caught.value.type.endswith("#not-an-image")


def test_the_asynchronous_client(app, keyring, portal):
    async def use():
        async with AsyncClient(URL, httpx.ASGITransport(app), seal="aws-encryption-sdk", keyring=keyring) as client:
            return (await client.detect(PICTURE)).counts

    assert portal.call(use) == {"person": 1}


@pytest.mark.parametrize("content", ["http", "image"])
@pytest.mark.parametrize("as_json", [False, True])
def test_answers_have_the_form_of_their_requests(network, store, as_json, content):
    key = next(key for key in store.in_use() if key.kind == "aes-256")
    wrapper = AwsWrapper(raw_aes_keyring(key.name, key.secret), content=content, json=as_json)
    transport = SealingTransport(PlainSession(wrapper), network)
    answer = transport.handle_request(httpx.Request("POST", f"{URL}/v1/detect", content=PICTURE))
    assert answer.status_code == 200 and json.loads(answer.read())["counts"] == {"person": 1}


def test_all_refusals_are_the_same_bytes_as_those_of_the_other_protocol(app, network, store):
    key = next(key for key in store.in_use() if key.kind == "aes-256")
    wrapper = AwsWrapper(raw_aes_keyring(key.name, key.secret))

    def message():
        return b"".join(wrapper.wrap(InnerRequest("POST", "/v1/detect", (), PICTURE, authority="gateway")).body)

    other = AwsWrapper(raw_aes_keyring(key.name, bytes(32)))
    foreign = b"".join(other.wrap(InnerRequest("POST", "/v1/detect", (), PICTURE)).body)
    with httpx.Client(base_url=URL, transport=network) as http:

        def post(path, body, media_type=RAW):
            answer = http.post(path, content=body, headers={"content-type": media_type})
            return answer.status_code, answer.content, tuple(answer.headers.items())

        replayed = message()
        assert post("/v1/detect", replayed)[0] == 200
        fresh = message()
        refusals = [
            post("/v1/detect", replayed),
            post("/v1/detect", fresh[:-1] + bytes([fresh[-1] ^ 1])),
            post("/v1/detect", fresh[:200]),
            post("/v1/detect", b""),
            post("/v1/detect", b"garbage"),
            post("/v1/detect", b'{"encrypted_data": 1}', "application/json"),
            post("/v1/detect", foreign),
            post("/v1/detect?model=coco", message()),
            post("/v1/models", message()),
            post("/ohttp", message(), "message/ohttp-req"),
        ]
    assert len(set(refusals)) == 1 and refusals[0][0] == 400
    assert json.loads(refusals[0][1])["type"].endswith("#seal-broken")


def test_rotation_fails_no_request(network, store, clock):
    def client():
        key = next(key for key in store.in_use() if key.kind == "aes-256")
        return Client(
            URL, network, seal="aws-encryption-sdk", keyring=raw_aes_keyring(key.name, key.secret), attempts=1
        )

    with client() as old:
        old.detect(PICTURE)
        store.rotate("aes-256", overlap_s=60)
        clock.ahead_s += 1.1  # the service looks into the folder once a second
        old.detect(PICTURE)
        with client() as new:
            new.detect(PICTURE)
            clock.ahead_s += 60
            new.detect(PICTURE)
            with pytest.raises(ApiError):
                old.detect(PICTURE)


def test_without_a_key_for_them_none_is_taken(settings, make_client, store):
    """They are then plaintext like any other body."""
    key = next(key for key in store.in_use() if key.kind == "aes-256")
    body = b"".join(AwsWrapper(raw_aes_keyring(key.name, key.secret)).wrap(InnerRequest("POST", "/v1/detect")).body)
    client = make_client(settings.model_copy(update={"allow_plaintext": False}))
    assert client.post("/v1/detect", content=body, headers={"content-type": RAW}).status_code == 403
