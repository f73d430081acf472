"""Readings through envelopes of both protocols, and through both clients: the same answers, the same refusals."""

from __future__ import annotations

import json

import httpx
import pytest

from safelight.client import ApiError, AsyncClient, Client, Reading, Unread
from safelight.client.__main__ import main
from safelight.sealing.aws import AwsWrapper, raw_aes_keyring, raw_rsa_keyring
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest
from tests.serving.conftest import AppTransport, Clock, encoded
from tests.serving.reader.test_read import blurred, picture

URL = "http://127.0.0.1"
FIELDS = {"keyway", "bitting", "brand", "lockType", "estimatedAnnualProduction", "manufacturingComplexity",
          "marketPenetration", "timeInMarket", "risk"}  # fmt: skip


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def store(tmp_path_factory, clock):
    return KeyStore(tmp_path_factory.mktemp("reader-keys") / "sealing", clock)


@pytest.fixture(scope="module")
def app(reader_settings, loaded, make_app, store, clock):
    """Takes sealed requests only, of both protocols."""
    aws = reader_settings.sealing.aws.model_copy(update={"kinds": ("aes-256", "rsa-3072")})
    sealing = reader_settings.sealing.model_copy(update={"keys": store.folder, "aws": aws})
    return make_app(
        reader_settings.model_copy(update={"allow_plaintext": False, "sealing": sealing}), loaded, now=clock
    )


@pytest.fixture(scope="module")
def network(app, portal):
    return AppTransport(app, portal)


def options(kind, store):
    if kind == "ohttp":
        return {}
    key = next(key for key in store.in_use() if key.kind == kind)
    keyring = (
        raw_aes_keyring(key.name, key.secret) if kind == "aes-256" else raw_rsa_keyring(key.name, public=key.public)
    )
    return {"seal": "aws-encryption-sdk", "keyring": keyring}


@pytest.mark.parametrize("kind", ["ohttp", "aes-256", "rsa-3072"])
def test_a_sealed_picture_is_read_and_a_poor_one_is_refused(network, store, app, kind):
    with Client(URL, network, **options(kind, store)) as client:
        answer = client.read(picture(), zipcode="94107")
        assert isinstance(answer, Reading) and set(answer.fields) == FIELDS
        assert answer.location == {"zip3": "941"} and answer.model.name == "keys" and answer.base.name == "tiny"
        assert client.read(picture(), model="meters").fields.keys() <= {"value", "unit", "note"}
        with pytest.raises(ApiError) as caught:
            client.read(blurred())
        assert caught.value.status == 422 and caught.value.type.endswith("#poor-picture")
        assert caught.value.members["quality"]["sharpness"] < 8 and caught.value.members["problems"][0]["advice"]
        good, poor = client.read_several([picture(), blurred()])
        assert isinstance(good, Reading) and good.fields == answer.fields
        assert isinstance(poor, Unread) and poor.status == 422


def test_the_asynchronous_client(app, portal, store):
    async def use():
        async with AsyncClient(URL, httpx.ASGITransport(app)) as client:
            return [await client.read(picture()), *await client.read_several([picture()])]

    one, other = portal.call(use)
    assert one.fields == other.fields


def test_an_aws_message_that_is_a_picture_goes_to_the_reader(network, store, app):
    """The older form: the plaintext is the picture itself, and the path says what is asked."""
    key = next(key for key in store.in_use() if key.kind == "aes-256")
    wrapper = AwsWrapper(raw_aes_keyring(key.name, key.secret))
    request = InnerRequest(
        "POST", "/v1/read", ((b"content-type", b"image/png"),), encoded(picture()), "http", "127.0.0.1"
    )
    outgoing = wrapper.wrap(request)
    http = httpx.Client(transport=network, base_url=URL)
    headers = {name.decode(): value.decode() for name, value in outgoing.headers}
    answer = http.post(outgoing.target, content=b"".join(outgoing.body), headers=headers)
    outgoing.answer.feed(answer.content)
    opened = outgoing.answer.finish()
    assert opened.status == 200 and json.loads(opened.body)["success"] is True


def test_plaintext_is_refused_where_only_sealed_requests_are_taken(network):
    http = httpx.Client(transport=network, base_url=URL)
    for path in ("/v1/read", "/v1/read:batch"):
        answer = http.post(path, content=encoded(picture()))
        assert answer.status_code == 403 and answer.json()["type"].endswith("#plaintext-refused")


def test_the_command_line_prints_a_line_for_each_picture(network, tmp_path, capsys, monkeypatch):
    good, poor = tmp_path / "good.png", tmp_path / "poor.png"
    good.write_bytes(encoded(picture()))
    poor.write_bytes(encoded(blurred()))
    monkeypatch.setattr("safelight.client.__main__.Client", lambda url, **given: Client(URL, network, **given))
    assert main(["read", str(good), "--zipcode", "94107"]) == 0
    assert json.loads(capsys.readouterr().out)["location"] == {"zip3": "941"}
    assert main(["read", str(good), str(poor), str(good)]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("status") for line in lines] == [None, 422, None]
    assert main(["read", str(poor)]) == 1
    assert "422" in capsys.readouterr().err
