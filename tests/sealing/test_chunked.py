"""Chunked Oblivious HTTP: the draft's example, any division of the stream, and chunks that were moved, left out or doubled."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from safelight.errors import SealBroken
from safelight.sealing import bhttp, hpke, varint
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig, decode_keys
from safelight.sealing.ohttp.framing import CHUNK_SIZE, CHUNKED, answer_key, nonce_size
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.protocol import OuterRequest
from tests.vectors.load import published

VECTOR = published("chunked_ohttp")
DRAFT = {
    name: bytes.fromhex("".join(value)) for name, value in VECTOR.items() if name != "source" and "sizes" not in name
}
SUITES = [hpke.Suite(kem_id, hpke.HKDF_SHA256, aead_id) for kem_id in hpke.KEMS for aead_id in hpke.AEADS]
SEED = bytes(range(32))
REQUEST = InnerRequest("POST", "/v1/detect", ((b"content-type", b"image/png"),), authority="gateway")


def opening_of(seed: bytes = SEED, number: int = 1):
    keys = [GatewayKey("key", KeyConfig(number, kem.id, kem.public_key(seed)), seed) for kem in hpke.KEMS.values()]
    return OhttpOpener(lambda: keys, chunked=True).begin(OuterRequest("POST", "/ohttp", "", CHUNKED.request_type))


def opened(stream: bytes, cuts=(), seed: bytes = SEED):
    opening = opening_of(seed)
    feed(opening, stream, cuts)
    return opening.finish()


def feed(opening, stream: bytes, cuts=()) -> None:
    at = 0
    for cut in [*sorted(cuts), len(stream)]:
        opening.feed(stream[at:cut])
        at = max(at, cut)


def chunk_of(context_messages, plain: bytes, final: bool = False) -> bytes:
    """One chunk, sealed by the draft's sentences and not by our client."""
    sealed = context_messages.seal(plain, b"final" if final else b"")
    return (b"\0" if final else varint.encode(len(sealed))) + sealed


def begun(suite=SUITES[0]):
    """(head and enc, HPKE's sending context)"""
    head = b"\1" + suite.ids
    enc, context = hpke.sender(suite, suite.kem.public_key(SEED), CHUNKED.info(head))
    return head + enc, context


def message(size: int) -> tuple[InnerRequest, bytes]:
    request = replace(REQUEST, body=os.urandom(size))
    return request, bhttp.encode_request(request)


# The example in the draft's appendix A.


def the_config():
    return decode_keys(len(DRAFT["key_config"]).to_bytes(2, "big") + DRAFT["key_config"])[0]


def divided(data: bytes, sizes) -> list[bytes]:
    assert sum(sizes) == len(data)
    return [data[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(len(sizes))]


def test_the_request():
    suite = hpke.Suite(hpke.X25519, 1, hpke.AES_128_GCM)
    head = b"\1" + suite.ids
    assert CHUNKED.info(head) == DRAFT["info"]
    assert the_config().public_key == hpke.KEMS[hpke.X25519].public_key(DRAFT["secret_key"])
    enc, context = hpke.sender(suite, the_config().public_key, DRAFT["info"], DRAFT["ephemeral_secret_key"])
    assert enc == DRAFT["enc"]
    *middle, last = divided(DRAFT["request"], VECTOR["request_chunk_sizes"])
    chunks = [chunk_of(context.messages, one) for one in middle] + [chunk_of(context.messages, last, final=True)]
    assert [head.hex(), enc.hex(), *[one.hex() for one in chunks]] == VECTOR["encapsulated_request"]


@pytest.mark.parametrize("step", [1, 2, 7, 13, 200])
def test_the_request_opens(step):
    opening = OhttpOpener(lambda: [GatewayKey("draft", the_config(), DRAFT["secret_key"])], chunked=True).begin(
        OuterRequest("POST", "/ohttp", "", CHUNKED.request_type)
    )
    feed(opening, DRAFT["encapsulated_request"], range(step, len(DRAFT["encapsulated_request"]), step))
    found = opening.finish()
    assert found.request == InnerRequest("GET", "/", authority="example.com")
    assert found.protocol == "ohttp-chunked"


def test_the_response():
    suite = hpke.Suite(hpke.X25519, 1, hpke.AES_128_GCM)
    context = hpke.recipient(suite, DRAFT["enc"], suite.kem.private(DRAFT["secret_key"]), DRAFT["info"])
    assert context.export(b"message/bhttp chunked response", nonce_size(suite)) == DRAFT["exported_secret"]
    nonce = DRAFT["encapsulated_response"][: nonce_size(suite)]
    assert DRAFT["enc"] + nonce == DRAFT["salt"]
    prk = hpke.extract(DRAFT["salt"], DRAFT["exported_secret"])
    assert prk == DRAFT["prk"]
    assert hpke.expand(prk, b"key", 16) == DRAFT["aead_key"] and hpke.expand(prk, b"nonce", 12) == DRAFT["aead_nonce"]
    key = answer_key(CHUNKED, context, DRAFT["enc"], nonce)
    *middle, last = divided(DRAFT["response"], VECTOR["response_chunk_sizes"])
    chunks = [chunk_of(key, one) for one in middle] + [chunk_of(key, last, final=True)]
    assert [nonce.hex(), *[one.hex() for one in chunks]] == VECTOR["encapsulated_response"]


@pytest.mark.parametrize("step", [1, 3, 16, 17, 200])
def test_the_response_opens(step):
    wrapper = OhttpWrapper(the_config(), chunk_above=0)
    answer = wrapper.wrap(InnerRequest("POST", "/", body=b"x"), DRAFT["ephemeral_secret_key"]).answer
    feed(answer, DRAFT["encapsulated_response"], range(step, 200, step))
    assert answer.finish() == InnerResponse(200)


# There and back.

cuts = st.lists(st.integers(0, 60_000), max_size=12)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.ids.hex())
@hypothesis_settings(max_examples=25)
@given(
    size=st.integers(1, 3 * CHUNK_SIZE + 9),
    answer_size=st.integers(0, 3 * CHUNK_SIZE),
    cuts=cuts,
    step=st.integers(1, 40_000),
)
def test_messages_come_back_however_the_stream_is_divided(suite, size, answer_size, cuts, step):
    config = KeyConfig(1, suite.kem_id, suite.kem.public_key(SEED))
    request, _ = message(size)
    outgoing = OhttpWrapper(config, aead_id=suite.aead_id, chunk_above=0).wrap(request)
    found = opened(b"".join(outgoing.body), cuts)
    assert found.request == request
    response = InnerResponse(203, ((b"a", b"b"),), os.urandom(answer_size))
    pieces = [response.body[at : at + step] for at in range(0, answer_size, step)]
    stream = found.sealer.begin(203, response.headers) + b"".join([found.sealer.write(one) for one in pieces])
    feed(outgoing.answer, stream + found.sealer.end(), cuts)
    assert outgoing.answer.finish() == response


@given(st.lists(st.integers(1, 5000), max_size=10), st.integers(0, 20_000), st.booleans())
def test_chunks_of_any_size_are_taken(sizes, body_size, empty_end):
    """Dividing is the sender's affair: chunks need not have one size, nor the final one any content."""
    request, plain = message(body_size)
    stream, context = begun()
    at = 0
    for size in sizes:
        if at + size < len(plain) + empty_end:
            stream += chunk_of(context.messages, plain[at : at + size])
            at += size
    if empty_end and at < len(plain):
        stream += chunk_of(context.messages, plain[at:])
        at = len(plain)
    assert opened(stream + chunk_of(context.messages, plain[at:], final=True)).request == request


def test_the_length_of_a_chunk_may_be_written_in_any_form():
    request, plain = message(10)
    stream, context = begun()
    first = chunk_of(context.messages, plain[:20])[1:]
    longer = (len(first) | 3 << 62).to_bytes(8, "big")
    end = b"\xc0" + bytes(7) + chunk_of(context.messages, plain[20:], final=True)[1:]
    for cut in range(39, 60):
        assert opened(stream + longer + first + end, (cut,)).request == request


def test_a_chunk_leaves_as_soon_as_it_is_full():
    """What streams in must stream out: an answer is not held back until its end."""
    outgoing = OhttpWrapper(KeyConfig(1, hpke.X25519, hpke.KEMS[hpke.X25519].public_key(SEED)), chunk_above=0).wrap(
        replace(REQUEST, body=b"x")
    )
    sealer = opened(b"".join(outgoing.body)).sealer
    assert len(sealer.begin(200, ())) == 16
    assert sealer.write(bytes(100)) == b""
    assert len(sealer.write(bytes(3 * CHUNK_SIZE))) == 3 * (CHUNK_SIZE + 16 + 4)


def test_many_chunks_of_a_megabyte_in_one_piece():
    request, _ = message(3_000_000)
    wrapper = OhttpWrapper(KeyConfig(1, hpke.X25519, hpke.KEMS[hpke.X25519].public_key(SEED)), chunk_above=0)
    assert opened(b"".join(wrapper.wrap(request).body)).request == request


# What must not open. Every stream here has four chunks: three, and a final one.


def four_chunks() -> tuple[bytes, list[bytes]]:
    _, plain = message(1000)
    stream, context = begun()
    quarter = len(plain) // 4
    middle = [chunk_of(context.messages, plain[i * quarter : (i + 1) * quarter]) for i in range(3)]
    return stream, [*middle, chunk_of(context.messages, plain[3 * quarter :], final=True)]


def refused(stream: bytes, cuts=()) -> None:
    with pytest.raises(SealBroken):
        opened(stream, cuts)


def test_four_chunks_open():
    head, chunks = four_chunks()
    assert len(opened(head + b"".join(chunks)).request.body) == 1000


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 2, 1, 3), (2, 1, 0, 3), (0, 1, 3, 2), (3, 0, 1, 2)])
def test_reordered(order):
    head, chunks = four_chunks()
    refused(head + b"".join(chunks[i] for i in order))


@pytest.mark.parametrize("lost", range(4))
def test_dropped(lost):
    head, chunks = four_chunks()
    refused(head + b"".join(one for i, one in enumerate(chunks) if i != lost))


@pytest.mark.parametrize("twice", range(4))
def test_duplicated(twice):
    head, chunks = four_chunks()
    refused(head + b"".join(chunks[: twice + 1] + chunks[twice:]))


@pytest.mark.parametrize("end", range(3))
def test_a_chunk_that_is_not_final_does_not_end_a_message(end):
    """Cut after a chunk, and the mark of the final chunk put before the one that is last now."""
    head, chunks = four_chunks()
    size, begins = varint.decode(chunks[end], 0)
    assert size == len(chunks[end]) - begins
    refused(head + b"".join(chunks[:end]) + b"\0" + chunks[end][begins:])


def test_the_final_chunk_is_not_taken_for_another():
    head, chunks = four_chunks()
    final = chunks[3][1:]
    refused(head + b"".join(chunks[:3]) + varint.encode(len(final)) + final)
    refused(head + b"".join(chunks[:3]) + varint.encode(len(final)) + final + b"\0" + final)


def test_cut_anywhere():
    head, chunks = four_chunks()
    stream = head + b"".join(chunks)
    for end in range(len(stream)):
        refused(stream[:end], (end // 2,))
    refused(stream + b"\0")


def test_every_byte_counts():
    """All but the form of the lengths, which the draft leaves open, and which changes nothing of the message."""
    head, chunks = four_chunks()
    stream = head + b"".join(chunks)
    for at in range(7, len(stream)):
        refused(stream[:at] + bytes([stream[at] ^ 1]) + stream[at + 1 :])


def test_chunks_of_another_message_are_refused():
    (head, chunks), (_, others) = four_chunks(), four_chunks()
    for i in range(4):
        refused(head + b"".join([*chunks[:i], others[i], *chunks[i + 1 :]]))


def test_an_empty_chunk_that_is_not_final_is_refused():
    _, plain = message(10)
    stream, context = begun()
    stream += chunk_of(context.messages, plain) + chunk_of(context.messages, b"")
    refused(stream + chunk_of(context.messages, b"", final=True))


@pytest.mark.parametrize("size", [64 * 1024 + 17, 2**30, 2**61])
def test_too_large_a_chunk_is_refused_before_it_is_there(size):
    stream, _ = begun()
    opening = opening_of()
    with pytest.raises(SealBroken):
        opening.feed(stream + varint.encode(size))


def test_too_large_a_final_chunk_is_refused_before_its_end():
    stream, _ = begun()
    opening = opening_of()
    opening.feed(stream + b"\0" + bytes(60_000))
    with pytest.raises(SealBroken):
        opening.feed(bytes(60_000))


def test_chunks_of_sixteen_kilobytes_are_taken_and_of_sixty_four_too():
    """16384 bytes of data must be taken (section 3 of the draft)."""
    for size in (16 * 1024, 64 * 1024):
        request, plain = message(size * 2)
        stream, context = begun()
        stream += chunk_of(context.messages, plain[:size]) + chunk_of(context.messages, plain[size : 2 * size])
        assert opened(stream + chunk_of(context.messages, plain[2 * size :], final=True)).request == request


def test_too_many_tiny_chunks_are_refused_early():
    """Each costs a call of the cipher for 18 bytes on the wire: refused after the first few, however long it goes on."""
    _, plain = message(4000)
    stream, context = begun()
    opening = opening_of()
    opening.feed(stream)
    taken = 0
    with pytest.raises(SealBroken):
        for at in range(len(plain)):
            opening.feed(chunk_of(context.messages, plain[at : at + 1]))
            taken += 1
    assert 64 <= taken <= 70


def test_an_answer_that_was_tampered_with():
    request, _ = message(10)
    config = KeyConfig(1, hpke.X25519, hpke.KEMS[hpke.X25519].public_key(SEED))

    def exchange():
        outgoing = OhttpWrapper(config, chunk_above=0).wrap(request)
        sealer = opened(b"".join(outgoing.body)).sealer
        parts = [sealer.begin(200, ()), sealer.write(bytes(CHUNK_SIZE)), sealer.write(bytes(CHUNK_SIZE)), sealer.end()]
        return outgoing.answer, parts

    for alter in (
        lambda p: p[:3],
        lambda p: [p[0], p[2], p[1], p[3]],
        lambda p: [p[0], p[1], p[3]],
        lambda p: [*p, b"\0"],
        lambda p: [p[0], p[1], p[1], p[2], p[3]],
        lambda p: [bytes(16), *p[1:]],
        lambda p: [p[0], p[1], b"\0" + p[2][4:]],
    ):
        answer, parts = exchange()
        assert all(parts[1:])
        with pytest.raises(SealBroken):
            for part in alter(parts):
                answer.feed(part)
            answer.finish()
    answer, parts = exchange()
    feed(answer, b"".join(parts))
    assert answer.finish() == InnerResponse(200, (), bytes(2 * CHUNK_SIZE))
