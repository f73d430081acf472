"""Both ends of AWS Encryption SDK messages against the SDK for JavaScript, which shares no code with ours."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from moto.server import ThreadedMotoServer

from safelight.errors import SealBroken
from safelight.sealing import bhttp
from safelight.sealing.aws import AwsWrapper, kms_keyring
from safelight.sealing.messages import InnerRequest, InnerResponse
from tests.conftest import ROOT
from tests.sealing.aws_ends import (
    AES,
    CONTEXT,
    JSON,
    RAW,
    aes_keyring,
    answer_to,
    answered,
    as_json,
    opened,
    opener,
    request,
    rsa_key,
    rsa_keyring,
)

FOLDER = ROOT / "tests" / "interop"
pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (FOLDER / "node_modules" / "@aws-crypto" / "client-node").is_dir(),
        reason="Node.js or its packages are not installed (npm ci --ignore-scripts in tests/interop)",
    ),
]
REGION = "eu-central-1"
UNSIGNED = "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY"
UNCOMMITTED = "ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256"
SHARED = {"kind": "aes", "namespace": "safelight", "name": AES.name, "key": base64.b64encode(AES.secret).decode()}
HTTP = {**CONTEXT, "data_type": "http", "session_id": "js", "timestamp": "2026-11-21T10:00:00.000Z"}
PICTURE = bytes(range(256)) * 700  # three frames of 64 kB, forty-four of 4
FOUND = InnerResponse(200, ((b"content-type", b"application/json"),), b'{"counts": {}}')


def node(*jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """What JavaScript makes of the jobs."""
    done = subprocess.run(
        ["node", "aws.mjs"], cwd=FOLDER, input=json.dumps(jobs), capture_output=True, text=True, timeout=120, check=True
    )
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def sealed_there(keyring: dict[str, str], plain: bytes, context: dict[str, str], **how: object) -> tuple[bytes, str]:
    """(message, its id in base64)"""
    (result,) = node(
        {"job": "seal", "keyring": keyring, "plain": base64.b64encode(plain).decode(), "context": context, **how}
    )
    return base64.b64decode(result["message"]), result["messageId"]


def opened_there(keyring: dict[str, str], message: bytes) -> tuple[bytes, dict[str, str]]:
    """(plaintext, context)"""
    (result,) = node({"job": "open", "keyring": keyring, "message": base64.b64encode(message).decode()})
    return base64.b64decode(result["plain"]), result["context"]


@pytest.mark.parametrize("how", [{}, {"suite": UNSIGNED, "frameLength": 65536}], ids=["their-defaults", "ours"])
def test_a_whole_request_from_there_is_opened_here_and_its_answer_there(how):
    sent = request(PICTURE, "?model=coco", ((b"content-type", b"image/png"),))
    message, message_id = sealed_there(SHARED, bhttp.encode_request(sent), HTTP, **how)
    got = opened(opener(), message)
    assert got.request == sent
    assert (got.key_id, got.sent_at) == (AES.name, 1_795_255_200)
    assert base64.b64encode(got.token).decode() == message_id
    plain, context = opened_there(SHARED, answer_to(got, FOUND.status, FOUND.headers, FOUND.body))
    assert bhttp.decode_response(plain) == FOUND
    assert context == {"processing_stage": "response", "data_type": "http", "in_reply_to": message_id}


@pytest.mark.parametrize("media_type", [RAW, JSON])
def test_a_picture_from_there_is_opened_here_and_its_answer_there_in_the_same_form(media_type):
    context = {**CONTEXT, "file_type": "image/png", "upload_timestamp": "1795255200"}
    message, message_id = sealed_there(SHARED, PICTURE, context)
    body = message if media_type == RAW else as_json(message, metadata=context)
    got = opened(opener(), body, media_type)
    assert got.request == InnerRequest("POST", "/v1/detect", ((b"content-type", b"image/png"),), PICTURE)
    answer = answer_to(got, FOUND.status, FOUND.headers, FOUND.body)
    metadata = None
    if media_type == JSON:
        document = json.loads(answer)
        answer, metadata = base64.b64decode(document["encrypted_data"]), document["metadata"]
    plain, told = opened_there(SHARED, answer)
    assert plain == FOUND.body
    assert told == {
        "processing_stage": "response", "data_type": "json", "in_reply_to": message_id, "status": "200",
        "content_type": "application/json",
    }  # fmt: skip
    assert metadata in (None, told)


def test_what_was_sealed_here_opens_there_and_an_answer_from_there_here():
    outgoing = AwsWrapper(aes_keyring(), now=lambda: 1_795_255_200).wrap(request(PICTURE))
    message = b"".join(outgoing.body)
    plain, context = opened_there(SHARED, message)
    assert bhttp.decode_request(plain) == request(PICTURE)
    assert context.pop("session_id")
    assert context == {**CONTEXT, "data_type": "http", "timestamp": "2026-11-21T10:00:00Z"}
    in_reply_to = base64.b64encode(opened(opener(), message).token).decode()
    bound = {"processing_stage": "response", "data_type": "http", "in_reply_to": in_reply_to}
    answer, _ = sealed_there(SHARED, bhttp.encode_response(FOUND), bound)
    assert answered(outgoing, answer) == FOUND


def test_a_public_key_and_a_reply_key_work_across_languages():
    pem = serialization.load_der_public_key(rsa_key().public).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    theirs = {"kind": "rsa", "namespace": "safelight", "name": rsa_key().name, "publicKey": pem.decode()}
    reply_key = base64.b64encode(bytes(range(100, 132))).decode()
    sent = request(PICTURE, headers=((b"safelight-reply-key", reply_key.encode()),))
    message, _ = sealed_there(theirs, bhttp.encode_request(sent), HTTP)
    got = opened(opener(rsa_key()), message)
    assert got.request == request(PICTURE)
    reply = {"kind": "aes", "namespace": "safelight", "name": "reply", "key": reply_key}
    plain, _ = opened_there(reply, answer_to(got, FOUND.status, FOUND.headers, FOUND.body))
    assert bhttp.decode_response(plain) == FOUND
    without, _ = sealed_there(theirs, bhttp.encode_request(request()), HTTP)
    with pytest.raises(SealBroken):
        opened(opener(rsa_key()), without)


def test_what_was_sealed_here_to_a_public_key_opens_there():
    private = serialization.load_der_private_key(rsa_key().secret, password=None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    theirs = {"kind": "rsa", "namespace": "safelight", "name": rsa_key().name, "privateKey": private.decode()}
    message = b"".join(AwsWrapper(rsa_keyring()).wrap(request()).body)
    plain, _ = opened_there(theirs, message)
    assert bhttp.decode_request(plain).body == request().body


def test_a_message_from_there_that_does_not_commit_to_its_key_is_refused():
    message, _ = sealed_there(SHARED, PICTURE, CONTEXT, suite=UNCOMMITTED, careless=True)
    with pytest.raises(SealBroken):
        opened(opener(), message)


def test_what_was_changed_here_does_not_open_there():
    message = bytearray(b"".join(AwsWrapper(aes_keyring()).wrap(request()).body))
    message[-20] ^= 1
    (result,) = node({"job": "open", "keyring": SHARED, "message": base64.b64encode(message).decode()})
    assert set(result) == {"error"}


def test_a_key_in_kms_works_across_languages(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        arn = boto3.client("kms", REGION, endpoint_url=url).create_key()["KeyMetadata"]["Arn"]
        theirs, ours = {"kind": "kms", "arn": arn, "endpoint": url}, kms_keyring(arn, endpoint_url=url)
        message, _ = sealed_there(theirs, bhttp.encode_request(request(PICTURE)), HTTP)
        got = opened(opener(kms=(ours,)), message)
        assert got.request == request(PICTURE)
        plain, _ = opened_there(theirs, answer_to(got, FOUND.status, FOUND.headers, FOUND.body))
        assert bhttp.decode_response(plain) == FOUND
    finally:
        server.stop()
