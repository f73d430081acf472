"""What the service writes into its audit log, and that nothing is answered which is not written there."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from safelight.audit import read_public_key, verify
from safelight.errors import AuditUnavailable, ConfigError
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.api.readiness import Readiness
from serving.models.loading import catalogue_of
from serving.privacy.audit import Audit, Trail
from serving.privacy.context import Seal, sealed_scope
from serving.privacy.record import Record, open_record, record_of
from serving.settings import load_settings
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares
from tests.serving.test_bad_bodies import assert_problem
from tests.serving.test_sealed import call, request, send

PICTURE = encoded(squares(person=(8, 8)))
FIELDS = {"id", "route", "method", "protocol", "key_id", "status", "model", "digest", "refusal", "caller",
          "bytes_in", "bytes_out", "duration_ms", "complete"}  # fmt: skip


class Book:
    """A sink in memory that can be out of order."""

    def __init__(self) -> None:
        self.lines: list[Mapping[str, Any]] = []
        self.checking = self.writing = True

    def check(self) -> None:
        if not self.checking:
            raise AuditUnavailable("a test")

    def append(self, fields: Mapping[str, Any]) -> None:
        if not self.writing:
            raise AuditUnavailable("a test")
        self.lines.append(fields)


@pytest.fixture(scope="module")
def module_book() -> Book:
    return Book()


@pytest.fixture(scope="module")
def audited(settings, make_client, module_book) -> httpx.Client:
    return make_client(settings, audit=module_book)


@pytest.fixture
def book(module_book: Book) -> Book:
    module_book.lines.clear()
    return module_book


def only(book: Book) -> dict[str, Any]:
    (line,) = book.lines
    assert set(line) == FIELDS
    return dict(line)


def test_an_answered_request(audited, book):
    answer = audited.post("/v1/detect?model=coco", content=PICTURE, headers={"content-type": "image/png"})
    line = only(book)
    told = answer.json()
    assert line.pop("duration_ms") > 0
    assert line == {
        "id": told["request_id"], "route": "/v1/detect", "method": "POST", "protocol": "plain", "key_id": None,
        "status": 200, "model": "coco", "digest": told["model"]["digest"], "refusal": None, "caller": None,
        "bytes_in": len(PICTURE), "bytes_out": len(answer.content), "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("POST", "/v1/detect", 400, {"route": "/v1/detect", "refusal": "empty-body"}),
        ("POST", "/v1/detect?secret=1", 400, {"refusal": "invalid-option"}),
        ("GET", "/v1/detect", 405, {"method": "GET", "refusal": "method-not-allowed"}),
        ("GET", "/v1/secret-canary/photo.jpg", 404, {"route": "unknown", "refusal": "not-found"}),
        ("SECRET", "/v1/detect", 405, {"method": "unknown", "route": "/v1/detect"}),
        ("GET", "/ohttp-keys", 200, {"route": "/ohttp-keys", "refusal": None}),
        ("POST", "/ohttp-keys", 405, {"refusal": "method-not-allowed"}),
    ],
)
def test_a_refused_request_is_named_by_our_words_only(audited, book, method, path, status, expected):
    answer = audited.request(method, path, headers={"x-request-id": "secret", "user-agent": "secret"})
    line = only(book)
    assert answer.status_code == line["status"] == status
    assert line | expected == line
    assert line["model"] is None and "secret" not in json.dumps(line).lower()


@pytest.fixture
def wrapper(audited, book) -> OhttpWrapper:
    wrapper = OhttpWrapper(decode_keys(audited.get("/ohttp-keys").content)[0])
    book.lines.clear()
    return wrapper


def test_a_sealed_request_is_known_by_what_is_inside(audited, book, wrapper):
    outgoing = wrapper.wrap(request())
    body = b"".join(outgoing.body)
    answer = send(audited, outgoing, body)
    line = only(book)
    assert (line["route"], line["method"], line["status"], line["protocol"]) == ("/v1/detect", "POST", 200, "ohttp")
    assert line["key_id"] and line["model"] == "coco"
    assert (line["bytes_in"], line["bytes_out"]) == (len(body), len(answer.content))
    book.lines.clear()
    again = send(audited, outgoing, body)
    line = only(book)
    assert again.status_code == line["status"] == 400
    assert (line["route"], line["refusal"]) == ("/ohttp", "seal-broken")


def test_a_sealed_refusal_is_recorded_with_the_status_inside(audited, book, wrapper):
    assert call(audited, wrapper, request(body=b"no image")).status == 415
    line = only(book)
    assert (line["status"], line["refusal"], line["protocol"]) == (415, "not-an-image", "ohttp")
    for inner, status, refusal in [(request("/elsewhere"), 404, "not-found"), (request(date=1.0), 400, "date")]:
        book.lines.clear()
        assert call(audited, wrapper, inner).status == status
        line = only(book)
        assert (line["status"], line["refusal"], line["protocol"]) == (status, refusal, "ohttp")


def test_what_does_not_open_is_recorded_as_such(audited, book):
    audited.post("/ohttp", content=b"junk", headers={"content-type": "message/ohttp-req"})
    line = only(book)
    assert (line["protocol"], line["key_id"], line["id"], line["status"]) == ("unopened", None, None, 400)


def test_nothing_is_read_or_answered_while_nothing_can_be_written(audited, book):
    book.checking = False
    try:
        answer = audited.post("/v1/detect", content=PICTURE)
    finally:
        book.checking = True
    problem = assert_problem(answer, 503, "audit-unavailable")
    assert problem["retryable"] is True and answer.headers["retry-after"] and book.lines == []
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_answer_that_cannot_be_recorded_is_not_given(audited, book):
    book.writing = False
    try:
        answer = audited.post("/v1/detect", content=PICTURE)
    finally:
        book.writing = True
    assert_problem(answer, 503, "audit-unavailable")
    assert "annotations" not in answer.text


def exchange(app: Any, book: Book, scope: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    """The messages that leave an application behind `Audit`."""
    ticks = itertools.count()
    audit = Audit(app, book, routes=["/known"], clock=lambda: float(next(ticks)), new_id=lambda: "f" * 32)
    sent: list[Mapping[str, Any]] = []

    async def receive() -> Mapping[str, Any]:
        return {"type": "http.request", "body": b"12345", "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(audit(scope or {"type": "http", "method": "GET", "path": "/known", "headers": []}, receive, send))  # type: ignore[arg-type]
    return sent


def parts(*bodies: bytes, finish: bool = True) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if finish:
            await send({"type": "http.response.body", "body": b"end"})

    return app


def test_a_streamed_answer_is_counted_and_its_end_waits_for_the_record():
    book = Book()
    sent = exchange(parts(b"one", b"two"), book)
    assert [message.get("body") for message in sent] == [None, b"one", b"two", b"end"]
    assert (only(book)["bytes_in"], only(book)["bytes_out"], only(book)["complete"]) == (5, 9, True)
    book.writing = False
    sent = exchange(parts(b"one", b"two"), book)
    assert [message.get("body") for message in sent] == [None, b"one", b"two"]  # the server cuts it off
    sent = exchange(parts(), book)
    assert [message.get("status") for message in sent] == [503, None]


def test_an_answer_without_end_is_recorded_as_such():
    book = Book()
    exchange(parts(b"one", finish=False), book)
    assert (only(book)["complete"], only(book)["status"]) == (False, 200)


@pytest.mark.parametrize("begun", [False, True])
def test_a_mistake_in_an_outer_layer_says_nothing(begun, capfd):
    book = Book()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await parts(b"one", finish=False)(scope, receive, send)
        raise ValueError("secret payload")

    sent = exchange(app, book)
    line = only(book)
    assert (line["status"], line["complete"]) == ((200, False) if begun else (500, True))
    assert next(message.get("status") for message in sent) == (200 if begun else 500)
    assert "secret" not in repr(sent) and "secret" not in "".join(capfd.readouterr())


def test_a_request_that_is_given_up_is_recorded():
    book = Book()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        exchange(app, book)
    assert (only(book)["complete"], only(book)["status"]) == (False, None)


def test_what_is_no_http_passes():
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    assert exchange(app, Book(), {"type": "lifespan"}) == [] and seen == ["lifespan"]


def test_a_record_is_shared_by_inner_scopes_and_takes_names_only():
    scope = {"type": "http", "method": "POST", "path": "/v1/detect"}
    record = open_record(scope, {"/v1/detect"})
    inner = sealed_scope(scope, Seal("ohttp", "k"))
    assert record_of(inner) is record and record_of({}) is not record
    record.enter({"method": "GET\n", "path": "/other"}, "x y")
    record.protocol, record.key_id, record.model = "a sentence", "<script>", "m" * 300
    fields = record.fields()
    assert (fields["route"], fields["method"], fields["protocol"]) == ("unknown", "unknown", "unknown")
    assert fields["id"] is fields["key_id"] is fields["model"] is None
    assert record_of({"safelight.record": {"not": "ours"}}) == Record()


@pytest.fixture
def own(settings, tmp_path):
    """The settings with an audit log in a folder of this test."""
    audit = settings.audit.model_copy(
        update={"folder": tmp_path / "audit", "key": tmp_path / "audit.key", "checkpoint_every": 2, "fsync": False}
    )
    return settings.model_copy(update={"audit": audit})


def test_a_trail_from_start_to_end(own, tmp_path):
    Trail(own, now=time.time).rehearse()
    trail = Trail(own, now=time.time)
    assert trail.not_ready()
    with pytest.raises(AuditUnavailable):
        trail.check()
    trail.load()
    assert trail.not_ready() is None
    for number in range(5):
        trail.append({"id": f"{number}", "caller": "somebody" if number else None})
    trail.close()
    with pytest.raises(AuditUnavailable):
        trail.append({})
    assert trail.not_ready()
    report = verify(tmp_path / "audit", read_public_key(tmp_path / "audit.pub"), stopped=True)
    assert (report.records, report.faults, report.files) == (5, [], 1)
    text = "".join(path.read_text() for path in (tmp_path / "audit").iterdir())
    assert "somebody" not in text
    callers = [json.loads(line).get("caller") for line in text.splitlines() if '"request"' in line]
    assert callers[0] is None and len(set(callers[1:])) == 1 and len(callers[1]) == 16
    assert '"kind":"started"' in text and '"version":"0.1.0"' in text


def test_many_records_are_sealed_while_the_service_runs(own, tmp_path):
    trail = Trail(own, now=time.time)
    trail.load()
    deadline = time.monotonic() + 30
    while b'"checkpoint"' not in (tmp_path / "audit" / "index.jsonl").read_bytes():
        trail.append({"id": "0"})
        assert time.monotonic() < deadline
    trail.close()


def test_no_audit_log_is_said_by_name(own):
    off = own.model_copy(update={"audit": own.audit.model_copy(update={"folder": "none"})})
    trail = Trail(off, now=time.time)
    trail.rehearse()
    trail.load()
    trail.check()
    trail.append({})
    trail.close()
    assert load_settings(ROOT, {"SAFELIGHT_AUDIT__FOLDER": "none"}).audit.folder == "none"
    assert load_settings(ROOT, {"SAFELIGHT_AUDIT__FOLDER": "logs"}).audit.folder == ROOT / "logs"


def test_a_service_that_cannot_record_is_not_ready(settings):
    catalogue = catalogue_of(settings)
    catalogue.load()
    why = [None]
    readiness = Readiness(catalogue, {"audit log": lambda: why[0]})
    assert readiness.answer("0" * 32, tell=False).status_code == 200
    why[0] = "the disk is full"
    answer = readiness.answer("0" * 32, tell=True)
    assert answer.status_code == 503 and answer.media_type == "application/problem+json"
    audit, *_ = json.loads(answer.body)["components"]
    assert audit == {"name": "audit log", "ready": False, "needed": True, "reason": "the disk is full"}


@pytest.mark.parametrize("what", ["folder", "key", "index"])
def test_the_service_does_not_start_without_its_audit_log(own, tmp_path: Path, what):
    if what == "folder":
        (tmp_path / "audit").write_text("a file")
    elif what == "key":
        (tmp_path / "audit.key").write_text("junk")
        (tmp_path / "audit.key").chmod(0o600)
    else:
        (tmp_path / "audit").mkdir()
        (tmp_path / "audit" / "index.jsonl").write_text("{}\n")
    for start in (Trail(own, now=time.time).rehearse, Trail(own, now=time.time).load):
        with pytest.raises(ConfigError):
            start()
