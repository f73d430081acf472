"""What the fuzzers call: parsers of bytes that strangers send, and what must hold whatever the bytes are.

A target takes bytes and says whether they were accepted. Anything that it raises is a finding: the parsers refuse with
SealBroken (and UnknownKey), which is caught here, and raise nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from safelight.errors import SealBroken, UnknownKey
from safelight.sealing import bhttp, hpke
from safelight.sealing.dates import read_date, write_date
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig, decode_keys, encode_keys
from safelight.sealing.ohttp.framing import CHUNKED, WHOLE, Chunks
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.protocol import OuterRequest

SEED = bytes(range(32))
TAG = b"0123456789abcdef"
MOST_BYTES = 4096


def binary_http(data: bytes) -> bool:
    """Requests and responses: what is read can be written, and reads the same again."""
    accepted = False
    for decode, encode in (
        (bhttp.decode_request, bhttp.encode_request),
        (bhttp.decode_response, bhttp.encode_response),
    ):
        try:
            message = decode(data)
        except SealBroken:
            continue
        accepted = True
        written = encode(message)  # type: ignore[operator]
        assert decode(written) == message and encode(decode(written)) == written  # type: ignore[operator]
        assert decode(data + b"\0") == message or not data.rstrip(b"\0"), "zeros may follow"
    return accepted


def _unseal(piece: bytes, aad: bytes) -> bytes:
    """In place of the cipher, so that a fuzzer gets past it: the tag is a constant, of its own for the final chunk."""
    if piece[-16:] != TAG[:11] + aad.ljust(5, b"-"):
        raise SealBroken()
    return piece[:-16]


def _joined(data: bytes, pieces: int) -> bytes | None:
    chunks = Chunks(_unseal)
    step = max(1, -(-len(data) // pieces))
    try:
        for at in range(0, len(data), step):
            chunks.feed(data[at : at + step])
        return chunks.finish()
    except SealBroken:
        return None


def chunk_framing(data: bytes) -> bool:
    """However the stream is divided, it holds the same message. (Many tiny chunks are refused sooner when they drip.)"""
    whole = _joined(data, 1)
    for pieces in (2, 3, 40):
        divided = _joined(data, pieces)
        assert divided == whole or (divided is None and data.count(TAG[:11]) > 64)
    return whole is not None


def key_configurations(data: bytes) -> bool:
    """What is read can be written, and reads the same again."""
    try:
        configs = decode_keys(data)
    except SealBroken:
        return False
    assert configs and decode_keys(encode_keys(configs)) == configs
    for config in configs:
        assert len(config.fingerprint) == 64 and len(config.public_key) == hpke.KEMS[config.kem_id].public_size
    return True


def dates(data: bytes) -> bool:
    """A date that is read is a finite number; one of our time can be written and comes back."""
    try:
        seconds = read_date(data)
    except SealBroken:
        return False
    assert seconds is not None and seconds == seconds
    if 0 <= seconds < 4e9:
        assert read_date(write_date(seconds)) == int(seconds)
    return True


@cache
def _opener() -> OhttpOpener:
    kems = enumerate(hpke.KEMS.values(), 1)
    keys = [GatewayKey(str(number), KeyConfig(number, kem.id, kem.public_key(SEED)), SEED) for number, kem in kems]
    return OhttpOpener(lambda: keys, chunked=True)


def envelopes(data: bytes) -> bool:
    """The first byte says which kind, the rest is the envelope. What opens is a request of the corpus."""
    kind = CHUNKED if data[:1] == b"c" else WHOLE
    opening = _opener().begin(OuterRequest("POST", "/ohttp", "", kind.request_type))
    try:
        for at in range(1, len(data), 700):
            opening.feed(data[at : at + 700])
        opened = opening.finish()
    except (SealBroken, UnknownKey):
        return False
    assert opened.request.target == "/v1/detect" and opened.request.body == b"picture"
    return True


def aws_messages(data: bytes) -> bool:
    """AWS Encryption SDK, raw or (when it begins with a brace) in JSON. What opens is a message of the corpus."""
    from safelight.sealing.aws.envelope import ENVELOPES
    from tests.sealing.aws_ends import opener

    json = data[:1] == b"{"
    media_type = next(one for one in ENVELOPES if ("json" in one) == json)
    outer = OuterRequest("POST", "/v1/detect", "", media_type)
    try:
        opening = _aws(opener).begin(outer)
        opening.feed(data)
        opened = opening.finish()
    except (SealBroken, UnknownKey):
        return False
    assert opened.request.body == b"a picture"
    return True


@cache
def _aws(opener):  # type: ignore[no-untyped-def]
    return opener()


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "bhttp": binary_http,
    "chunks": chunk_framing,
    "keys": key_configurations,
    "dates": dates,
    "ohttp": envelopes,
    "aws": aws_messages,
}
