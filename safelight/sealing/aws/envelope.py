"""The two ways in which a message travels over HTTP: as it is, or in base64 within JSON, as older clients do it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any, Protocol

from safelight.errors import SealBroken


class Envelope(Protocol):
    """media_type: of requests and of their answers alike."""

    media_type: str

    def unpack(self, body: io.BytesIO) -> tuple[io.BytesIO, Mapping[str, str]]:
        """(the message, what is said of its context outside of it). Raises SealBroken."""

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
            document = json.loads(body.getvalue(), object_pairs_hook=_object)
            text, metadata = document.pop("encrypted_data"), document.pop("metadata", {})
            message = base64.b64decode(text, validate=True)
            exact = base64.b64encode(message).decode() == text
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise SealBroken() from None
        well_formed = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
        if not exact or document or not well_formed:
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a key that comes twice."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError
    return document
