"""What both ends share: the two kinds of messages, the key of an answer, and the way chunks follow each other.

A chunk is opened as soon as it is there, and nothing is read in what was opened before the final chunk has proved that it
is the final one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from safelight.errors import SealBroken
from safelight.sealing import hpke, varint

CHUNK_SIZE = 16 * 1024
"""Bytes of plaintext in a chunk that we send: the most that every receiver must take."""
_MAX_CHUNK = 64 * 1024
_FREE_CHUNKS, _MEAN_CHUNK = 64, 1024
"""Beyond the first few, chunks must be of some size on average: each costs a call of the cipher. One that is not the final
one may never be empty (section 6 of the draft)."""


@dataclass(frozen=True)
class Kind:
    """Whole or chunked: media types and labels."""

    request_type: str
    response_type: str
    request_label: bytes
    response_label: bytes

    def info(self, head: bytes) -> bytes:
        """HPKE's info for a request with these seven bytes at its head."""
        return self.request_label + b"\0" + head


WHOLE = Kind("message/ohttp-req", "message/ohttp-res", b"message/bhttp request", b"message/bhttp response")
CHUNKED = Kind(
    "message/ohttp-chunked-req",
    "message/ohttp-chunked-res",
    b"message/bhttp chunked request",
    b"message/bhttp chunked response",
)


def nonce_size(suite: hpke.Suite) -> int:
    """Bytes of the random nonce that an answer begins with."""
    return max(suite.aead.nonce_size, suite.aead.key_size)


def answer_key(kind: Kind, context: hpke.Context, enc: bytes, nonce: bytes) -> hpke.Sequence:
    """The key that seals or opens one answer (RFC 9458, section 4.4)."""
    aead = context.suite.aead
    prk = hpke.extract(enc + nonce, context.export(kind.response_label, len(nonce)))
    return hpke.Sequence(aead, hpke.expand(prk, b"key", aead.key_size), hpke.expand(prk, b"nonce", aead.nonce_size))


class Chunks:
    """Takes a stream of chunks apart and opens each as soon as it is whole; `finish` opens the final one."""

    def __init__(self, unseal: Callable[[bytes, bytes], bytes]) -> None:
        self._unseal = unseal
        self._buffer = bytearray()
        self._plain: list[bytes] = []
        self._received = self._count = 0
        self._final = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        self._received += len(data)
        while not self._final and (piece := self._next()) is not None:
            plain = self._unseal(piece, b"")
            self._plain.append(plain)
            self._count += 1
            if not plain or self._count > _FREE_CHUNKS + self._received // _MEAN_CHUNK:
                raise SealBroken()
        if self._final and len(self._buffer) > _MAX_CHUNK + hpke.TAG_SIZE:
            raise SealBroken()

    def finish(self) -> bytes:
        if not self._final:
            raise SealBroken()
        self._plain.append(self._unseal(bytes(self._buffer), b"final"))
        message = b"".join(self._plain)
        self._plain.clear()  # one copy of a picture is enough for as long as it is looked at
        return message

    def _next(self) -> bytes | None:
        """The next whole chunk that is not the final one, None while it is not there."""
        buffer = self._buffer
        if not buffer or len(buffer) < varint.size_of(buffer[0]):
            return None
        size, begins = varint.decode(buffer, 0)
        if size > _MAX_CHUNK + hpke.TAG_SIZE:
            raise SealBroken()
        if size == 0:
            self._final = True
        elif len(buffer) < begins + size:
            return None
        with memoryview(buffer) as view:
            piece = bytes(view[begins : begins + size])
        del buffer[: begins + size]
        return piece if size else None


class Whole:
    """Collects a message that is one piece."""

    def __init__(self, unseal: Callable[[bytes, bytes], bytes]) -> None:
        self._unseal = unseal
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)

    def finish(self) -> bytes:
        sealed = b"".join(self._pieces)
        self._pieces.clear()
        return self._unseal(sealed, b"")


Reader = Chunks | Whole


def reader(kind: Kind, unseal: Callable[[bytes, bytes], bytes]) -> Reader:
    """What takes in a message of this kind."""
    return Chunks(unseal) if kind is CHUNKED else Whole(unseal)
