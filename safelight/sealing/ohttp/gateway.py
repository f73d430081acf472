"""The service's end of Oblivious HTTP: opens encapsulated requests, seals the answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256

from safelight.errors import SealBroken, UnknownKey
from safelight.sealing import bhttp, hpke, padding, varint
from safelight.sealing.dates import read_date
from safelight.sealing.messages import Headers, InnerResponse, header
from safelight.sealing.ohttp import GATEWAY_PATH
from safelight.sealing.ohttp.config import GatewayKey
from safelight.sealing.ohttp.framing import CHUNK_SIZE, CHUNKED, WHOLE, Kind, Reader, answer_key, nonce_size, reader
from safelight.sealing.protocol import Opened, OuterRequest

_LEAST_ANSWER = 4096


class OhttpOpener:
    """Opens what is posted to /ohttp.

    keys: the gateway's private keys that may open now, asked for each request. chunked: whether to take chunked requests.
    """

    blocking = False
    copies = 1.0

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
        self._rest: Reader

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
        number, ids = head[0], (int.from_bytes(head[i : i + 2], "big") for i in (1, 3, 5))
        suite = hpke.Suite(*ids)
        begins = 7 + suite.kem.enc_size
        if len(head) < begins:
            return
        # Only what could have been sealed for a key of ours, some day, is told that the key is not in use.
        keys = (key for key in self._keys if key.config.number == number and key.config.kem_id == suite.kem_id)
        if (key := next(keys, None)) is None:
            raise UnknownKey()
        self._key, self._enc = key, head[7:begins]
        self._context = hpke.recipient(suite, self._enc, key.private, self._kind.info(head[:7]))
        self._rest = reader(self._kind, self._context.messages.open)
        self._head = None
        self._rest.feed(head[begins:])


class _Sealer:
    """Seals one answer. A whole one is padded, a chunked one is padded at its end."""

    def __init__(self, kind: Kind, context: hpke.Context, enc: bytes) -> None:
        self.media_type = kind.response_type
        self._nonce = os.urandom(nonce_size(context.suite))
        self._key = answer_key(kind, context, enc, self._nonce)
        self._chunked = kind is CHUNKED
        self._status = 200
        self._headers: Headers = ()
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
