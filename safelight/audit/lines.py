"""Lines of an audit log: one JSON object each, chained by SHA-256, some of them signed.

A signature is the last member of its line and covers the exact bytes of the line without that member, so that nobody has
to agree on how JSON is written.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIRST = "0" * 64
"""What stands in place of the line before the first."""
_DOMAIN = b"safelight audit v1\0"
_MEMBER = b',"signature":"'


@dataclass(frozen=True)
class Line:
    """A line that was read. body: its bytes without the signature. digest: of all of its bytes."""

    fields: Mapping[str, Any]
    body: bytes
    signature: bytes | None
    digest: str


def encode(fields: Mapping[str, Any]) -> bytes:
    """A line without its newline. Raises ValueError for what JSON cannot hold."""
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def digest(line: bytes) -> str:
    """What the next line holds of this one."""
    return sha256(line).hexdigest()


def to_sign(body: bytes) -> bytes:
    """The bytes that a signature covers, which mean nothing elsewhere."""
    return _DOMAIN + body


def with_signature(body: bytes, signature: bytes) -> bytes:
    """A line with its signature."""
    return body[:-1] + _MEMBER + base64.b64encode(signature) + b'"}'


def read(line: bytes) -> Line:
    """Raises ValueError when it is no line of an audit log."""
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError from None
    if not isinstance(fields, dict):
        raise ValueError
    if "signature" not in fields:
        return Line(fields, line, None, digest(line))
    head, member, tail = line.rpartition(_MEMBER)
    if not member or not tail.endswith(b'"}'):
        raise ValueError
    try:
        signature = base64.b64decode(tail[:-2], validate=True)
    except binascii.Error:
        raise ValueError from None
    if base64.b64encode(signature) != tail[:-2]:  # base64 has several ways to write the same bytes
        raise ValueError
    body = head + b"}"
    signed = json.loads(body)
    if signed != {name: value for name, value in fields.items() if name != "signature"}:
        raise ValueError
    return Line(signed, body, signature, digest(line))


def signed_by(line: Line, key: Ed25519PublicKey) -> bool:
    """Whether a line has a signature that holds."""
    if line.signature is None:
        return False
    try:
        key.verify(line.signature, to_sign(line.body))
    except InvalidSignature:
        return False
    return True


def timestamp(now: float) -> str:
    """Seconds since the epoch as UTC with milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
