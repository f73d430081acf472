"""How much requests may hold, how slowly they may arrive and how many there may be, through the whole application."""

from __future__ import annotations

import json
import time

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import Response

from safelight.errors import Overloaded, SafelightError
from safelight.images import ImageLimits
from safelight.sealing.dates import write_date
from safelight.sealing.keys import gateway_keys
from safelight.sealing.keystore import KeyStore
from safelight.sealing.messages import InnerRequest
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.framing import WHOLE
from serving.privacy.context import open_context
from serving.privacy.gate import Gate
from serving.privacy.intake import Intake
from serving.privacy.refusals import BROKEN
from serving.privacy.sealed import Sealed
from serving.resilience.memory import Budget
from serving.resilience.pace import Pace
from tests.serving.conftest import encoded, squares

PICTURE = encoded(squares(person=(8, 8)))
SEALED = WHOLE.request_type


class Sender:
    """One request to an application whose body comes when the test says so. answer: what came back."""

    def __init__(self, app, content_type="image/png", path="/v1/detect") -> None:
        self._app = app
        self._scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(),
            "query_string": b"", "root_path": "", "scheme": "http", "server": ("gateway", 80),
            "headers": [(b"content-type", content_type.encode())], "client": ("192.0.2.1", 1), "state": {},
        }  # fmt: skip
        self._more, self._body = anyio.create_memory_object_stream(100)
        self.reads = 0
        self.messages: list[dict] = []
        self.done = anyio.Event()

    async def run(self) -> None:
        async def receive():
            self.reads += 1
            return await self._body.receive()

        async def send(message) -> None:
            self.messages.append(message)

        await self._app(self._scope, receive, send)
        self.done.set()

    async def say(self, data: bytes, more: bool = True) -> None:
        self._more.send_nowait({"type": "http.request", "body": data, "more_body": more})
        await settle()

    async def hang_up(self) -> None:
        self._more.send_nowait({"type": "http.disconnect"})
        await settle()

    async def answered(self) -> None:
        with anyio.fail_after(10):
            await self.done.wait()

    @property
    def status(self) -> int:
        return self.messages[0]["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def content(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def problem(self) -> dict:
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.content)
        assert problem["status"] == self.status and problem["request_id"] == self.headers["x-request-id"]
        return problem


async def settle() -> None:
    for _ in range(20):
        await anyio.sleep(0)


@pytest.fixture(scope="module")
def small(settings, tmp_path_factory):
    """Pictures of 100 kB, half a megabyte for all, five requests, 0.3 s of grace."""
    limits = {"max_bytes": 100_000, "memory_bytes": 500_000, "requests": 5, "body_grace_s": 0.3,
              "body_min_bytes_per_s": 10_000}  # fmt: skip
    sealing = settings.sealing.model_copy(update={"keys": tmp_path_factory.mktemp("bounds") / "keys"})
    changed = {"limits": settings.limits.model_copy(update=limits), "sealing": sealing}
    return settings.model_copy(update=changed)


@pytest.fixture(scope="module")
def app(small, make_app):
    return make_app(small)


@pytest.fixture(scope="module")
def key(small, app):
    return gateway_keys(KeyStore(small.sealing.keys, time.time).in_use())[0].config


def envelope(key, size=0):
    lines = ((b"content-type", b"image/png"), (b"date", write_date(time.time())))
    request = InnerRequest("POST", "/v1/detect", lines, PICTURE + bytes(size), authority="gateway")
    return b"".join(OhttpWrapper(key).wrap(request).body)


def together(portal, main, *senders):
    async def run():
        async with anyio.create_task_group() as group:
            for sender in senders:
                group.start_soon(sender.run)
            await settle()
            await main()
            group.cancel_scope.cancel()

    portal.call(run)


def test_what_does_not_fit_is_told_to_come_back_and_fits_once_others_are_answered(portal, app):
    holders = [Sender(app, SEALED, "/ohttp") for _ in range(3)]
    refused, later = Sender(app), Sender(app)

    async def main():
        for holder in holders:
            await holder.say(bytes(160_000))  # 480,000 of 500,000 bytes are held now
        await refused.say(bytes(30_000))
        await refused.say(b"", more=False)
        await refused.answered()
        assert refused.problem["type"].endswith("#overloaded") and refused.problem["retryable"] is True
        assert refused.status == 503 and refused.headers["retry-after"] == "1"
        await holders[0].say(b"", more=False)
        await holders[0].answered()
        await later.say(PICTURE, more=False)
        await later.answered()
        assert later.status == 200

    together(portal, main, *holders, refused, later)


def test_an_envelope_that_does_not_fit_is_refused_alike_whatever_is_wrong_with_it(portal, app, key):
    """Good, tampered with, sent before, garbage: with the same sizes the same answer, so that no load tells them apart."""
    good = envelope(key, 60_000)
    cases = {"good": good, "tag": good[:-1] + bytes([good[-1] ^ 1]), "key": bytes([good[0] ^ 1]) + good[1:],
             "suite": good[:3] + b"\xff\xff" + good[5:], "garbage": bytes(len(good))}  # fmt: skip
    answers = {}
    for split in (1000, len(good)):
        for name, body in cases.items():
            holders = [Sender(app, SEALED, "/ohttp") for _ in range(3)]
            sender = Sender(app, SEALED, "/ohttp")

            async def main(holders=holders, sender=sender, name=name, body=body, split=split):
                for holder in holders:
                    await holder.say(bytes(140_000))  # 80,000 are left: it fits, and opening it does not
                await sender.say(body[:split])
                await sender.say(body[split:], more=False)
                await sender.answered()
                problem = {k: v for k, v in sender.problem.items() if k != "request_id"}
                answers[split, name] = (sender.status, len(sender.messages), problem)

            together(portal, main, *holders, sender)
    assert len({str(answer) for answer in answers.values()}) == 1 and answers[1000, "good"][0] == 503
    fresh = Sender(app, SEALED, "/ohttp")

    async def again():
        await fresh.say(good, more=False)
        await fresh.answered()
        assert fresh.status == 200 and fresh.headers["content-type"] == WHOLE.response_type

    together(portal, again, fresh)  # nothing was opened, so nothing was noted as seen


def test_a_body_that_dribbles_is_refused_after_the_grace(portal, app, key):
    dribbler, sealed, patient = Sender(app), Sender(app, SEALED, "/ohttp"), Sender(app)
    good = envelope(key)

    async def main():
        begun = time.perf_counter()
        await sealed.say(good[:50])
        await dribbler.say(PICTURE[:20])
        for _ in range(6):
            await patient.say(bytes(1000))
            await anyio.sleep(0.1)
        await dribbler.say(b"", more=False)  # what Boundary waits for before it answers
        await dribbler.answered()
        assert dribbler.status == 408 and dribbler.problem["type"].endswith("#body-too-slow")
        await sealed.answered()
        assert sealed.status == 400 and sealed.content == BROKEN.body
        assert 0.3 <= time.perf_counter() - begun < 5
        assert not patient.done.is_set()  # 10,000 bytes a second are enough

    together(portal, main, dribbler, sealed, patient)


def test_one_request_too_many_is_refused_unread(portal, app):
    crowd, one_more = [Sender(app) for _ in range(5)], Sender(app)

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(one_more.run)
            await one_more.answered()
        assert one_more.reads == 0 and one_more.status == 503 and one_more.headers["retry-after"] == "1"
        assert one_more.problem["type"].endswith("#overloaded")
        assert "content-security-policy" in one_more.headers
        again = Sender(app)
        await crowd[0].say(PICTURE, more=False)
        await crowd[0].answered()
        assert crowd[0].status == 200
        async with anyio.create_task_group() as group:
            group.start_soon(again.run)
            await again.say(PICTURE, more=False)
            await again.answered()
        assert again.status == 200

    together(portal, main, *crowd)


ENDINGS = {
    "good": [(PICTURE, False)],
    "garbage": [(PICTURE[:60], False)],
    "too large": [(bytes(60_000), True), (bytes(60_000), True), (bytes(200_000), True), (b"", False)],
    "no room": [(bytes(60_000), True), (bytes(40_000), False)],
    "hung up": [(bytes(1000), True), (None, False)],
    "too slow": [(bytes(10), True)],
    "cancelled": [(bytes(1000), True)],
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_room_is_given_back_however_requests_end(portal, small, app, key, sealed, ending):
    budget, pace = Budget(80_000 if ending == "no room" else 500_000), Pace(30, 10_000, 0.3)
    inner = opening(small, budget, pace) if sealed else taking(small, budget, pace)
    sender = Sender(inner, SEALED if sealed else "image/png", "/ohttp" if sealed else "/v1/detect")
    most = [0]

    async def main():
        pieces = [(envelope(key), False)] if sealed and ending == "good" else ENDINGS[ending]
        for data, more in pieces:
            await (sender.hang_up() if data is None else sender.say(data, more))
            most[0] = max(most[0], budget.held)
        if ending != "cancelled":
            await sender.answered()
            assert sender.status == expected(ending, sealed)

    together(portal, main, sender)
    assert most[0] <= budget.max_bytes and budget.held == 0
    assert most[0] > 0 or ending in ("good", "garbage")  # those are answered before one can look


def expected(ending, sealed) -> int:
    if ending == "good" or (ending == "garbage" and not sealed):  # the intake looks at no picture
        return 200
    return 503 if ending == "no room" else 400


def taking(settings, budget, pace):
    """An application that takes a picture in and answers 200, 503 when there is no room, and 400 to all else."""
    images = ImageLimits(settings.limits.max_bytes, 10**6, settings.limits.media_types, 4096)
    intake = Intake(images, pace=pace, budget=budget)

    async def app(scope, receive, send):
        open_context(scope, "0" * 32)
        status = 200
        try:
            async with intake.taking(Request(scope, receive)) as upload:
                assert budget.held == len(upload.data)
        except SafelightError as error:
            status = 503 if isinstance(error, Overloaded) else 400
        await Response(status_code=status)(scope, receive, send)

    return app


def opening(settings, budget, pace):
    """What opens envelopes, in front of an application that answers 200."""
    gate = Gate(settings, now=time.time)
    gate.load()

    async def app(scope, receive, send):
        assert budget.held == len((await receive())["body"])
        await Response(status_code=200)(scope, receive, send)

    limits = {"max_bytes": 2 * settings.limits.max_bytes, "linger_bytes": 200_000, "pace": pace, "budget": budget}
    return Sealed(app, gate, **limits, clock=time.perf_counter, new_id=lambda: "0" * 32)


def test_a_deadline_moves_with_what_has_arrived():
    pace = Pace(within_s=30, bytes_per_s=100, grace_s=5)
    assert [pace.deadline(1000, received) for received in (0, 100, 2500, 10**9)] == [1005, 1006, 1030, 1030]
