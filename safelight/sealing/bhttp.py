"""Binary HTTP messages (RFC 9292): requests and final responses, known and indeterminate length.

Reads both framings and writes the known-length one; `ResponseWriter` writes the other as it goes.
What is not exactly right raises SealBroken, which says nothing. Knows nothing of envelopes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from safelight.errors import SealBroken
from safelight.sealing import varint
from safelight.sealing.messages import Headers, InnerRequest, InnerResponse

_REQUEST, _RESPONSE, _REQUEST_INDETERMINATE, _RESPONSE_INDETERMINATE = range(4)
_MAX_FIELDS, _MAX_FIELD_BYTES = 100, 32 * 1024
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]{1,256}")
_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\x20\t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]{0,15}|")
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]{0,255}")
_TARGET = re.compile(rb"/[\x21\x24-\x7e]*")  # origin form, no quotation mark or number sign
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Fields about a connection that is not there: allowed, and left out (section 3.6)."""


def encode_request(request: InnerRequest) -> bytes:
    """A request of known length. Zero bytes may follow it as padding (section 3.8)."""
    parts = (request.method, request.scheme, request.authority, request.target)
    control = b"".join(_sized(part.encode("ascii")) for part in parts)
    return _known(_REQUEST, control, request.headers, request.body)


def encode_response(response: InnerResponse) -> bytes:
    """A final response of known length, without informational ones before it."""
    return _known(_RESPONSE, varint.encode(response.status), response.headers, response.body)


def decode_request(data: bytes) -> InnerRequest:
    """A request of either framing. Raises SealBroken."""
    reader = _Reader(data)
    framing = reader.integer()
    if framing not in (_REQUEST, _REQUEST_INDETERMINATE):
        raise SealBroken()
    patterns = (_TOKEN, _SCHEME, _AUTHORITY, _TARGET)
    method, scheme, authority, target = (_matching(pattern, reader.sized()) for pattern in patterns)
    headers, body = _fields_and_content(reader, framing == _REQUEST)
    return InnerRequest(method.decode(), target.decode(), headers, body, scheme.decode(), authority.decode())


def decode_response(data: bytes) -> InnerResponse:
    """A response of either framing; informational responses before it are skipped. Raises SealBroken."""
    reader = _Reader(data)
    framing = reader.integer()
    if framing not in (_RESPONSE, _RESPONSE_INDETERMINATE):
        raise SealBroken()
    status = reader.integer()
    for _ in range(_MAX_FIELDS):
        if not 100 <= status < 200:
            break
        _fields(reader, framing == _RESPONSE)
        status = reader.integer()
    if not 200 <= status < 600:
        raise SealBroken()
    headers, body = _fields_and_content(reader, framing == _RESPONSE)
    return InnerResponse(status, headers, body)


class ResponseWriter:
    """A response of indeterminate length, written as it comes: `begin`, `content` any number of times, `end`."""

    @staticmethod
    def begin(status: int, headers: Headers) -> bytes:
        lines = b"".join(_sized(name) + _sized(value) for name, value in headers)
        return varint.encode(_RESPONSE_INDETERMINATE) + varint.encode(status) + lines + b"\0"

    @staticmethod
    def content(data: bytes) -> bytes:
        return _sized(data) if data else b""

    @staticmethod
    def end() -> bytes:
        """The ends of content and trailers."""
        return bytes(2)


@dataclass
class _Reader:
    """What is left of a message."""

    data: bytes
    at: int = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def integer(self) -> int:
        value, self.at = varint.decode(self.data, self.at)
        return value

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise SealBroken()
        self.at += size
        return self.data[self.at - size : self.at]

    def sized(self) -> bytes:
        return self.take(self.integer())


def _fields_and_content(reader: _Reader, known: bool) -> tuple[Headers, bytes]:
    """Header section, content, trailers and padding; sections that are empty to the end may be left out (3.8)."""
    headers = _fields(reader, known)
    body = b"" if not reader.left else reader.sized() if known else _chunks(reader)
    if reader.left:
        _fields(reader, known)  # trailers: checked, and of no use here
    if reader.data.count(0, reader.at) != reader.left:
        raise SealBroken()
    return headers, body


def _chunks(reader: _Reader) -> bytes:
    pieces = []
    while size := reader.integer():
        pieces.append(reader.take(size))
    return b"".join(pieces)


def _fields(reader: _Reader, known: bool) -> Headers:
    """A field section, with its length before it or a zero after it."""
    if not reader.left:
        return ()
    section = _Reader(reader.sized()) if known else reader
    fields: list[tuple[bytes, bytes]] = []
    count, budget = 0, _MAX_FIELD_BYTES
    while section.left if known else (size := reader.integer()):
        if known:
            size = section.integer()
        name, value = _matching(_NAME, section.take(size)), _matching(_VALUE, section.sized())
        count, budget = count + 1, budget - len(name) - len(value)
        if count > _MAX_FIELDS or budget < 0:
            raise SealBroken()
        if name not in _HOP_BY_HOP:
            fields.append((name, value))
    return tuple(fields)


def _matching(pattern: re.Pattern[bytes], value: bytes) -> bytes:
    if len(value) > _MAX_FIELD_BYTES or not pattern.fullmatch(value):
        raise SealBroken()
    return value


def _known(framing: int, control: bytes, headers: Headers, body: bytes) -> bytes:
    lines = b"".join(_sized(name) + _sized(value) for name, value in headers)
    return b"".join((varint.encode(framing), control, _sized(lines), varint.encode(len(body)), body, b"\0"))


def _sized(data: bytes) -> bytes:
    return varint.encode(len(data)) + data
