"""The two ways in which a message travels over HTTP: as it is, or in base64 within JSON, as older clients do it."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from typing import Any, Protocol

from safelight.errors import SealBroken


class Envelope(Protocol):
    """media_type: of requests and of their answers alike."""

    media_type: str

    def unpack(self, body: io.BytesIO) -> tuple[io.BytesIO, Mapping[str, str]]:
        """(the message, what is said of its context outside of it). `body` is of no use afterwards. Raises SealBroken."""

    def pack(self, message: bytes, context: Mapping[str, str]) -> bytes:
        """The body for a message."""


class Raw:
    """The message and nothing else."""

    media_type = "application/vnd.aws-encryption-sdk"

    def unpack(self, body: io.BytesIO) -> tuple[io.BytesIO, Mapping[str, str]]:
        body.seek(0)
        return body, {}

    def pack(self, message: bytes, context: Mapping[str, str]) -> bytes:
        return message


class Json:
    """`{"encrypted_data": BASE64, "metadata": CONTEXT}`; in a request the metadata may be left out."""

    media_type = "application/json"

    def unpack(self, body: io.BytesIO) -> tuple[io.BytesIO, Mapping[str, str]]:
        try:
            document = json.loads(_emptied(body), object_pairs_hook=_object)
            message = _decoded(document.pop("encrypted_data"))
            metadata = document.pop("metadata", {})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise SealBroken() from None
        well_formed = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
        if document or not well_formed:
            raise SealBroken()
        return io.BytesIO(message), metadata

    def pack(self, message: bytes, context: Mapping[str, str]) -> bytes:
        document = {"encrypted_data": base64.b64encode(message).decode(), "metadata": dict(context)}
        return json.dumps(document).encode()


ENVELOPES: Mapping[str, Envelope] = {envelope.media_type: envelope for envelope in (Raw(), Json())}


def agree(metadata: Mapping[str, str], context: Mapping[str, str]) -> None:
    """Raises SealBroken when something else is said outside of a message than in its authenticated context."""
    if not metadata.items() <= context.items():
        raise SealBroken()


def _emptied(body: io.BytesIO) -> str:
    """What is in `body`, which lets go of it: a picture is large, and every copy of it counts. Raises ValueError."""
    with body:
        return str(body.getbuffer(), "utf-8")


def _decoded(text: str) -> bytes:
    """Bytes from base64 in its one spelling. Raises ValueError or TypeError."""
    message = binascii.a2b_base64(text, strict_mode=True)
    rest = len(message) % 3
    # Strict mode overlooks padding that is not needed, and bits that are left over and not zero.
    if len(text) != -(-len(message) // 3) * 4 or (rest and base64.b64encode(message[-rest:]).decode() != text[-4:]):
        raise ValueError
    return message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that comes twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError
    return document
