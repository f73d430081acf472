"""Oblivious HTTP, both ends: encapsulated requests and answers (RFC 9458), whole or in chunks.

Chunked messages follow draft-ietf-ohai-chunked-ohttp-08. A chunk is opened as soon as it is there, and nothing is read
in what was opened before the final chunk has proved that it is the final one. Knows nothing of sockets, clocks or files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from safelight.errors import SealBroken, UnknownKey
from safelight.sealing import bhttp, hpke, padding, varint
from safelight.sealing.dates import read_date
from safelight.sealing.messages import Headers, InnerRequest, InnerResponse, header
from safelight.sealing.protocol import Opened, OuterRequest, Outgoing

KEYS_PATH, GATEWAY_PATH = "/ohttp-keys", "/ohttp"
KEYS_TYPE = "application/ohttp-keys"
CHUNK_SIZE = 16 * 1024
"""Bytes of plaintext in a chunk that we send: the most that every receiver must take."""
_MAX_CHUNK = 64 * 1024
_FREE_CHUNKS, _MEAN_CHUNK = 64, 1024  # beyond the first few, chunks must be worth their key schedule
_AEADS = (hpke.AES_128_GCM, hpke.AES_256_GCM, hpke.CHACHA20_POLY1305)
_LEAST_ANSWER = 4096


@dataclass(frozen=True)
class Kind:
    """Whole or chunked: media types and labels."""

    request_type: str
    response_type: str
    request_label: bytes
    response_label: bytes


WHOLE = Kind("message/ohttp-req", "message/ohttp-res", b"message/bhttp request", b"message/bhttp response")
CHUNKED = Kind(
    "message/ohttp-chunked-req",
    "message/ohttp-chunked-res",
    b"message/bhttp chunked request",
    b"message/bhttp chunked response",
)


@dataclass(frozen=True)
class KeyConfig:
    """A public key and what may be used with it (RFC 9458, section 3.1). suites: (KDF id, AEAD id), best first."""

    number: int
    kem_id: int
    public_key: bytes
    suites: tuple[tuple[int, int], ...] = tuple((hpke.HKDF_SHA256, aead) for aead in _AEADS)

    def encode(self) -> bytes:
        suites = b"".join(kdf.to_bytes(2, "big") + aead.to_bytes(2, "big") for kdf, aead in self.suites)
        head = self.number.to_bytes(1, "big") + self.kem_id.to_bytes(2, "big")
        return head + self.public_key + len(suites).to_bytes(2, "big") + suites

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the encoded configuration, in hexadecimal: what clients pin."""
        return sha256(self.encode()).hexdigest()


@dataclass(frozen=True)
class GatewayKey:
    """A private key of the gateway. name: public. number: its key id on the wire."""

    name: str
    config: KeyConfig
    seed: bytes = field(repr=False)


def encode_keys(configs: Sequence[KeyConfig]) -> bytes:
    """The body of application/ohttp-keys (section 3.2)."""
    encoded = [config.encode() for config in configs]
    return b"".join(len(one).to_bytes(2, "big") + one for one in encoded)


def decode_keys(data: bytes) -> list[KeyConfig]:
    """The configurations that can be used here, in the order of the service; unknown KEMs and suites are passed over.

    Raises SealBroken when the framing is broken or nothing is left.
    """
    configs, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        one, at = data[at + 2 : at + 2 + size], at + 2 + size
        if at > len(data):
            raise SealBroken()
        if (config := _decode_config(one)) is not None:
            configs.append(config)
    if not configs:
        raise SealBroken()
    return configs


def _decode_config(data: bytes) -> KeyConfig | None:
    kem = hpke.KEMS.get(int.from_bytes(data[1:3], "big"))
    if kem is None:
        return None
    public_key, rest = data[3 : 3 + kem.public_size], data[3 + kem.public_size :]
    if len(rest) < 2 or len(rest) != 2 + int.from_bytes(rest[:2], "big") or (len(rest) - 2) % 4:
        raise SealBroken()
    pairs = [
        (int.from_bytes(rest[i : i + 2], "big"), int.from_bytes(rest[i + 2 : i + 4], "big"))
        for i in range(2, len(rest), 4)
    ]
    suites = tuple(pair for pair in pairs if pair[0] == hpke.HKDF_SHA256 and pair[1] in hpke.AEADS)
    return KeyConfig(data[0], kem.id, public_key, suites) if suites else None


def _info(kind: Kind, head: bytes) -> bytes:
    return kind.request_label + b"\0" + head


class _AnswerKey:
    """The key that seals or opens one answer (RFC 9458, section 4.4): of chunks, each with a nonce of its own."""

    def __init__(self, kind: Kind, context: hpke.Context, enc: bytes, nonce: bytes) -> None:
        aead = context.suite.aead
        secret = context.export(kind.response_label, len(nonce))
        prk = hpke.extract(enc + nonce, secret)
        self._cipher = aead.cipher(hpke.expand(prk, b"key", aead.key_size))
        self._base = int.from_bytes(hpke.expand(prk, b"nonce", aead.nonce_size), "big")
        self._size, self._counter = aead.nonce_size, 0

    def seal(self, data: bytes, aad: bytes = b"") -> bytes:
        return self._cipher.encrypt(self._nonce(), data, aad)

    def open(self, data: bytes, aad: bytes = b"") -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(), data, aad)
        except (hpke.InvalidTag, ValueError):
            raise SealBroken() from None

    def _nonce(self) -> bytes:
        nonce = self._base ^ self._counter
        self._counter += 1
        return nonce.to_bytes(self._size, "big")


def _nonce_size(suite: hpke.Suite) -> int:
    return max(suite.aead.nonce_size, suite.aead.key_size)


class _Chunks:
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
            self._plain.append(self._unseal(piece, b""))
            self._count += 1
            if self._count > _FREE_CHUNKS + self._received // _MEAN_CHUNK:
                raise SealBroken()
        if self._final and len(self._buffer) > _MAX_CHUNK + hpke.TAG_SIZE:
            raise SealBroken()

    def finish(self) -> bytes:
        if not self._final:
            raise SealBroken()
        self._plain.append(self._unseal(bytes(self._buffer), b"final"))
        return b"".join(self._plain)

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
        piece = bytes(buffer[begins : begins + size])
        del buffer[: begins + size]
        return piece if size else None


class _Whole:
    """Collects a message that is one piece."""

    def __init__(self, unseal: Callable[[bytes, bytes], bytes]) -> None:
        self._unseal = unseal
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._pieces.append(data)

    def finish(self) -> bytes:
        return self._unseal(b"".join(self._pieces), b"")


def _reader(kind: Kind, unseal: Callable[[bytes, bytes], bytes]) -> _Chunks | _Whole:
    return _Chunks(unseal) if kind is CHUNKED else _Whole(unseal)


# The service's end


class OhttpOpener:
    """Opens what is posted to /ohttp.

    keys: the gateway's private keys that may open now, asked for each request. chunked: whether to take chunked requests.
    """

    blocking = False

    def __init__(self, keys: Callable[[], Sequence[GatewayKey]], *, chunked: bool) -> None:
        self._keys = keys
        self._kinds = {kind.request_type: kind for kind in (WHOLE, CHUNKED)[: 1 + chunked]}

    def recognises(self, outer: OuterRequest) -> bool:
        return outer.path == GATEWAY_PATH

    def begin(self, outer: OuterRequest) -> _Opening:
        kind = self._kinds.get(outer.media_type)
        if kind is None or outer.method != "POST" or outer.query:
            raise SealBroken()
        return _Opening(kind, self._keys())


class _Opening:
    """One request on its way in: its head chooses the key, never trial and error."""

    def __init__(self, kind: Kind, keys: Sequence[GatewayKey]) -> None:
        self._kind, self._keys = kind, keys
        self._head: bytearray | None = bytearray()

    def feed(self, data: bytes) -> None:
        if self._head is None:
            self._rest.feed(data)
            return
        self._head += data
        if len(self._head) >= 7:
            self._begin(bytes(self._head))

    def finish(self) -> Opened:
        if self._head is not None:
            raise SealBroken()
        request = bhttp.decode_request(self._rest.finish())
        protocol = "ohttp-chunked" if self._kind is CHUNKED else "ohttp"
        return Opened(
            request,
            _Sealer(self._kind, self._context, self._enc),
            key_id=self._key.name,
            protocol=protocol,
            token=sha256(self._enc).digest(),
            sent_at=read_date(header(request.headers, b"date")),
        )

    def _begin(self, head: bytes) -> None:
        number, kem_id, kdf_id, aead_id = head[0], *(int.from_bytes(head[i : i + 2], "big") for i in (1, 3, 5))
        key = next((key for key in self._keys if key.config.number == number and key.config.kem_id == kem_id), None)
        if key is None:
            raise UnknownKey()
        suite = hpke.Suite(kem_id, kdf_id, aead_id)
        begins = 7 + suite.kem.enc_size
        if len(head) < begins:
            return
        self._key, self._enc = key, head[7:begins]
        self._context = hpke.recipient(suite, self._enc, key.seed, _info(self._kind, head[:7]))
        self._rest = _reader(self._kind, self._context.open)
        self._head = None
        self._rest.feed(head[begins:])


class _Sealer:
    """Seals one answer. A whole one is padded, a chunked one is padded at its end."""

    def __init__(self, kind: Kind, context: hpke.Context, enc: bytes) -> None:
        self.media_type = kind.response_type
        self._nonce = os.urandom(_nonce_size(context.suite))
        self._key = _AnswerKey(kind, context, enc, self._nonce)
        self._chunked = kind is CHUNKED
        self._status, self._headers = 0, ()  # type: tuple[int, Headers]
        self._waiting = bytearray()
        self._written = 0

    def begin(self, status: int, headers: Headers) -> bytes:
        self._status, self._headers = status, headers
        if not self._chunked:
            return b""
        self._waiting += bhttp.ResponseWriter.begin(status, headers)
        return self._nonce

    def write(self, data: bytes) -> bytes:
        self._waiting += bhttp.ResponseWriter.content(data) if self._chunked else data
        sealed = []
        while self._chunked and len(self._waiting) > CHUNK_SIZE:
            sealed.append(self._chunk(bytes(self._waiting[:CHUNK_SIZE])))
            del self._waiting[:CHUNK_SIZE]
        return b"".join(sealed)

    def end(self) -> bytes:
        if not self._chunked:
            response = InnerResponse(self._status, self._headers, bytes(self._waiting))
            message = bhttp.encode_response(response)
            return self._nonce + self._key.seal(message + bytes(padding.missing(len(message), _LEAST_ANSWER)))
        self._waiting += bhttp.ResponseWriter.end()
        total = self._written + len(self._waiting)
        last = bytes(self._waiting) + bytes(padding.missing(total, _LEAST_ANSWER))
        *middle, final = [last[i : i + CHUNK_SIZE] for i in range(0, len(last), CHUNK_SIZE)]
        return b"".join(self._chunk(one) for one in middle) + b"\0" + self._key.seal(final, b"final")

    def _chunk(self, data: bytes) -> bytes:
        self._written += len(data)
        sealed = self._key.seal(data)
        return varint.encode(len(sealed)) + sealed


# The client's end


class OhttpWrapper:
    """Seals requests for the gateway whose key configuration is given, each under a fresh key.

    aead_id: which of the configuration's AEADs, by default the first. chunk_above: bodies of more bytes go in chunks;
    None for never.
    """

    def __init__(self, config: KeyConfig, *, aead_id: int | None = None, chunk_above: int | None = None) -> None:
        """Raises SealBroken when the configuration does not offer the AEAD."""
        suites = [suite for suite in config.suites if aead_id in (None, suite[1])]
        if not suites:
            raise SealBroken()
        self.config = config
        self._suite = hpke.Suite(config.kem_id, *suites[0])
        self._chunk_above = chunk_above

    def wrap(self, request: InnerRequest, ephemeral: bytes | None = None) -> Outgoing:
        """ephemeral: the KEM's randomness, for test vectors only."""
        kind = CHUNKED if self._chunk_above is not None and len(request.body) > self._chunk_above else WHOLE
        head = self.config.number.to_bytes(1, "big") + self._suite.ids
        enc, context = hpke.sender(self._suite, self.config.public_key, _info(kind, head), ephemeral)
        plain = bhttp.encode_request(request)
        body = _sealed_chunks(context, plain) if kind is CHUNKED else iter([context.seal(plain)])
        return Outgoing(
            GATEWAY_PATH,
            ((b"content-type", kind.request_type.encode()),),
            _prefixed(head + enc, body),
            kind.response_type,
            _AnswerOpening(kind, context, enc),
        )


def _prefixed(head: bytes, body: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from body


def _sealed_chunks(context: hpke.Context, plain: bytes) -> Iterator[bytes]:
    view = memoryview(plain)
    last = max(0, (len(plain) - 1) // CHUNK_SIZE * CHUNK_SIZE)
    for begins in range(0, last, CHUNK_SIZE):
        sealed = context.seal(bytes(view[begins : begins + CHUNK_SIZE]))
        yield varint.encode(len(sealed)) + sealed
    yield b"\0" + context.seal(bytes(view[last:]), b"final")


class _AnswerOpening:
    """One answer on its way in."""

    def __init__(self, kind: Kind, context: hpke.Context, enc: bytes) -> None:
        self._kind, self._context, self._enc = kind, context, enc
        self._size = _nonce_size(context.suite)
        self._nonce: bytearray | None = bytearray()

    def feed(self, data: bytes) -> None:
        if self._nonce is None:
            self._rest.feed(data)
            return
        self._nonce += data
        if len(self._nonce) >= self._size:
            nonce, rest = bytes(self._nonce[: self._size]), bytes(self._nonce[self._size :])
            self._rest = _reader(self._kind, _AnswerKey(self._kind, self._context, self._enc, nonce).open)
            self._nonce = None
            self._rest.feed(rest)

    def finish(self) -> InnerResponse:
        if self._nonce is not None:
            raise SealBroken()
        return bhttp.decode_response(self._rest.finish())
