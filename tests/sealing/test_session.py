"""A client's dealings with a gateway, step by step, without either: which keys are asked for, when, and how often."""

from __future__ import annotations

import json

import pytest

from safelight.errors import KeyNotTrusted, SealBroken
from safelight.sealing import hpke
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp import DATE_PROBLEM, KEY_PROBLEM, KEYS_TYPE
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig, encode_keys
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.ohttp.session import OhttpSession
from safelight.sealing.protocol import OuterRequest, Received

SEED = bytes(range(32))
REQUEST = InnerRequest("GET", "/v1/models", authority="gateway")
KEYS = [
    GatewayKey(str(number), KeyConfig(number, kem.id, kem.public_key(SEED)), SEED)
    for number, kem in enumerate(hpke.KEMS.values(), 1)
]
OFFERED = Received(200, KEYS_TYPE, encode_keys([key.config for key in KEYS]))
RETIRED = Received(400, "application/problem+json; charset=utf-8", json.dumps({"type": KEY_PROBLEM}).encode())


def session(pins=()) -> OhttpSession:
    return OhttpSession(pins=pins, chunk_above=None, now=lambda: 1_800_000_000.0)


def answered(sending, status=200, body=b"", headers=()) -> Received:
    """What the gateway answers to an envelope."""
    opening = OhttpOpener(lambda: KEYS, chunked=True).begin(OuterRequest("POST", "/ohttp", "", "message/ohttp-req"))
    opening.feed(b"".join(sending.body))
    sealer = opening.finish().sealer
    return Received(200, sealer.media_type, sealer.begin(status, headers) + sealer.write(body) + sealer.end())


def ends(steps, received):
    with pytest.raises(StopIteration) as stop:
        steps.send(received)
    return stop.value.value


def first_exchange(client):
    steps = client.exchange(REQUEST)
    assert next(steps).target == "/ohttp-keys"
    return ends(steps, answered(steps.send(OFFERED)))


def test_keys_are_fetched_once():
    client = session()
    assert first_exchange(client) == InnerResponse(200)
    steps = client.exchange(REQUEST)
    sending = next(steps)
    assert (sending.method, sending.target) == ("POST", "/ohttp")
    assert ends(steps, answered(sending)) == InnerResponse(200)


def test_a_retired_key_is_fetched_anew_past_all_caches_and_once():
    client = session()
    first_exchange(client)
    steps = client.exchange(REQUEST)
    assert next(steps).method == "POST"
    again = steps.send(RETIRED)
    assert (again.method, again.target, again.headers) == ("GET", "/ohttp-keys", ((b"cache-control", b"no-cache"),))
    assert steps.send(OFFERED).method == "POST"
    assert ends(steps, RETIRED) == RETIRED  # no third time


def test_two_exchanges_at_once_do_not_disturb_each_other():
    """One learns that the key has retired while the other one is about to seal."""
    client = session()
    first_exchange(client)
    one, other = client.exchange(REQUEST), client.exchange(REQUEST)
    next(one)
    sending = next(other)
    assert one.send(RETIRED).method == "GET"
    assert ends(other, answered(sending)) == InnerResponse(200)
    assert ends(one, answered(one.send(OFFERED))) == InnerResponse(200)


def test_the_hybrid_key_is_preferred():
    steps = session().exchange(REQUEST)
    next(steps)
    envelope = b"".join(steps.send(OFFERED).body)
    assert envelope[1:3] == hpke.MLKEM768_X25519.to_bytes(2, "big")


def test_a_pin_decides():
    steps = session([KEYS[0].config.fingerprint]).exchange(REQUEST)
    next(steps)
    assert b"".join(steps.send(OFFERED).body)[1:3] == hpke.X25519.to_bytes(2, "big")
    steps = session(["0" * 64]).exchange(REQUEST)
    next(steps)
    with pytest.raises(KeyNotTrusted):
        steps.send(OFFERED)


def test_a_document_that_is_none_is_refused():
    steps = session().exchange(REQUEST)
    next(steps)
    with pytest.raises(SealBroken):
        steps.send(Received(200, KEYS_TYPE, b"\0"))


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"type": []}'])
def test_a_refusal_that_says_nothing_is_passed_on(body):
    """Whoever is on the way can send one."""
    refusal = Received(400, "application/problem+json", body)
    steps = session().exchange(REQUEST)
    next(steps)
    steps.send(OFFERED)
    assert ends(steps, refusal) is refusal


@pytest.mark.parametrize(
    "answer",
    [
        Received(404, "text/plain", b""),
        Received(200, "text/html", OFFERED.body),
        Received(503, KEYS_TYPE, OFFERED.body),
    ],
)
def test_keys_come_as_keys_or_not_at_all(answer):
    steps = session().exchange(REQUEST)
    next(steps)
    assert ends(steps, answer) is answer


def test_a_clock_is_corrected_once_and_by_sealed_answers_only():
    client = session()
    problem = json.dumps({"type": DATE_PROBLEM}).encode()
    lines = ((b"content-type", b"application/problem+json"), (b"date", b"Tue, 15 Nov 1994 08:12:31 GMT"))
    steps = client.exchange(REQUEST)
    next(steps)
    corrected = steps.send(answered(steps.send(OFFERED), 400, problem, lines))
    opening = OhttpOpener(lambda: KEYS, chunked=True).begin(OuterRequest("POST", "/ohttp", "", "message/ohttp-req"))
    opening.feed(b"".join(corrected.body))
    assert opening.finish().sent_at == 784887151
    assert ends(steps, answered(corrected, 400, problem, lines)).status == 400

    unsealed = Received(400, "application/problem+json", problem, lines)
    steps = session().exchange(REQUEST)
    next(steps)
    steps.send(OFFERED)
    assert ends(steps, unsealed) is unsealed
