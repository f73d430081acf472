"""The client's end: seals requests, opens the answers to them."""

from __future__ import annotations

import base64
import io
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

from safelight.errors import ConfigError
from safelight.sealing import bhttp, padding
from safelight.sealing.aws import answer
from safelight.sealing.aws.context import DATA_TYPE, FILE_TYPE, HTTP, REQUEST, STAGE, own
from safelight.sealing.aws.envelope import ENVELOPES, Envelope, Json, Raw, agree
from safelight.sealing.aws.gateway import REPLY_KEY
from safelight.sealing.aws.keyrings import KEY_BYTES, Keyring, reply_keyring
from safelight.sealing.aws.message import seal, unseal
from safelight.sealing.messages import InnerRequest, InnerResponse, header
from safelight.sealing.protocol import Outgoing

_LEAST_REQUEST = 1024


class AwsWrapper:
    """Seals requests with a keyring of `raw_aes_keyring`, `raw_rsa_keyring` or `kms_keyring`.

    content: `http` seals the whole request; `image` only the picture, for routes that need no options and no credentials.
    json: whether to send JSON as older clients do. session_id: goes along in the clear; None for another random one each
    time, so that requests cannot be linked. now: seconds since the epoch. reply_key: whether the answer is to be sealed
    under a fresh key that the request brings; None for where it helps, with RSA and KMS.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        content: Literal["http", "image"] = "http",
        json: bool = False,
        session_id: str | None = None,
        now: Callable[[], float] = time.time,
        reply_key: bool | None = None,
    ) -> None:
        """Raises ConfigError when no answer could come back."""
        self._keyring, self._content, self._session_id, self._now = keyring, content, session_id, now
        self._envelope: Envelope = ENVELOPES[Json.media_type if json else Raw.media_type]
        self._with_reply_key = content == HTTP and (keyring.prefers_reply_key if reply_key is None else reply_key)
        if not keyring.replies and not self._with_reply_key:
            raise ConfigError("Expected content http and a reply key: nobody can answer to a public key.")

    def wrap(self, request: InnerRequest) -> Outgoing:
        """Raises ConfigError for what does not fit into `image`, SealBroken when the key cannot be had."""
        context = {
            STAGE: REQUEST,
            DATA_TYPE: self._content,
            "session_id": self._session_id or secrets.token_hex(16),
            "timestamp": datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        reply_key = os.urandom(KEY_BYTES) if self._with_reply_key else None
        if self._content == HTTP:
            plain = _whole(request, reply_key)
        else:
            plain = _picture(request)
            file_type = header(request.headers, b"content-type")
            context |= {} if file_type is None else {FILE_TYPE: file_type.decode("latin-1")}
        message, message_id = seal(plain, self._keyring, context)
        keyring = self._keyring if reply_key is None else reply_keyring(reply_key)
        media_type = self._envelope.media_type
        return Outgoing(
            request.path,
            ((b"content-type", media_type.encode()),),
            (self._envelope.pack(message, context),),
            media_type,
            _AnswerOpening(self._envelope, self._content, keyring, message_id),
        )


def _whole(request: InnerRequest, reply_key: bytes | None) -> bytes:
    headers = request.headers
    if reply_key is not None:
        headers = (*headers, (REPLY_KEY, base64.b64encode(reply_key)))
    plain = bhttp.encode_request(
        InnerRequest(request.method, request.target, headers, request.body, request.scheme, request.authority)
    )
    return plain + bytes(padding.missing(len(plain), _LEAST_REQUEST))


def _picture(request: InnerRequest) -> bytes:
    others = [name for name, _ in request.headers if name != b"content-type"]
    if request.method != "POST" or request.query or others:
        raise ConfigError("Expected a POST of a picture without options or credentials; those need content http.")
    return request.body


class _AnswerOpening:
    """One answer on its way in."""

    def __init__(self, envelope: Envelope, content: str, keyring: Keyring, message_id: bytes) -> None:
        self._envelope, self._content, self._keyring, self._message_id = envelope, content, keyring, message_id
        self._body = io.BytesIO()

    def feed(self, data: bytes) -> None:
        self._body.write(data)

    def finish(self) -> InnerResponse:
        source, metadata = self._envelope.unpack(self._body)
        message = unseal(source, (self._keyring,), self._check)
        agree(metadata, own(message.context))
        return answer.read(message.plain, message.context, self._content)

    def _check(self, context: Mapping[str, str]) -> None:
        answer.check(context, self._content, self._message_id)
