"""The client's end of Oblivious HTTP: seals requests, opens encapsulated answers."""

from __future__ import annotations

from collections.abc import Iterator

from safelight.errors import SealBroken
from safelight.sealing import bhttp, hpke, padding, varint
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp import GATEWAY_PATH
from safelight.sealing.ohttp.config import KeyConfig
from safelight.sealing.ohttp.framing import CHUNK_SIZE, CHUNKED, WHOLE, Kind, Reader, answer_key, nonce_size, reader
from safelight.sealing.protocol import Outgoing

_LEAST_REQUEST = 1024


class OhttpWrapper:
    """Seals requests for the gateway whose key configuration is given, each under a fresh key.

    aead_id: which of the configuration's AEADs, by default the first. chunk_above: bodies of more bytes go in chunks;
    None for never. pad: whether to hide the exact size (`padding`).
    """

    def __init__(
        self, config: KeyConfig, *, aead_id: int | None = None, chunk_above: int | None = None, pad: bool = True
    ) -> None:
        """Raises SealBroken when the configuration does not offer the AEAD."""
        suites = [suite for suite in config.suites if aead_id in (None, suite[1])]
        if not suites:
            raise SealBroken()
        self.config = config
        self._suite = hpke.Suite(config.kem_id, *suites[0])
        self._chunk_above, self._pad = chunk_above, pad

    def wrap(self, request: InnerRequest, ephemeral: bytes | None = None) -> Outgoing:
        """ephemeral: the KEM's randomness, for test vectors only."""
        kind = CHUNKED if self._chunk_above is not None and len(request.body) > self._chunk_above else WHOLE
        head = self.config.number.to_bytes(1, "big") + self._suite.ids
        enc, context = hpke.sender(self._suite, self.config.public_key, kind.info(head), ephemeral)
        plain = bhttp.encode_request(request)
        if self._pad:
            plain += bytes(padding.missing(len(plain), _LEAST_REQUEST))
        body = (
            _sealed_chunks(head + enc, context, plain)
            if kind is CHUNKED
            else (head + enc, context.messages.seal(plain))
        )
        return Outgoing(
            GATEWAY_PATH,
            ((b"content-type", kind.request_type.encode()),),
            body,
            kind.response_type,
            _AnswerOpening(kind, context, enc),
        )


def _sealed_chunks(head: bytes, context: hpke.Context, plain: bytes) -> Iterator[bytes]:
    yield head
    view = memoryview(plain)
    last = max(0, (len(plain) - 1) // CHUNK_SIZE * CHUNK_SIZE)
    for begins in range(0, last, CHUNK_SIZE):
        sealed = context.messages.seal(bytes(view[begins : begins + CHUNK_SIZE]))
        yield varint.encode(len(sealed)) + sealed
    yield b"\0" + context.messages.seal(bytes(view[last:]), b"final")


class _AnswerOpening:
    """One answer on its way in."""

    def __init__(self, kind: Kind, context: hpke.Context, enc: bytes) -> None:
        self._kind, self._context, self._enc = kind, context, enc
        self._size = nonce_size(context.suite)
        self._nonce: bytearray | None = bytearray()
        self._rest: Reader

    def feed(self, data: bytes) -> None:
        if self._nonce is None:
            self._rest.feed(data)
            return
        self._nonce += data
        if len(self._nonce) >= self._size:
            nonce, rest = bytes(self._nonce[: self._size]), bytes(self._nonce[self._size :])
            self._rest = reader(self._kind, answer_key(self._kind, self._context, self._enc, nonce).open)
            self._nonce = None
            self._rest.feed(rest)

    def finish(self) -> InnerResponse:
        if self._nonce is not None:
            raise SealBroken()
        return bhttp.decode_response(self._rest.finish())
