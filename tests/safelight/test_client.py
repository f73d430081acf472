"""The client against scripted answers; tests/serving calls a real gateway with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import stamina

from safelight.client import ApiError, Client, Unreachable
from safelight.client.patience import Patience
from safelight.errors import ConfigError, SafelightError, SealBroken
from safelight.images import ImageLimits, decode
from safelight.sealing.keys import gateway_keys
from safelight.sealing.keystore import KeyStore
from safelight.sealing.ohttp.config import encode_keys

ANSWER = {
    "request_id": "0" * 32,
    "model": {"name": "coco", "version": "v1", "digest": "d" * 64},
    "counts": {"person": 1, "cat": 1},
    "annotations": [
        {
            "annotation_type": "bounding_box",
            "class_name": name,
            "confidence": confidence,
            "data": {"x_min": 1, "y_min": 2, "x_max": 3.5, "y_max": 4, "image_width": 20, "image_height": 10},
            "ordering": rank,
        }
        for rank, (name, confidence) in enumerate([("cat", 0.9), ("person", 0.5)])
    ],
    "timing_ms": {"decode": 1.0, "detect": 2.0, "total": 3.5},
}


class Gateway:
    """Answers every request alike and keeps the last one."""

    def __init__(self, status: int = 200, **answer: object) -> None:
        self.status, self.answer = status, answer or {"json": ANSWER}
        self.request = httpx.Request("GET", "http://none")

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        return httpx.Response(self.status, **self.answer)

    def client(self) -> Client:
        return Client("http://127.0.0.1", httpx.MockTransport(self), seal=None, attempts=1)


def test_an_answer_is_typed():
    gateway = Gateway()
    with gateway.client() as client:
        answer = client.detect(b"bytes")
    assert (
        gateway.request.method == "POST" and gateway.request.url.path == "/v1/detect" and not gateway.request.url.query
    )
    assert answer.model.name == "coco" and answer.counts == {"person": 1, "cat": 1} and len(answer) == 2
    cat = answer.annotations[0]
    assert (cat.class_name, cat.confidence, cat.box, cat.image_size) == ("cat", 0.9, (1, 2, 3.5, 4), (20, 10))
    assert json.loads(json.dumps(answer.to_dict())) == ANSWER


def test_an_answer_becomes_detections():
    answer = Gateway().client().detect(b"bytes")
    found = answer.detections(["person", "cat"], (20, 10))
    assert found.class_ids.tolist() == [1, 0] and found.image_size == (20, 10)
    assert found.counts(["person", "cat"]) == {"cat": 1, "person": 1}
    with pytest.raises(ValueError, match="not in list"):
        answer.detections(["dog"], (20, 10))


def test_nothing_found_is_an_answer():
    answer = Gateway(json={**ANSWER, "counts": {}, "annotations": []}).client().detect(b"bytes")
    assert len(answer) == 0 and len(answer.detections([], (20, 10))) == 0


def test_pictures_come_as_bytes_paths_or_pixels(tmp_path: Path, picture):
    gateway = Gateway()
    client = gateway.client()
    (tmp_path / "secret-name.png").write_bytes(b"a file")
    client.detect(tmp_path / "secret-name.png")
    assert gateway.request.content == b"a file" and "secret-name" not in str(gateway.request.headers)
    client.detect(picture)
    assert np.array_equal(decode(gateway.request.content, ImageLimits()), picture)


def test_options_go_into_the_query():
    gateway = Gateway()
    gateway.client().detect(b"x", model="tree-crowns", threshold=0.25, classes=["person", "traffic light"])
    assert dict(gateway.request.url.params) == {
        "model": "tree-crowns",
        "threshold": "0.25",
        "classes": "person,traffic light",
    }


def test_places_go_along_and_come_back_coarse():
    gateway = Gateway(json={**ANSWER, "location": {"geohash": "u33d"}})
    answer = gateway.client().detect(b"x", latitude=52.52, longitude=13.405, zip=None)
    assert dict(gateway.request.url.params) == {"latitude": "52.52", "longitude": "13.405"}
    assert answer.location == {"geohash": "u33d"}


def test_render_gives_the_bytes_of_the_picture():
    gateway = Gateway(content=b"PNG")
    assert gateway.client().render(b"x", model="coco") == b"PNG"
    assert dict(gateway.request.url.params) == {"model": "coco", "render": "png"}


def test_models_are_typed():
    waiting = {"name": "b", "state": "failed", "failure": "why", "labels": None, "added later": 1}
    ready = {"name": "a", "state": "ready", "failure": None, "version": "v1", "digest": "d", "labels": ["person"]}
    first, second = Gateway(json={"default": "a", "models": [ready, waiting]}).client().models()
    assert first.labels == ("person",) and first.failure is None
    assert second.failure == "why" and second.labels is None and second.version is None


def test_a_problem_becomes_an_error():
    problem = {
        "type": "/d#too-large",
        "title": "Too large",
        "status": 413,
        "detail": "Why.",
        "request_id": "1",
        "retryable": False,
    }
    gateway = Gateway(413, content=json.dumps(problem), headers={"content-type": "application/problem+json"})
    with pytest.raises(ApiError) as caught:
        gateway.client().detect(b"x")
    error = caught.value
    assert isinstance(error, SafelightError)
    assert (error.status, error.title, error.detail, error.retryable) == (413, "Too large", "Why.", False)
    assert (error.type, error.request_id, str(error)) == ("/d#too-large", "1", "413 Too large: Why.")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(b"<html>", "text/html"), (b"<", "application/problem+json"), (b"[]", "application/problem+json"), (b"", "")],
)
@pytest.mark.parametrize(("status", "retryable"), [(502, True), (503, True), (429, True), (500, False), (403, False)])
def test_a_proxys_page_becomes_an_error_too(content, media_type, status, retryable):
    with pytest.raises(ApiError) as caught:
        Gateway(status, content=content, headers={"content-type": media_type}).client().detect(b"x")
    assert caught.value.status == status and caught.value.retryable is retryable and caught.value.type is None


def test_no_answer_is_an_error_of_its_own():
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("CANARY")

    client = Client("http://127.0.0.1", httpx.MockTransport(broken), attempts=1)
    assert client.ready() is False
    with pytest.raises(Unreachable) as caught:
        client.models()
    assert caught.value.retryable and "CANARY" not in str(caught.value)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_readiness(status, ready):
    assert Gateway(status, content=b"\n").client().ready() is ready


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://10.0.0.1:3000", "http://0.0.0.0", "http://localhost.example.org"]
)
def test_neither_pictures_nor_keys_travel_in_the_clear(url):
    for seal in ("ohttp", None):
        with pytest.raises(ConfigError):
            Client(url, seal=seal)
    Client(url, pins=["0" * 64]).close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3000", "http://localhost", "http://[::1]:3000", "https://example.org"]
)
def test_this_machine_and_https_are_fine(url):
    Client(url).close()
    Client(url, seal=None).close()


@pytest.mark.parametrize(
    "options",
    [
        {"seal": "rot13"},
        {"seal": "aws-encryption-sdk"},
        {"seal": "aws-encryption-sdk", "keyring": object(), "relay": "https://relay.example"},
        {"seal": None, "relay": "https://relay.example"},
    ],
)
def test_what_cannot_seal_or_goes_past_the_relay_is_refused(options):
    with pytest.raises(ConfigError):
        Client("http://127.0.0.1", **options)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    stamina.set_testing(True, attempts=3, cap=True)
    yield
    stamina.set_testing(False)


@pytest.mark.parametrize(
    ("statuses", "calls", "answered"),
    [
        ([503, 503, 200], 3, True),
        ([429, 200], 2, True),
        ([503] * 4, 3, False),
        ([500, 200], 1, False),
        ([413], 1, False),
    ],
)
def test_what_may_pass_by_itself_is_tried_again(no_waiting, statuses, calls, answered):
    seen = []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        status = statuses[len(seen) - 1]
        return httpx.Response(status, json=ANSWER, headers={"retry-after": "0"})

    client = Client("http://127.0.0.1", httpx.MockTransport(gateway), seal=None)
    if answered:
        assert client.detect(b"x").counts
    else:
        with pytest.raises(ApiError):
            client.detect(b"x")
    assert seen == [b"x"] * calls


def test_the_key_of_the_caller_goes_along():
    gateway = Gateway()
    Client("http://127.0.0.1", httpx.MockTransport(gateway), seal=None, api_key="sl_x").detect(b"x")
    assert gateway.request.headers["authorization"] == "Bearer sl_x"


class Late:
    """A clock and a random number for `Patience`."""

    now, drawn = 100.0, 0.5

    def __call__(self) -> float:
        return self.now


def refused(**more: object) -> ApiError:
    return ApiError("", **{"status": 503, "title": "", "retryable": True, "type": None, "request_id": None, **more})  # type: ignore[arg-type]


def test_waits_are_what_the_service_asks_for_and_a_bit_more_of_each_clients_own() -> None:
    late = Late()
    patience = Patience(3, None, late, lambda: late.drawn)
    assert patience.wait(refused(retry_after_s=8)) == 9.0 and patience.left_s is None
    late.drawn = 0.0
    assert patience.wait(refused(retry_after_s=8)) == 8.0
    assert patience.wait(refused(retry_after_s=10_000)) == 30.0
    assert patience.wait(refused()) is True and patience.wait(Unreachable("")) is True
    for error in (refused(retryable=False, retry_after_s=1), ConfigError(""), SealBroken(), ValueError()):
        assert patience.wait(error) is False


def test_no_attempt_is_made_for_which_no_time_is_left() -> None:
    late = Late()
    patience = Patience(3, 5.0, late, lambda: 0.0)
    assert patience.wait(refused(retry_after_s=4)) == 4.0
    assert patience.wait(refused(retry_after_s=5)) is False
    late.now += 5
    assert patience.wait(refused()) is False and patience.left_s == 0.001


def test_a_deadline_travels_along_and_bounds_each_wait(no_waiting: None) -> None:
    seen = []

    def gateway(request: httpx.Request) -> httpx.Response:
        seen.append((int(request.url.params["timeout_ms"]), request.extensions["timeout"]["read"]))
        return httpx.Response(503 if len(seen) == 1 else 200, json=ANSWER, headers={"retry-after": "0"})

    client = Client("http://127.0.0.1", httpx.MockTransport(gateway), seal=None, deadline_s=20, timeout_s=60)
    assert client.detect(b"x").counts
    assert 19_000 < seen[1][0] <= seen[0][0] <= 20_000 and all(19 < read <= 20 for _, read in seen)


def test_every_attempt_is_sealed_anew(tmp_path: Path, no_waiting: None) -> None:
    store = KeyStore(tmp_path / "keys", time.time)
    store.ensure(["x25519"])
    (key,) = gateway_keys(store.in_use())
    bodies = []

    def gateway(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return httpx.Response(503, headers={"retry-after": "0"})

    network = httpx.MockTransport(gateway)
    with pytest.raises(ApiError):
        Client("http://127.0.0.1", network, keys=encode_keys([key.config])).detect(b"x")
    assert len(bodies) == 3 and len({body[7:39] for body in bodies}) == 3  # another ephemeral key each time
