"""Oblivious HTTP, both ends: RFC 9458's example, key configurations, and what must not open."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import SealBroken, UnknownKey
from safelight.sealing import bhttp, hpke
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig, decode_keys, encode_keys
from safelight.sealing.ohttp.framing import CHUNKED, WHOLE, answer_key, nonce_size
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.protocol import OuterRequest
from tests.vectors.load import published

RFC = {name: bytes.fromhex(value) for name, value in published("rfc9458").items() if name != "source"}
SUITES = [hpke.Suite(kem_id, hpke.HKDF_SHA256, aead_id) for kem_id in hpke.KEMS for aead_id in hpke.AEADS]
REQUEST = InnerRequest("POST", "/v1/detect?x=1", ((b"content-type", b"image/png"),), b"picture", authority="gateway")
RESPONSE = InnerResponse(200, ((b"content-type", b"application/json"),), b"{}")


def key_of(kem_id: int, number: int = 1) -> GatewayKey:
    seed = os.urandom(32)
    return GatewayKey(f"key {number}", KeyConfig(number, kem_id, hpke.KEMS[kem_id].public_key(seed)), seed)


KEYS = {kem_id: key_of(kem_id, number) for number, kem_id in enumerate(hpke.KEMS, 1)}


def opener(*keys: GatewayKey) -> OhttpOpener:
    return OhttpOpener(lambda: keys or tuple(KEYS.values()), chunked=True)


def begin(kind=WHOLE, *keys):
    return opener(*keys).begin(OuterRequest("POST", "/ohttp", "", kind.request_type))


def opened(envelope: bytes, *keys: GatewayKey, kind=WHOLE):
    opening = begin(kind, *keys)
    opening.feed(envelope)
    return opening.finish()


def wrapped(suite, chunk_above=None, request=REQUEST):
    """(envelope, what opens its answer)"""
    wrapper = OhttpWrapper(KEYS[suite.kem_id].config, aead_id=suite.aead_id, chunk_above=chunk_above)
    outgoing = wrapper.wrap(request)
    return b"".join(outgoing.body), outgoing.answer


def sealed(sealer, response=RESPONSE, step=1000) -> bytes:
    pieces = [response.body[at : at + step] for at in range(0, len(response.body), step)]
    start = sealer.begin(response.status, response.headers)
    return start + b"".join([sealer.write(piece) for piece in pieces]) + sealer.end()


# RFC 9458, appendix A.


def test_the_key_configuration():
    (config,) = decode_keys(len(RFC["key_config"]).to_bytes(2, "big") + RFC["key_config"])
    assert (config.number, config.kem_id) == (1, hpke.X25519)
    assert config.suites == ((1, hpke.AES_128_GCM), (1, hpke.CHACHA20_POLY1305))
    assert config.public_key == hpke.KEMS[hpke.X25519].public_key(RFC["secret_key"])
    assert config.encode() == RFC["key_config"]


def the_config():
    return decode_keys(len(RFC["key_config"]).to_bytes(2, "big") + RFC["key_config"])[0]


def test_the_request():
    """The example leaves out what is empty at the end of its binary HTTP request; ours says so with three zeros."""
    suite = hpke.Suite(hpke.X25519, 1, hpke.AES_128_GCM)
    head = b"\1" + suite.ids
    assert WHOLE.info(head) == RFC["info"]
    enc, context = hpke.sender(suite, the_config().public_key, RFC["info"], RFC["ephemeral_secret_key"])
    assert enc == RFC["enc"]
    assert head + enc + context.messages.seal(RFC["request"]) == RFC["encapsulated_request"]

    outgoing = OhttpWrapper(the_config(), pad=False).wrap(
        InnerRequest("GET", "/", authority="example.com"), RFC["ephemeral_secret_key"]
    )
    ours = b"".join(outgoing.body)
    assert ours[:-19] == RFC["encapsulated_request"][:-16] and outgoing.target == "/ohttp"
    assert outgoing.headers == ((b"content-type", b"message/ohttp-req"),)


def test_the_request_opens():
    key = GatewayKey("rfc", the_config(), RFC["secret_key"])
    found = opened(RFC["encapsulated_request"], key)
    assert found.request == InnerRequest("GET", "/", authority="example.com") == bhttp.decode_request(RFC["request"])
    assert (found.protocol, found.key_id, found.sent_at) == ("ohttp", "rfc", None)


def test_the_response():
    suite = hpke.Suite(hpke.X25519, 1, hpke.AES_128_GCM)
    context = hpke.recipient(suite, RFC["enc"], suite.kem.private(RFC["secret_key"]), RFC["info"])
    assert context.export(b"message/bhttp response", nonce_size(suite)) == RFC["exported_secret"]
    nonce = RFC["encapsulated_response"][: nonce_size(suite)]
    assert RFC["enc"] + nonce == RFC["salt"]
    prk = hpke.extract(RFC["salt"], RFC["exported_secret"])
    assert prk == RFC["prk"]
    assert hpke.expand(prk, b"key", 16) == RFC["aead_key"] and hpke.expand(prk, b"nonce", 12) == RFC["aead_nonce"]
    assert nonce + answer_key(WHOLE, context, RFC["enc"], nonce).seal(RFC["response"]) == RFC["encapsulated_response"]


@pytest.mark.parametrize("split", range(0, 40, 3))
def test_the_response_opens(split):
    outgoing = OhttpWrapper(the_config()).wrap(InnerRequest("GET", "/"), RFC["ephemeral_secret_key"])
    outgoing.answer.feed(RFC["encapsulated_response"][:split])
    outgoing.answer.feed(RFC["encapsulated_response"][split:])
    assert outgoing.answer.finish() == InnerResponse(200)


# Key configurations.


def framed(*configs: bytes) -> bytes:
    return b"".join(len(config).to_bytes(2, "big") + config for config in configs)


def test_several_configurations_in_order():
    configs = [key.config for key in KEYS.values()]
    assert decode_keys(encode_keys(configs)) == configs


def test_unknown_kems_and_suites_are_passed_over():
    known = KEYS[hpke.X25519].config
    strange = b"\x07" + b"\x00\x10" + bytes(65) + b"\x00\x04\x00\x01\x00\x01"
    of_no_use = replace(known, suites=((2, 1), (1, 0xFFFF)))
    mixed = replace(known, suites=((3, 3), (1, 3), (1, 0xFFFF), (1, 1)))
    assert decode_keys(framed(strange, of_no_use.encode(), mixed.encode(), b"", b"\x01")) == [
        replace(known, suites=((1, 3), (1, 1)))
    ]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        framed(b"\x07\x00\x10" + bytes(65)),  # an unknown KEM alone
        framed(replace(KEYS[hpke.X25519].config, suites=((9, 9),)).encode()),  # unknown suites alone
        framed(KEYS[hpke.X25519].config.encode())[:-1],
        framed(KEYS[hpke.X25519].config.encode()) + b"\0",
        framed(KEYS[hpke.X25519].config.encode()) + b"\0\1",
        framed(KEYS[hpke.X25519].config.encode()[:-1]),
        framed(KEYS[hpke.X25519].config.encode() + b"\0"),
        framed(KEYS[hpke.X25519].config.encode()[:20]),
        framed(replace(KEYS[hpke.X25519].config, suites=()).encode()),
        framed(b"\1\0\x20" + bytes(32) + b"\0\2\0\1"),  # half a suite
        KEYS[hpke.X25519].config.encode(),  # without its length
    ],
    ids=[str(number) for number in range(12)],  # the keys are new each time, and names of tests are not
)  # fmt: skip
def test_broken_lists_are_refused(document):
    with pytest.raises(SealBroken):
        decode_keys(document)


@given(st.binary(max_size=200))
def test_any_bytes_are_configurations_or_refused(data):
    for document in (data, framed(data), framed(b"\1\0\x20" + data)):
        try:
            configs = decode_keys(document)
        except SealBroken:
            continue
        assert decode_keys(encode_keys(configs)) == configs


def test_fingerprints_are_of_the_whole_configuration():
    config = KEYS[hpke.X25519].config
    others = [replace(config, number=9), replace(config, public_key=bytes(32)), replace(config, suites=((1, 1),))]
    assert len({one.fingerprint for one in (config, *others)}) == 4


def test_a_configuration_without_the_wanted_aead_is_not_used():
    with pytest.raises(SealBroken):
        OhttpWrapper(replace(KEYS[hpke.X25519].config, suites=((1, 1),)), aead_id=3)


def test_a_configuration_with_a_key_that_is_none_seals_nothing():
    with pytest.raises(SealBroken):
        OhttpWrapper(KeyConfig(1, hpke.X25519, bytes(32))).wrap(REQUEST)


# There and back.

splits = st.lists(st.integers(0, 3000), max_size=8)


def feed(opening, data: bytes, cuts) -> None:
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        opening.feed(data[at:cut])
        at = max(at, cut)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.ids.hex())
@given(body=st.binary(max_size=3000), cuts=splits, answer_cuts=splits, answer=st.binary(max_size=9000))
def test_whole_messages_come_back_in_any_pieces(suite, body, cuts, answer_cuts, answer):
    envelope, answer_opening = wrapped(suite, request=replace(REQUEST, body=body))
    opening = begin()
    feed(opening, envelope, cuts)
    found = opening.finish()
    assert found.request == replace(REQUEST, body=body)
    response = replace(RESPONSE, body=answer)
    feed(answer_opening, sealed(found.sealer, response), answer_cuts)
    assert answer_opening.finish() == response


def test_sizes_are_padded():
    sizes = {len(wrapped(SUITES[0], request=replace(REQUEST, body=bytes(n)))[0]) for n in range(800)}
    assert len(sizes) == 1
    answers = set()
    for size in range(0, 3900, 100):
        envelope, _ = wrapped(SUITES[0])
        answers.add(len(sealed(opened(envelope).sealer, replace(RESPONSE, body=bytes(size)))))
    assert len(answers) == 1


def test_nothing_repeats():
    """The same request sealed twice shares its head only, and the same answer sealed twice nothing."""
    (one, _), (other, _) = wrapped(SUITES[0]), wrapped(SUITES[0])
    assert one[:7] == other[:7] and one[7:39] != other[7:39]
    assert sealed(opened(one).sealer)[:16] != sealed(opened(one).sealer)[:16]
    assert opened(one).token == opened(one).token != opened(other).token


# What must not open.


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.ids.hex())
def test_a_request_cut_anywhere_is_refused(suite):
    envelope, _ = wrapped(suite)
    for end in range(0, len(envelope), 1 if suite.kem_id == hpke.X25519 else 13):
        with pytest.raises(SealBroken):
            opened(envelope[:end])
    with pytest.raises(SealBroken):
        opened(envelope + b"\0")


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.ids.hex())
def test_every_byte_of_a_request_counts(suite):
    envelope, _ = wrapped(suite)
    for at in range(0, len(envelope), 1 if suite.kem_id == hpke.X25519 else 13):
        changed = envelope[:at] + bytes([envelope[at] ^ 0x80]) + envelope[at + 1 :]
        with pytest.raises((SealBroken, UnknownKey)):
            opened(changed)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.ids.hex())
def test_every_byte_of_an_answer_counts(suite):
    envelope, answer = wrapped(suite)
    sealed_answer = sealed(opened(envelope).sealer)
    wrapper = OhttpWrapper(KEYS[suite.kem_id].config, aead_id=suite.aead_id)
    for end in (0, 5, nonce_size(suite) - 1, nonce_size(suite), len(sealed_answer) - 1):
        with pytest.raises(SealBroken):
            other = wrapper.wrap(REQUEST).answer
            other.feed(sealed_answer[:end])
            other.finish()
    for at in range(0, len(sealed_answer), 97):
        again = type(answer)(WHOLE, answer._context, answer._enc)
        again.feed(sealed_answer[:at] + bytes([sealed_answer[at] ^ 1]) + sealed_answer[at + 1 :])
        with pytest.raises(SealBroken):
            again.finish()
    answer.feed(sealed_answer)
    assert answer.finish() == RESPONSE


def test_an_answer_opens_for_its_asker_only():
    (one, _), (_, answer) = wrapped(SUITES[0]), wrapped(SUITES[0])
    answer.feed(sealed(opened(one).sealer))
    with pytest.raises(SealBroken):
        answer.finish()


def test_whole_and_chunked_are_not_confused():
    whole, answer = wrapped(SUITES[0])
    chunked, chunked_answer = wrapped(SUITES[0], chunk_above=0)
    for envelope, kind in ((whole, CHUNKED), (chunked, WHOLE)):
        with pytest.raises(SealBroken):
            opened(envelope, kind=kind)
    for envelope, kind, wrong in ((whole, WHOLE, chunked_answer), (chunked, CHUNKED, answer)):
        with pytest.raises(SealBroken):
            wrong.feed(sealed(opened(envelope, kind=kind).sealer))
            wrong.finish()


def test_the_key_is_chosen_by_its_number_and_never_tried():
    """A key with the right number and another secret is used and fails; a number that is not there is an unknown key."""
    envelope, _ = wrapped(SUITES[0])
    right = KEYS[hpke.X25519]
    same_number, other_number = (
        key_of(hpke.X25519, right.config.number),
        replace(right, config=replace(right.config, number=9)),
    )
    with pytest.raises(SealBroken):
        opened(envelope, same_number, right)
    for keys in ((other_number,), (key_of(hpke.MLKEM768_X25519, right.config.number),)):
        with pytest.raises(UnknownKey):
            opened(envelope, *keys)
    assert opened(envelope, other_number, right).key_id == right.name


def test_no_keys_are_unknown_keys():
    none = OhttpOpener(lambda: (), chunked=True).begin(OuterRequest("POST", "/ohttp", "", WHOLE.request_type))
    with pytest.raises(UnknownKey):
        none.feed(wrapped(SUITES[0])[0])


@pytest.mark.parametrize(
    ("method", "query", "media_type"),
    [("GET", "", WHOLE.request_type), ("POST", "x", WHOLE.request_type), ("POST", "", "message/ohttp-res"), ("POST", "", "")],
)  # fmt: skip
def test_other_requests_to_the_gateway_are_refused(method, query, media_type):
    with pytest.raises(SealBroken):
        opener().begin(OuterRequest(method, "/ohttp", query, media_type))


def test_chunked_messages_can_be_switched_off():
    whole_only = OhttpOpener(lambda: tuple(KEYS.values()), chunked=False)
    whole_only.begin(OuterRequest("POST", "/ohttp", "", WHOLE.request_type))
    with pytest.raises(SealBroken):
        whole_only.begin(OuterRequest("POST", "/ohttp", "", CHUNKED.request_type))


@pytest.mark.parametrize(
    "date", [b"yesterday", b"", b"Mon, 99 Foo 2020 00:00:00 GMT", b"\xff", b"Fri, 01 Jan 99999 00:00:00 GMT"]
)
def test_a_date_that_cannot_be_read_is_refused(date):
    envelope, _ = wrapped(SUITES[0], request=replace(REQUEST, headers=((b"date", date),)))
    with pytest.raises(SealBroken):
        opened(envelope)


def test_a_date_is_read():
    lines = ((b"date", b"Tue, 15 Nov 1994 08:12:31 GMT"),)
    envelope, _ = wrapped(SUITES[0], request=replace(REQUEST, headers=lines))
    assert opened(envelope).sent_at == 784887151  # RFC 9110's example
