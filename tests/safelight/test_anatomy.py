"""The fields of a message lie side by side, from its first byte to its last, and are what the protocol put there."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing import bhttp, hpke
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp import anatomy
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import KeyConfig, encode_keys

_WHOLE, _END = ["ciphertext", "tag"], ["length of chunk", "final chunk", "tag"]
HEADERS = ((b"content-type", b"image/png"), (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"))
CONFIGS = [
    KeyConfig(number, kem, hpke.KEMS[kem].public_key(os.urandom(32)))
    for number, kem in enumerate((hpke.X25519, hpke.MLKEM768_X25519), 1)
]


def assert_tiled(data: bytes, fields: list[anatomy.Field]) -> dict[str, bytes]:
    """The bytes of each field by its name, the last one of those that are there more than once."""
    assert fields[0].begin == 0 and fields[-1].end == len(data)
    assert all(one.end == other.begin < other.end for one, other in itertools.pairwise(fields))
    return {one.name: data[one.begin : one.end] for one in fields}


def test_key_configurations():
    document = encode_keys(CONFIGS)
    fields = anatomy.of_keys(document)
    parts = assert_tiled(document, fields)
    assert [document[one.begin : one.end] for one in fields if one.name == "public key"] == [
        c.public_key for c in CONFIGS
    ]
    assert parts["AEAD"] == b"\0\3" and fields[-1].says == "ChaCha20-Poly1305"


@given(body=st.binary(max_size=2000), padding=st.integers(0, 100), headers=st.sampled_from([(), HEADERS]))
def test_requests(body, padding, headers):
    message = bhttp.encode_request(InnerRequest("POST", "/v1/detect?model=coco", headers, body, "https", "example.org"))
    parts = assert_tiled(message + bytes(padding), anatomy.of_request(message + bytes(padding)))
    assert parts["method"] == b"POST" and parts["path"] == b"/v1/detect?model=coco"
    assert parts.get("content", b"") == body and parts.get("padding", b"") == bytes(padding)
    assert (parts["name"], parts["value"]) == HEADERS[-1] if headers else "name" not in parts


@pytest.mark.parametrize("config", CONFIGS, ids=["x25519", "mlkem768-x25519"])
@pytest.mark.parametrize("size", [10, 16_000, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_envelopes(config, size, chunked):
    wrapper = OhttpWrapper(config, chunk_above=0 if chunked else None)
    envelope = b"".join(wrapper.wrap(InnerRequest("POST", "/v1/detect", HEADERS, os.urandom(size))).body)
    fields = anatomy.of_envelope(envelope, chunked=chunked)
    parts = assert_tiled(envelope, fields)
    assert parts["key id"][0] == config.number and len(parts["enc"]) == hpke.KEMS[config.kem_id].enc_size
    names = [one.name for one in fields]
    assert names[5:] == (["length of chunk", "chunk", "tag"] * names.count("chunk") + _END if chunked else _WHOLE)
    assert all(one.end - one.begin == 16_384 for one in fields if one.name == "chunk")
    assert not chunked or size // 16_384 <= names.count("chunk") <= size * 1.12 // 16_384


@given(data=st.binary(max_size=200), head=st.sampled_from([b"", b"\1\0\x20\0\1\0\1", b"\0\4POST\5https\1a\1/"]))
def test_any_bytes_are_walked_or_refused(data, head):
    for walk in (anatomy.of_keys, anatomy.of_request, anatomy.of_envelope):
        try:
            fields = walk(head + data)
        except SealBroken:
            continue
        assert fields == [] or assert_tiled(head + data, fields)


def test_a_hexdump_shows_every_byte_of_short_fields_and_says_what_it_leaves_out():
    data = bytes(range(60))
    text = anatomy.hexdump(data, [anatomy.Field("first", 0, 20, "twenty"), anatomy.Field("rest", 20, 60)], most=32)
    assert text.splitlines() == [
        "00000000  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  first              twenty",
        "00000010  10 11 12 13",
        "00000014  14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23  rest",
        "00000024  24 25 26 27 28 29 2a 2b 2c 2d 2e 2f 30 31 32 33",
        "          ... 8 bytes more",
    ]
