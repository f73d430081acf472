"""AWS Encryption SDK messages whose key is in AWS KMS, against moto's: in this process, and over HTTP as it would be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from moto.server import ThreadedMotoServer

from safelight.errors import ConfigError, SealBroken
from safelight.sealing import bhttp
from safelight.sealing.aws import AwsWrapper, Keyring, kms_keyring
from safelight.sealing.messages import InnerResponse
from tests.sealing.aws_ends import AES, CONTEXT, answer_to, answered, message, opened, opener, received, request

REGION = "eu-central-1"
HTTP = {**CONTEXT, "data_type": "http"}


class Counted:
    """A boto3 client of KMS whose calls are counted, and refused when it says so: moto itself refuses nobody."""

    def __init__(self) -> None:
        self.client = boto3.client("kms", REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
        self.calls: list[str] = []
        self.refuses = False
        self.client.meta.events.register("before-call.kms.*", self._called)

    def _called(self, model: Any, **_: object) -> None:
        self.calls.append(model.name)
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, model.name)


@dataclass
class Kms:
    arn: str
    keyring: Keyring
    counted: Counted
    other_arn: str


@pytest.fixture(scope="module")
def kms() -> Iterator[Kms]:
    with mock_aws():
        counted = Counted()
        arn, other = (counted.client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        yield Kms(arn, kms_keyring(arn, counted.client), counted, other)


@pytest.fixture
def calls(kms: Kms) -> list[str]:
    kms.counted.calls.clear()
    return kms.counted.calls


@settings(max_examples=15)
@given(body=st.binary(max_size=100_000), json=st.booleans(), content=st.sampled_from(["http", "image"]))
def test_requests_and_answers_come_through(kms, body, json, content):
    outgoing = AwsWrapper(kms.keyring, content=content, json=json).wrap(request(body))
    got = received(opener(AES, kms=(kms.keyring,)), outgoing)
    assert (got.request.body, got.key_id) == (body, kms.keyring.key_id)
    headers = ((b"content-type", b"application/json"),)
    assert answered(outgoing, answer_to(got, 200, headers, body)) == InnerResponse(200, headers, body)


def test_a_client_brings_a_key_for_its_answer_so_that_kms_is_asked_twice_and_not_four_times(kms, calls):
    outgoing = AwsWrapper(kms.keyring).wrap(request())
    got = received(opener(kms=(kms.keyring,)), outgoing)
    assert answered(outgoing, answer_to(got)).status == 200
    assert calls == ["GenerateDataKey", "Decrypt"]
    calls.clear()
    outgoing = AwsWrapper(kms.keyring, reply_key=False).wrap(request())
    got = received(opener(kms=(kms.keyring,)), outgoing)
    assert answered(outgoing, answer_to(got)).status == 200
    assert calls == ["GenerateDataKey", "Decrypt", "GenerateDataKey", "Decrypt"]


def test_kms_is_not_asked_about_what_is_refused_anyway(kms, calls):
    opening = opener(AES, kms=(kms.keyring,))
    refused = [
        message(b"x", {**CONTEXT, "session_id": "a@b.c"}, kms.keyring),
        message(b"x", {"data_type": "image"}, kms.keyring),
        message(b"x", CONTEXT, kms_keyring(kms.other_arn, kms.counted.client)),
    ]
    calls.clear()
    for sealed in refused:
        with pytest.raises(SealBroken):
            opened(opening, sealed)
    assert calls == []


def test_what_kms_refuses_is_refused_as_everything_else_is(kms):
    counted = Counted()
    keyring = kms_keyring(kms.arn, counted.client)
    sealed = message(bhttp.encode_request(request()), HTTP, keyring)
    got = opened(opener(kms=(keyring,)), sealed)
    counted.refuses = True
    counted.calls.clear()
    for attempt in (
        lambda: opened(opener(kms=(keyring,)), sealed),
        lambda: answer_to(got),
        lambda: AwsWrapper(keyring).wrap(request()),
    ):
        with pytest.raises(SealBroken):
            attempt()
    assert counted.calls == ["Decrypt", "GenerateDataKey", "GenerateDataKey"]
    counted.refuses = False
    assert opened(opener(kms=(keyring,)), sealed).request == request()


def test_a_message_for_one_key_cannot_be_passed_off_as_for_another(kms):
    sealed = message(b"x", CONTEXT, kms.keyring)
    assert opened(opener(kms=(kms.keyring,)), sealed).request.body == b"x"
    assert sealed.count(kms.arn.encode()) >= 1
    moved = sealed.replace(kms.arn.encode(), kms.other_arn.encode())
    with pytest.raises(SealBroken):
        opened(opener(kms=(kms_keyring(kms.other_arn, kms.counted.client),)), moved)


def test_over_http_with_the_credentials_of_the_environment(monkeypatch):
    """moto's server, and a client of boto3 that the keyring makes when it is first used."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        arn = boto3.client("kms", REGION, endpoint_url=url).create_key()["KeyMetadata"]["Arn"]
        outgoing = AwsWrapper(kms_keyring(arn, endpoint_url=url)).wrap(request(b"a picture"))
        got = received(opener(kms=(kms_keyring(arn, endpoint_url=url),)), outgoing)
        assert got.request.body == b"a picture"
        assert answered(outgoing, answer_to(got, 200, (), b"found")).body == b"found"
    finally:
        server.stop()
    with pytest.raises(SealBroken):
        AwsWrapper(kms_keyring(arn, endpoint_url=url)).wrap(request())


def test_only_keys_in_full_of_one_region(kms):
    account: Any = "111122223333"
    for arn in (
        "", "alias/mine", "1234abcd",
        f"arn:aws:kms:{REGION}:{account}:alias/mine", f"arn:aws:kms:{REGION}:{account}:key/mrk-12",
        f"arn:aws:s3:{REGION}:{account}:key/1", f"arn:aws:kms::{account}:key/1", kms.arn + " ", kms.arn + "\n", "x" + kms.arn,
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            kms_keyring(arn)
    assert kms.arn not in kms.keyring.key_id and account not in kms.keyring.key_id
