"""10,000 envelopes that were tampered with: none is accepted, none breaks anything, and all are refused with the same bytes.

Whatever is chosen at random is chosen from a fixed seed.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import anyio
import pytest

from safelight.errors import SealBroken
from safelight.sealing import bhttp, hpke, varint
from safelight.sealing.dates import write_date
from safelight.sealing.keys import gateway_keys
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp.client import OhttpWrapper, _AnswerOpening
from safelight.sealing.ohttp.framing import CHUNKED, WHOLE
from serving.privacy.gate import Gate
from serving.privacy.refusals import BROKEN, UNKNOWN_KEY
from serving.privacy.replay import MemoryReplay
from serving.privacy.sealed import Sealed
from serving.resilience.memory import Budget
from serving.resilience.pace import Pace
from tests.serving.conftest import encoded, squares

PICTURE = encoded(squares(person=(8, 8)))
SECRETS = (b"Traceback", b"Error", b"safelight/", b".py", b"Invalid")
KINDS = {False: WHOLE, True: CHUNKED}


class Service:
    """`Sealed` in front of an application that counts who gets in; nothing waits."""

    def __init__(self, settings, folder, app=None) -> None:
        sealing = settings.sealing.model_copy(update={"keys": folder})
        self.gate = Gate(settings.model_copy(update={"sealing": sealing}), now=time.time)
        self.gate.load()
        self.keys = gateway_keys(KeyStore(folder, time.time).in_use())
        self.let_in: list[bytes] = []
        self.waits: list[float] = []
        self.clock = 0.0
        self.sealed = Sealed(
            app or self._app,
            self.gate,
            max_bytes=settings.limits.envelope_bytes,
            linger_bytes=1000,
            pace=Pace(within_s=60, bytes_per_s=1, grace_s=60),
            budget=Budget(20_000_000),
            clock=lambda: self.clock,
            new_id=lambda: "0" * 32,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def _app(self, scope, receive, send) -> None:
        self.let_in.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"yes"})

    async def post(
        self, body: bytes, content_type: str, *, method="POST", query=b"", pieces=1, path="/ohttp", ends=True
    ):
        """(status, headers, body)"""
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
            "headers": [(b"content-type", content_type.encode())], "client": ("192.0.2.1", 1), "state": {},
        }  # fmt: skip
        step = max(1, -(-len(body) // pieces))
        parts = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])
        last = {"type": "http.request", "body": b""} if ends else {"type": "http.disconnect"}
        answer: list[object] = []

        async def receive():
            return next(messages, last)

        async def send(message) -> None:
            answer.append(message)

        await self.sealed(scope, receive, send)
        start, *rest = answer
        return start["status"], sorted(start["headers"]), b"".join(one["body"] for one in rest)


@pytest.fixture(scope="module")
def service(settings, tmp_path_factory) -> Service:
    return Service(settings, tmp_path_factory.mktemp("mutated") / "keys")


def refusal(response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return response.status_code, sorted(response.raw_headers), response.body


# Envelopes that were tampered with.


def request(number: int = 0, size: int = 300) -> InnerRequest:
    lines = ((b"content-type", b"image/png"), (b"date", write_date(time.time())))
    body = random.Random(number).randbytes(size)
    return InnerRequest("POST", "/v1/detect", lines, body, authority="gateway")


def envelopes(keys) -> list[tuple[bool, bytes]]:
    """One of each suite, whole and chunked, and a chunked one of several chunks."""
    made = []
    for key, aead_id, chunked in itertools.product(keys, hpke.AEADS, (False, True)):
        wrapper = OhttpWrapper(key.config, aead_id=aead_id, chunk_above=0 if chunked else None)
        made.append((chunked, b"".join(wrapper.wrap(request(aead_id)).body)))
    several = OhttpWrapper(keys[0].config, chunk_above=0).wrap(request(size=40_000))
    made.append((True, b"".join(several.body)))
    return made


def flip(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_byte(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] = rng.choice([0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF])
    return bytes(changed)


def cut(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(data))
    return rng.choice([data[:at], data[at + 1 :], data[:at] + data[at + rng.randrange(1, 40) :]])


def insert(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = rng.choice([0, 7, len(data), rng.randrange(len(data))])
    return data[:at] + rng.choice([b"\0", rng.randbytes(1), rng.randbytes(16), data[at : at + 16]]) + data[at:]


def splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    at, begin = rng.randrange(len(data)), rng.randrange(len(other))
    return rng.choice([data[:at] + other[at:], data[:7] + other[7:], data[:39] + other[39:], data[:at] + other[begin:]])


def head(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(7)
    return data[:at] + bytes([rng.choice([0, 1, 2, 3, 0x20, 0x7A, 0x64, 0xFF])]) + data[at + 1 :]


def length(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Put an integer where the length of the first chunk stands, or may stand."""
    at = rng.choice([39, 1127])
    value = rng.choice([0, 1, 16, 17, 63, 64, len(data), 16_384, 16_400, 65_552, 65_553, 2**30, 2**62 - 1])
    form = rng.choice([b"", b"\xc0" + bytes(6)])
    return data[:at] + form + varint.encode(value) + data[at + rng.choice([0, 1, 2, 4]) :]


def swap(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    c = rng.randrange(b, len(data) + 1)
    return data[:a] + data[b:c] + data[a:b] + data[c:]


MUTATIONS: list[Callable[[random.Random, bytes, list[bytes]], bytes]] = [
    flip, set_byte, cut, insert, splice, head, length, swap,
]  # fmt: skip


def mutants(seed: int, originals: list[tuple[bool, bytes]]) -> Iterator[tuple[bool, bytes]]:
    """(chunked, body) without end: each original changed in one to three ways, now and then sent as the other kind."""
    rng = random.Random(seed)
    others = [body for _, body in originals]
    while True:
        chunked, original = rng.choice(originals)
        body = original
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            body = rng.choice(MUTATIONS)(rng, body, others) or b"\0"
        if rng.random() < 0.05:
            chunked = not chunked
        if body not in others:
            yield chunked, body


class Forgetful(MemoryReplay):
    """Has seen nothing, ever: what does not authenticate must be refused without the help of the memory of replays."""

    def reserve(self, key_id: str, token: bytes, until: float | None) -> bool:
        return True


def test_ten_thousand_tampered_envelopes_are_refused_alike(service, monkeypatch):
    """The one exception: the draft leaves open in which form the length of a chunk is written. What then gets in is the
    message that was sent, to the byte, and it does so once."""
    originals = envelopes(service.keys)
    bodies = {request(aead_id).body for aead_id in hpke.AEADS} | {request(size=40_000).body}
    broken, unknown = refusal(BROKEN), refusal(UNKNOWN_KEY)
    in_use = {(key.config.number, key.config.kem_id) for key in service.keys}
    counts: Counter[str] = Counter()
    respelled: list[bytes] = []

    async def send_all() -> None:
        rng = random.Random(1)
        for chunked, body in itertools.islice(mutants(0, originals), 10_000):
            service.let_in.clear()
            answer = await service.post(body, KINDS[chunked].request_type, pieces=rng.choice([1, 1, 2, 5]))
            if service.let_in:
                assert chunked and set(service.let_in) <= bodies and not {body} & {one for _, one in originals}
                respelled.append(body)
                continue
            assert answer in (broken, unknown), body.hex()
            counts["unknown" if answer == unknown else "broken"] += 1
            if answer == unknown:
                assert (body[0], int.from_bytes(body[1:3], "big")) not in in_use

    async def send_again() -> None:
        for chunked, body in originals:
            assert (await service.post(body, KINDS[chunked].request_type))[0] == 200
        for body in respelled:
            assert await service.post(body, CHUNKED.request_type) == broken

    with monkeypatch.context() as patch:
        patch.setattr(service.gate, "_replay", Forgetful(time.time))
        anyio.run(send_all)
    anyio.run(send_again)
    assert counts.total() + len(respelled) == 10_000 and len(respelled) < 100
    assert counts["unknown"] > 100 and counts["broken"] > 9_000
    assert not any(secret in broken[2] + unknown[2] for secret in SECRETS)


# Messages that are sealed rightly and are no binary HTTP, or that hold no picture.


def mutated_messages(seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    lines = ((b"content-type", b"image/png"), (b"x-a", b"1"))
    known = bhttp.encode_request(InnerRequest("POST", "/v1/detect?model=coco", lines, PICTURE, authority="gateway"))
    in_pieces = known.replace(b"\0", b"\2", 1)  # the other framing: the lengths of the sections stand where none belong
    others = [known, in_pieces, bhttp.encode_request(InnerRequest("GET", "/v1/models")), b"\1\x40\xc8\0\0\0"]
    while True:
        body = rng.choice(others)
        for _ in range(rng.choice([1, 1, 2])):
            body = rng.choice([flip, set_byte, cut, insert, splice, swap])(rng, body, others) or b"\0"
        yield body


def mutated_requests(seed: int) -> Iterator[InnerRequest]:
    """Well-formed requests with broken pictures, odd headers, targets and methods."""
    rng = random.Random(seed)
    pictures = [PICTURE, encoded(squares(), "JPEG"), encoded(squares(cat=(9, 9)), "WEBP")]
    types = [
        b"image/png",
        b"image/jpeg",
        b"image/webp",
        b"image/gif",
        b"multipart/form-data; boundary=x",
        b"",
        b"\xff",
        b"a/b;",
    ]
    targets = [
        "/v1/detect",
        "/v1/detect?threshold=nan",
        "/v1/detect?model=%00",
        "/v1/%64etect",
        "/v1/../ohttp",
        "/v1//",
        "/v1/detect?" + "a&" * 3000,
    ]
    names = [
        b"content-length",
        b"expect",
        b"host",
        b"authorization",
        b"x-forwarded-for",
        b"content-encoding",
        b"accept",
        b"cookie",
    ]
    while True:
        picture = rng.choice(pictures)
        for _ in range(rng.choice([0, 1, 2])):
            picture = rng.choice([flip, set_byte, cut, insert, splice, swap])(rng, picture, pictures) or b"\0"
        lines = [
            (b"content-type", rng.choice(types)),
            (rng.choice(names), rng.choice([b"", b"0", b"x" * 5000, b"\xff", b"100-continue"])),
        ]
        if rng.random() < 0.7:
            lines, target, method = lines[:1] and [(b"content-type", rng.choice(types[:3]))], "/v1/detect", "POST"
        else:
            target, method = (
                rng.choice(targets),
                rng.choice(["POST", "GET", "PUT", "HEAD", "OPTIONS", "post", "BREW", "CONNECT"]),
            )
        yield InnerRequest(method, target, tuple(lines), picture, authority="gateway")


def sealed_for(key, plain: bytes, chunked: bool) -> tuple[bytes, hpke.Context, bytes]:
    """(envelope, HPKE's context, enc) around any bytes."""
    suite = hpke.Suite(key.config.kem_id, *key.config.suites[0])
    start = bytes([key.config.number]) + suite.ids
    enc, context = hpke.sender(suite, key.config.public_key, KINDS[chunked].info(start))
    sealed = context.messages.seal(plain, b"final" if chunked else b"")
    return start + enc + (b"\0" if chunked else b"") + sealed, context, enc


def opened_answer(chunked: bool, context, enc: bytes, answer: bytes):
    opening = _AnswerOpening(KINDS[chunked], context, enc)
    opening.feed(answer)
    return opening.finish()


@pytest.fixture(scope="module")
def whole_service(settings, make_app, tmp_path_factory) -> Iterator[Service]:
    """The whole application, sealed requests only; refusals leave after a millisecond, so that thousands pass."""
    folder = tmp_path_factory.mktemp("whole") / "keys"
    service = Service(settings, folder)
    sealing = settings.sealing.model_copy(update={"keys": folder, "refusal_step_ms": 1})
    service.sealed = make_app(settings.model_copy(update={"sealing": sealing, "allow_plaintext": False}))
    return service


def headed(response) -> tuple[int, bytes]:
    return response[0], response[2]


def test_two_thousand_tampered_envelopes_at_the_whole_application(whole_service, portal):
    originals = envelopes(whole_service.keys)

    async def send_all() -> set[tuple[int, tuple[tuple[bytes, bytes], ...], bytes]]:
        for chunked, body in originals:
            await whole_service.post(body, KINDS[chunked].request_type)
        seen = set()
        for chunked, body in itertools.islice(mutants(2, originals), 2_000):
            status, headers, answer = await whole_service.post(body, KINDS[chunked].request_type)
            seen.add((status, tuple(headers), answer))
        return seen

    seen = portal.call(send_all)
    assert {(status, body) for status, _, body in seen} == {headed(refusal(BROKEN)), headed(refusal(UNKNOWN_KEY))}
    assert len(seen) == 2  # headers included


def test_sealed_messages_that_are_no_requests_are_refused_as_broken_seals(whole_service, portal):
    """What authenticates and is no binary HTTP is refused like garbage; what still is gets a sealed answer, never a 5xx."""
    counts: Counter[int] = Counter()

    async def send_all() -> None:
        rng = random.Random(3)
        for plain in itertools.islice(mutated_messages(4), 1_500):
            key, chunked = rng.choice(whole_service.keys), rng.random() < 0.5
            body, context, enc = sealed_for(key, plain, chunked)
            answer = await whole_service.post(body, KINDS[chunked].request_type)
            try:
                bhttp.decode_request(plain)
            except SealBroken:
                assert headed(answer) == headed(refusal(BROKEN)), plain.hex()
                counts[0] += 1
                continue
            inner = opened_answer(chunked, context, enc, answer[2])
            counts[inner.status] += 1
            assert inner.status < 500, plain.hex()
            assert not any(secret in inner.body for secret in SECRETS), inner.body

    portal.call(send_all)
    assert counts[0] > 500 and counts.total() - counts[0] > 100


def test_sealed_requests_with_broken_pictures_are_answered(whole_service, portal):
    counts: Counter[int] = Counter()

    async def send_all() -> None:
        rng = random.Random(5)
        for inner in itertools.islice(mutated_requests(6), 500):
            key, chunked = rng.choice(whole_service.keys), rng.random() < 0.5
            body, context, enc = sealed_for(key, bhttp.encode_request(inner), chunked)
            answer = await whole_service.post(body, KINDS[chunked].request_type)
            if headed(answer) == headed(refusal(BROKEN)):
                counts[0] += 1
                continue
            found = opened_answer(chunked, context, enc, answer[2])
            counts[found.status] += 1
            assert found.status < 500, inner
            if found.status >= 400:
                assert not any(secret in found.body for secret in SECRETS), found.body
                assert json.loads(found.body or b'{"status": 405}')["status"] == found.status

    portal.call(send_all)
    assert counts[200] > 20 and counts[415] > 20 and counts[422] > 20


# When a refusal leaves, by an injected clock.

CHUNKED_TYPE = CHUNKED.request_type


def refused_in_every_way(service) -> dict[str, dict[str, object]]:
    """What `post` takes, by the step that fails."""
    key = service.keys[0]
    wrapper = OhttpWrapper(key.config)
    good = b"".join(wrapper.wrap(request()).body)
    chunked = b"".join(OhttpWrapper(key.config, chunk_above=0).wrap(request(size=50_000)).body)
    undated = b"".join(wrapper.wrap(replace(request(), headers=((b"date", b"never"),))).body)
    return {
        "nothing": {"body": b""},
        "head cut": {"body": good[:5]},
        "enc cut": {"body": good[:20]},
        "unknown suite": {"body": good[:3] + b"\0\3" + good[5:]},
        "small order": {"body": good[:7] + bytes(32) + good[39:]},
        "tag": {"body": good[:-1] + bytes([good[-1] ^ 1])},
        "first chunk": {"body": chunked[:60] + bytes([chunked[60] ^ 1]) + chunked[61:], "content_type": CHUNKED_TYPE},
        "last chunk": {"body": chunked[:-1] + bytes([chunked[-1] ^ 1]), "content_type": CHUNKED_TYPE},
        "no binary HTTP": {"body": sealed_for(key, b"garbage", False)[0]},
        "date": {"body": undated},
        "too large": {"body": good + bytes(service.sealed._max_bytes)},
        "far too large": {"body": good + bytes(service.sealed._max_bytes + 2000)},
        "media type": {"body": good, "content_type": "image/png"},
        "method": {"body": good, "method": "PUT"},
        "query": {"body": good, "query": b"x"},
        "hung up": {"body": good, "ends": False},
        "unknown key": {"body": bytes([255]) + good[1:]},
        "replay": {"body": good},
    }


@pytest.mark.parametrize("took_s", [0.0, 0.0004, 0.0099, 0.01, 0.0101, 0.0723])
def test_refusals_leave_at_whole_steps_after_the_end_of_the_request(service, monkeypatch, took_s):
    """Whatever failed, and however long finding out took: what can be seen is the number of steps."""
    step_s = service.gate.settings.refusal_step_ms / 1000
    cases = refused_in_every_way(service)
    good = cases["replay"]["body"]
    ticks = itertools.cycle([100.0, 100.0 + took_s])

    async def send_all() -> None:
        ok = await service.post(good, WHOLE.request_type)
        assert ok[0] == 200
        monkeypatch.setattr(service.sealed, "_clock", lambda: next(ticks))
        for name, case in cases.items():
            service.waits.clear()
            answer = await service.post(**{"content_type": WHOLE.request_type, **case})
            assert answer == (refusal(UNKNOWN_KEY) if name == "unknown key" else refusal(BROKEN)), name
            (wait,) = service.waits
            steps = (took_s + wait) / step_s
            assert steps == pytest.approx(round(steps)) and round(steps) >= 1 and 0 <= wait <= step_s + 1e-9, name

    anyio.run(send_all)


def test_a_refusal_waits_for_the_end_of_the_body(service):
    """What is wrong in the first bytes is told after the last ones, and not before."""
    good = b"".join(OhttpWrapper(service.keys[0].config).wrap(request()).body)
    left = [5]

    async def send_slowly() -> list[dict[str, object]]:
        answer: list[dict[str, object]] = []

        async def receive():
            assert not answer
            left[0] -= 1
            return {"type": "http.request", "body": b"\xff" * 100 + good, "more_body": left[0] > 0}

        async def send(message):
            answer.append(message)

        scope = {"type": "http", "method": "POST", "path": "/ohttp", "raw_path": b"/ohttp", "query_string": b"", "state": {},
                 "headers": [(b"content-type", WHOLE.request_type.encode())]}  # fmt: skip
        await service.sealed(scope, receive, send)
        return answer

    assert anyio.run(send_slowly)[0]["status"] == 400 and left == [0]


def test_waiting_refusals_keep_nobody_from_being_served(settings, tmp_path):
    """More refused requests than there are threads wait for their step, and a good one passes them."""
    service = Service(settings, tmp_path / "keys")
    release = anyio.Event()

    async def run() -> int:
        async def sleep(_: float) -> None:
            await release.wait()

        service.sealed._sleep = sleep
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(service.post, b"garbage", WHOLE.request_type)
            await anyio.sleep(0.01)
            good = b"".join(OhttpWrapper(service.keys[0].config).wrap(request()).body)
            with anyio.fail_after(10):
                status, _, _ = await service.post(good, WHOLE.request_type)
            release.set()
        return status

    assert anyio.run(run) == 200


def test_keys_that_vanish_under_way_are_a_failure_that_tells_nothing(settings, make_app, portal, tmp_path):
    """Nothing is opened with what was in memory, and neither folder nor error is named."""
    sealing = settings.sealing.model_copy(update={"keys": tmp_path / "keys"})
    service = Service(settings, tmp_path / "keys")
    service.sealed = make_app(settings.model_copy(update={"sealing": sealing, "allow_plaintext": False}))
    good = b"".join(OhttpWrapper(service.keys[0].config).wrap(request()).body)
    shutil.rmtree(tmp_path / "keys")
    time.sleep(1.1)  # the folder is looked into once a second
    for path, method in (("/ohttp", "POST"), ("/ohttp-keys", "GET")):
        status, _, body = portal.call(lambda p=path, m=method: service.post(good, WHOLE.request_type, path=p, method=m))
        assert status == 500 and json.loads(body)["type"].endswith("#internal-server-error")
        assert not any(secret in body for secret in (b"Traceback", b".py", b"folder", b"ConfigError", b"keys"))
