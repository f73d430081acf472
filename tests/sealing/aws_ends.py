"""Both ends of AWS Encryption SDK messages, put together, and messages as nobody should send them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import aws_encryption_sdk
from aws_encryption_sdk.identifiers import AlgorithmSuite, CommitmentPolicy

from safelight.sealing.aws import AwsOpener, ContextPolicy, Keyring, raw_aes_keyring, raw_rsa_keyring
from safelight.sealing.keystore import Key, _secret
from safelight.sealing.messages import Headers, InnerRequest, InnerResponse
from safelight.sealing.protocol import Opened, OuterRequest, Outgoing

RAW, JSON = "application/vnd.aws-encryption-sdk", "application/json"
PATH = "/v1/detect"
COMMITTING = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
SIGNED = AlgorithmSuite.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384
UNCOMMITTED = AlgorithmSuite.AES_256_GCM_IV12_TAG16_HKDF_SHA256
CONTEXT = {"processing_stage": "request", "data_type": "image"}
AES = Key("aes-256", 1, bytes(range(32)), created=0.0)


@cache
def rsa_key() -> Key:
    """Made once: it takes a while."""
    return Key("rsa-3072", 2, _secret("rsa-3072"), created=0.0)


def aes_keyring(key: Key = AES) -> Keyring:
    return raw_aes_keyring(key.name, key.secret)


def rsa_keyring() -> Keyring:
    return raw_rsa_keyring(rsa_key().name, public=rsa_key().public)


@cache  # reading an RSA key takes 0.1 s
def opener(*keys: Key, kms: tuple[Keyring, ...] = (), max_bytes: int = 1_000_000) -> AwsOpener:
    return AwsOpener(lambda: keys or (AES,), ContextPolicy(), max_bytes=max_bytes, kms=kms)


def opened(
    opening: AwsOpener, body: bytes, media_type: str = RAW, *, path: str = PATH, query: str = "", piece: int = 10_000
) -> Opened:
    """What the service makes of a body. Raises as it does."""
    outer = OuterRequest("POST", path, query, media_type)
    assert opening.recognises(outer)
    taking = opening.begin(outer)
    for at in range(0, len(body), piece):
        taking.feed(body[at : at + piece])
    return taking.finish()


def received(opening: AwsOpener, outgoing: Outgoing) -> Opened:
    """What the service makes of what a client sends."""
    ((name, media_type),) = outgoing.headers
    assert name == b"content-type"
    return opened(opening, b"".join(outgoing.body), media_type.decode(), path=outgoing.target)


def answer_to(request: Opened, status: int = 200, headers: Headers = (), body: bytes = b"") -> bytes:
    """The service's sealed answer."""
    sealer = request.sealer
    pieces = [sealer.begin(status, headers), sealer.write(body[:5]), sealer.write(body[5:]), sealer.end()]
    return b"".join(pieces)


def answered(outgoing: Outgoing, sealed: bytes) -> InnerResponse:
    """What the client makes of an answer. Raises as it does."""
    for at in range(0, len(sealed), 1000):
        outgoing.answer.feed(sealed[at : at + 1000])
    return outgoing.answer.finish()


def message(
    plain: bytes,
    context: Mapping[str, str] = CONTEXT,
    keyring: Keyring | None = None,
    *,
    suite: AlgorithmSuite = COMMITTING,
    frame_length: int = 65536,
    library_keyring: Any = None,
) -> bytes:
    """A message of the library itself, with any suite and context."""
    committing = suite in (COMMITTING, SIGNED)
    sdk = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        if committing
        else CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT
    )
    how = (
        {"keyring": library_keyring}
        if library_keyring is not None
        else {"materials_manager": (keyring or aes_keyring()).materials}
    )
    sealed, _ = sdk.encrypt(
        source=io.BytesIO(plain), encryption_context=dict(context), algorithm=suite, frame_length=frame_length, **how
    )
    return bytes(sealed)


def as_json(sealed: bytes, **more: object) -> bytes:
    return json.dumps({"encrypted_data": base64.b64encode(sealed).decode(), **more}).encode()


def request(body: bytes = b"a picture", query: str = "", headers: Headers = ()) -> InnerRequest:
    return InnerRequest("POST", PATH + query, headers, body, "https", "gateway")
