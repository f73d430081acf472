"""The ways to send a picture that are compared: plain, and each sealed protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from harness.service import Service
from safelight.sealing.aws import AwsWrapper, Keyring, raw_aes_keyring
from safelight.sealing.dates import write_date
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp import KEYS_PATH
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from safelight.sealing.protocol import Outgoing, Wrapper

PATH = "/v1/detect?model=coco"


@dataclass(frozen=True)
class Parcel:
    """What is posted: target, headers and body. open: from status, media type and body of the answer to its JSON, raising
    when it is not an answer."""

    target: str
    headers: Mapping[str, str]
    body: bytes
    open: Callable[[int, str, bytes], Any]


Way = Callable[[bytes], Parcel]
"""From a JPEG to what is posted: a fresh envelope each time."""


def plain(picture: bytes) -> Parcel:
    return Parcel(PATH, {"content-type": "image/jpeg"}, picture, _json)


def plain_of(path: str) -> Way:
    """Plain, to another path."""
    return lambda picture: Parcel(path, {"content-type": "image/jpeg"}, picture, _json)


def sealed(wrapper: Wrapper, path: str = PATH) -> Way:
    """The way that a protocol's client end describes."""

    def seal(picture: bytes) -> Parcel:
        date = write_date(time.time())
        headers = ((b"content-type", b"image/jpeg"), (b"date", date))
        outgoing = wrapper.wrap(InnerRequest("POST", path, headers, picture, "http", "127.0.0.1"))
        named = {name.decode(): value.decode() for name, value in outgoing.headers}
        return Parcel(outgoing.target, named, b"".join(outgoing.body), lambda *given: _unseal(outgoing, *given))

    return seal


def ways_of(service: Service) -> dict[str, Way]:
    """Every way that a service takes, by its name in the results."""
    x25519 = decode_keys(httpx.get(service.url + KEYS_PATH, trust_env=False).content)[0]
    return {
        "plain": plain,
        "ohttp": sealed(OhttpWrapper(x25519)),
        "ohttp-chunked": sealed(OhttpWrapper(x25519, chunk_above=0)),
        "aws-encryption-sdk": sealed(AwsWrapper(_shared_keyring(service))),
    }


def _shared_keyring(service: Service) -> Keyring:
    """Of the AES key that the service made when it started, and shares with its clients."""
    keys = KeyStore(service.folder / ".safelight/sealing", time.time).in_use()
    shared = next(key for key in keys if key.kind == "aes-256")
    return raw_aes_keyring(shared.name, shared.secret)


def _unseal(outgoing: Outgoing, status: int, media_type: str, body: bytes) -> Any:
    if media_type != outgoing.answer_type:
        raise AssertionError(f"Expected a sealed answer, got status {status}.")
    outgoing.answer.feed(body)
    response: InnerResponse = outgoing.answer.finish()
    return _json(response.status, "application/json", response.body)


def _json(status: int, media_type: str, body: bytes) -> Any:
    if status != 200:
        raise AssertionError(f"Expected status 200, got {status}.")
    return json.loads(body)
