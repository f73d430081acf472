"""Sealed requests through the application: boxes for those who seal rightly, one and the same refusal for all others."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from dataclasses import replace

import pytest

from safelight.sealing import bhttp, hpke
from safelight.sealing.dates import read_date, write_date
from safelight.sealing.messages import InnerRequest, InnerResponse, header
from safelight.sealing.ohttp import DATE_PROBLEM, KEY_PROBLEM
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from tests.serving.conftest import encoded, squares

PICTURE = encoded(squares(person=(8, 8)))


@pytest.fixture(scope="module")
def sealed_only(settings, make_client):
    return make_client(settings.model_copy(update={"allow_plaintext": False}))


@pytest.fixture(scope="module")
def configs(sealed_only):
    answer = sealed_only.get("/ohttp-keys")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/ohttp-keys"
    return decode_keys(answer.content)


def request(path="/v1/detect", body=PICTURE, date=True, **headers):
    lines = [(b"content-type", b"image/png")] if body else []
    lines += [(b"date", write_date(time.time() if date is True else date))] if date else []
    lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return InnerRequest("POST" if body else "GET", path, tuple(lines), body, authority="gateway")


def send(client, outgoing, body=None):
    content = b"".join(outgoing.body) if body is None else body
    return client.post(
        outgoing.target, content=content, headers=[(k.decode(), v.decode()) for k, v in outgoing.headers]
    )


def call(client, wrapper, inner) -> InnerResponse:
    outgoing = wrapper.wrap(inner)
    answer = send(client, outgoing)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == outgoing.answer_type
    outgoing.answer.feed(answer.content)
    return outgoing.answer.finish()


@pytest.mark.parametrize("chunk_above", [None, 0])
@pytest.mark.parametrize("aead", list(hpke.AEADS))
@pytest.mark.parametrize("kem", list(hpke.KEMS))
def test_every_suite_gets_its_boxes(sealed_only, configs, kem, aead, chunk_above):
    config = next(config for config in configs if config.kem_id == kem)
    answer = call(sealed_only, OhttpWrapper(config, aead_id=aead, chunk_above=chunk_above), request())
    assert answer.status == 200 and json.loads(answer.body)["counts"] == {"person": 1}
    assert header(answer.headers, b"content-type") == b"application/json"
    assert abs(read_date(header(answer.headers, b"date")) - time.time()) < 60


def test_options_and_problems_travel_inside(sealed_only, configs):
    wrapper = OhttpWrapper(configs[0], chunk_above=0)
    picture = call(sealed_only, wrapper, request("/v1/detect?model=tree-crowns&render=png"))
    assert picture.status == 200 and picture.body.startswith(b"\x89PNG")
    problem = call(sealed_only, wrapper, request("/v1/detect?threshold=2"))
    assert problem.status == 400 and json.loads(problem.body)["type"].endswith("#invalid-option")
    assert call(sealed_only, wrapper, request("/v1/models", b"")).status == 200
    assert call(sealed_only, wrapper, replace(request(), method="PUT")).status == 405


@pytest.mark.parametrize(
    "path", ["/ohttp", "/ohttp-keys", "/readyz", "/metrics", "/openapi.json", "/", "/v2/detect", "/v1"]
)
def test_only_versioned_paths_are_reached_from_inside(sealed_only, configs, path):
    assert call(sealed_only, OhttpWrapper(configs[0]), request(path)).status == 404


def test_an_envelope_in_an_envelope_is_not_opened(sealed_only, configs):
    wrapper = OhttpWrapper(configs[0])
    nested = b"".join(wrapper.wrap(request()).body)
    inner = replace(request(body=nested), headers=((b"content-type", b"message/ohttp-req"),))
    assert call(sealed_only, wrapper, inner).status == 415


def test_plaintext_is_refused(sealed_only):
    assert sealed_only.post("/v1/detect", content=PICTURE, headers={"content-type": "image/png"}).status_code == 403


def test_all_refusals_are_the_same_bytes(sealed_only, configs, settings):
    """Replayed, tampered, truncated, garbage, too large, of the wrong type, malformed within: nobody learns which."""
    wrapper = OhttpWrapper(configs[0])
    outgoing = wrapper.wrap(request())
    envelope = b"".join(outgoing.body)
    assert send(sealed_only, outgoing, envelope).status_code == 200
    headers = {"content-type": "message/ohttp-req"}
    bodies = [
        (envelope, headers),  # replayed
        (envelope[:-1] + bytes([envelope[-1] ^ 1]), headers),
        (envelope[:40] + bytes([envelope[40] ^ 1]) + envelope[41:], headers),
        (envelope[:-20], headers),
        (envelope[:7], headers),
        (envelope[:3], headers),
        (b"", headers),
        (b"garbage", headers),
        (b"garbage" * 100, headers),
        (PICTURE, headers),
        (envelope[:3] + b"\x00\x03" + envelope[5:], headers),  # a KDF that is not on offer
        (envelope[:7] + bytes(32) + envelope[39:], headers),  # a point of small order
        (envelope[:7] + os.urandom(2_000), headers),
        (envelope + bytes(2 * settings.limits.max_bytes), headers),
        (envelope, {"content-type": "message/ohttp-chunked-req"}),
        (envelope, {"content-type": "image/png"}),
        (envelope, {}),
    ]
    bodies.append((b"".join(_sealed(configs[0], b"not binary HTTP")), headers))
    bodies.append((b"".join(_sealed(configs[0], bhttp.encode_request(request()) + b"trailing")), headers))
    chunked = b"".join(OhttpWrapper(configs[0], chunk_above=0).wrap(request(body=os.urandom(40_000))).body)
    in_chunks = {"content-type": "message/ohttp-chunked-req"}
    bodies += [(chunked[:-30_000], in_chunks), (chunked[: 39 + 16405], in_chunks), (chunked + b"x", in_chunks)]
    answers = [sealed_only.post("/ohttp", content=body, headers=given) for body, given in bodies]
    answers.append(sealed_only.post("/ohttp?x=1", content=b"".join(wrapper.wrap(request()).body), headers=headers))
    answers.append(sealed_only.put("/ohttp", content=b"".join(wrapper.wrap(request()).body), headers=headers))
    seen = {(answer.status_code, answer.content, tuple(answer.headers.items())) for answer in answers}
    assert len(seen) == 1
    assert answers[0].status_code == 400 and answers[0].json()["type"].endswith("#seal-broken")
    assert "request_id" not in answers[0].json()


def _sealed(config, plain):
    from safelight.sealing.ohttp.framing import WHOLE

    suite = hpke.Suite(config.kem_id, *config.suites[0])
    head = bytes([config.number]) + suite.ids
    enc, context = hpke.sender(suite, config.public_key, WHOLE.info(head))
    return head, enc, context.messages.seal(plain)


def test_an_unknown_key_is_told_so_that_clients_fetch_again(sealed_only, configs):
    number = next(n for n in range(1, 256) if n not in {config.number for config in configs})
    outgoing = OhttpWrapper(replace(configs[0], number=number)).wrap(request())
    answer = send(sealed_only, outgoing)
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == KEY_PROBLEM


@pytest.mark.parametrize("off_s", [-3600, -310, 310, 3600])
def test_a_date_that_is_off_is_a_sealed_problem_with_the_right_date(sealed_only, configs, off_s):
    answer = call(sealed_only, OhttpWrapper(configs[0]), request(date=time.time() + off_s))
    assert answer.status == 400 and json.loads(answer.body)["type"] == DATE_PROBLEM
    assert abs(read_date(header(answer.headers, b"date")) - time.time()) < 60


def test_a_date_can_be_required(settings, make_client, configs):
    sealing = settings.sealing.model_copy(update={"require_date": True})
    client = make_client(settings.model_copy(update={"sealing": sealing}))
    answer = call(client, OhttpWrapper(configs[0]), request(date=False))
    assert answer.status == 400 and json.loads(answer.body)["type"] == DATE_PROBLEM
    assert call(client, OhttpWrapper(configs[0]), request()).status == 200


@pytest.mark.parametrize("date", [True, False])
def test_replays_are_refused_with_and_without_a_date(sealed_only, configs, date):
    outgoing = OhttpWrapper(configs[0], chunk_above=0).wrap(request(date=date))
    envelope = b"".join(outgoing.body)
    assert [send(sealed_only, outgoing, envelope).status_code for _ in range(3)] == [200, 400, 400]


def test_answers_are_of_few_sizes(sealed_only, configs):
    wrapper = OhttpWrapper(configs[0])
    pictures = [encoded(squares()), PICTURE]
    sizes = {len(send(sealed_only, wrapper.wrap(request(body=picture))).content) for picture in pictures}
    assert len(sizes) == 1


def test_without_a_memory_of_what_was_seen_nobody_is_answered(settings, make_client, configs, tmp_path):
    """The store is lost while the service runs: a sealed problem that says to come back."""
    replay = tmp_path / "replay.db"
    sealing = settings.sealing.model_copy(update={"replay": str(replay)})
    client = make_client(settings.model_copy(update={"sealing": sealing}))
    wrapper = OhttpWrapper(configs[0])
    assert call(client, wrapper, request()).status == 200
    with sqlite3.connect(replay) as database:
        database.execute("DROP TABLE seen")
    answer = call(client, wrapper, request())
    assert answer.status == 503 and json.loads(answer.body)["retryable"] is True
    assert header(answer.headers, b"retry-after") is not None
