"""What a client asks of a gateway, and what it does again, without any network."""

from __future__ import annotations

import json
import os

from safelight.sealing import hpke
from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.ohttp import GATEWAY_PATH, KEY_PROBLEM, KEYS_PATH, KEYS_TYPE
from safelight.sealing.ohttp.config import GatewayKey, KeyConfig, encode_keys
from safelight.sealing.ohttp.gateway import OhttpOpener
from safelight.sealing.ohttp.session import OhttpSession
from safelight.sealing.protocol import OuterRequest, Received, Sending

REQUEST = InnerRequest("GET", "/v1/models")


def key(number: int) -> GatewayKey:
    seed = os.urandom(32)
    return GatewayKey("k", KeyConfig(number, hpke.X25519, hpke.KEMS[hpke.X25519].public_key(seed)), seed)


class Gateway:
    """Opens with `opens`, offers `fresh`; a cache before it goes on offering `cached` to those who do not mind."""

    def __init__(self, cached: GatewayKey, fresh: GatewayKey, opens: GatewayKey) -> None:
        self.cached, self.fresh, self.opens = cached, fresh, opens
        self.asked: list[str] = []

    def answer(self, sending: Sending) -> Received:
        self.asked.append(f"{sending.method} {sending.target}")
        if sending.target == KEYS_PATH:
            past_caches = (b"cache-control", b"no-cache") in sending.headers
            return Received(200, KEYS_TYPE, encode_keys([(self.fresh if past_caches else self.cached).config]))
        body = b"".join(sending.body)
        if body[0] != self.opens.config.number:
            return Received(400, "application/problem+json", json.dumps({"type": KEY_PROBLEM}).encode())
        opening = OhttpOpener(lambda: [self.opens], chunked=True).begin(
            OuterRequest("POST", sending.target, "", "message/ohttp-req")
        )
        opening.feed(body)
        sealer = opening.finish().sealer
        return Received(200, sealer.media_type, sealer.begin(200, ()) + sealer.write(b"yes") + sealer.end())


def do(session: OhttpSession, gateway: Gateway) -> InnerResponse | Received:
    steps = session.exchange(REQUEST)
    try:
        sending = next(steps)
        for _ in range(10):
            sending = steps.send(gateway.answer(sending))
    except StopIteration as stop:
        answer: InnerResponse | Received = stop.value
        return answer
    raise AssertionError("it never ends")


def session() -> OhttpSession:
    return OhttpSession(pins=(), chunk_above=None, now=lambda: 0.0)


def test_keys_are_fetched_once():
    one = key(1)
    gateway, client = Gateway(one, one, one), session()
    answers = [do(client, gateway) for _ in range(2)]
    assert all(isinstance(answer, InnerResponse) and answer.body == b"yes" for answer in answers)
    assert gateway.asked == [f"GET {KEYS_PATH}", f"POST {GATEWAY_PATH}", f"POST {GATEWAY_PATH}"]


def test_a_retired_key_in_a_cache_costs_no_request():
    old, new = key(1), key(2)
    gateway = Gateway(old, new, new)
    answer = do(session(), gateway)
    assert isinstance(answer, InnerResponse) and answer.body == b"yes"
    assert gateway.asked == [f"GET {KEYS_PATH}", f"POST {GATEWAY_PATH}"] * 2


def test_a_gateway_that_knows_none_of_its_keys_is_asked_twice_and_no_more():
    gateway = Gateway(key(1), key(2), key(3))
    answer = do(session(), gateway)
    assert isinstance(answer, Received) and answer.status == 400
    assert gateway.asked == [f"GET {KEYS_PATH}", f"POST {GATEWAY_PATH}"] * 2
