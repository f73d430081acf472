"""What is counted of requests, and that nothing of what they say is."""

from __future__ import annotations

import time

import anyio
import pytest

from safelight.errors import AuditUnavailable
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.privacy.audit import Audit
from serving.privacy.record import UNKNOWN
from serving.telemetry.labels import NONE, PROTOCOLS, REFUSALS, STAGES, STATUS_CLASSES
from serving.telemetry.requests import Parent, parent_of
from tests.serving.conftest import encoded, squares
from tests.serving.test_sealed import call, request, send

PICTURE = encoded(squares(person=(8, 8)))


def requests(counted, route="/v1/detect", status="200", protocol="plain", refusal=NONE):
    return counted.value("safelight_requests_total", route=route, status=status, protocol=protocol, refusal=refusal)


def stage_count(counted, stage, model="coco"):
    return counted.value("safelight_stage_seconds_count", stage=stage, model=model)


def test_an_answer_is_counted_with_its_stages(counted):
    assert counted.client.post("/v1/detect", content=PICTURE).status_code == 200
    assert requests(counted) == 1
    assert {stage for stage in STAGES if stage_count(counted, stage)} == {
        "decode", "preprocess", "wait", "infer", "postprocess",
    }  # fmt: skip
    assert counted.value("safelight_request_seconds_count", route="/v1/detect", status_class="2xx") == 1
    whole = counted.value("safelight_request_seconds_sum", route="/v1/detect", status_class="2xx")
    parts = [counted.value("safelight_stage_seconds_sum", stage=stage, model="coco") for stage in STAGES]
    assert 0 < sum(parts) <= whole < 10
    assert counted.value("safelight_requests_in_flight") == 0


def test_the_stages_of_several_batches_are_one_time(counted):
    wide = encoded(squares(640, 64, person=(8, 8)))
    assert counted.client.post("/v1/detect?model=tree-crowns", content=wide).status_code == 200
    assert stage_count(counted, "infer", "tree-crowns") == 1
    assert counted.value("safelight_batch_size_sum", route="tree-crowns", member="tree-crowns") > 4


def test_refusals_are_counted_by_their_problem(counted):
    assert counted.client.post("/v1/detect", content=b"no picture").status_code == 415
    assert counted.client.post("/v1/detect?threshold=7", content=PICTURE).status_code == 400
    assert counted.client.get("/v1/detect").status_code == 405
    assert counted.client.get("/v1/models").status_code == 200
    assert requests(counted, status="415", refusal="not-an-image") == 1
    assert requests(counted, status="400", refusal="invalid-option") == 1
    assert requests(counted, status="405", refusal="method-not-allowed") == 1
    assert requests(counted, route="/v1/models") == 1
    assert counted.value("safelight_request_seconds_count", route="/v1/detect", status_class="4xx") == 3


@pytest.mark.parametrize("chunk_above", [None, 0])
def test_a_sealed_request_is_counted_by_what_is_inside(counted, chunk_above):
    wrapper = OhttpWrapper(decode_keys(counted.client.get("/ohttp-keys").content)[0], chunk_above=chunk_above)
    assert call(counted.client, wrapper, request()).status == 200
    assert call(counted.client, wrapper, request("/v1/detect?threshold=7")).status == 400
    protocol = "ohttp" if chunk_above is None else "ohttp-chunked"
    assert requests(counted, protocol=protocol) == 1
    assert requests(counted, status="400", protocol=protocol, refusal="invalid-option") == 1
    assert stage_count(counted, "open") == stage_count(counted, "seal") == 1
    assert stage_count(counted, "open", NONE) == stage_count(counted, "seal", NONE) == 1  # no model answered


def test_of_what_does_not_open_no_clock_says_where_it_failed(counted):
    wrapper = OhttpWrapper(decode_keys(counted.client.get("/ohttp-keys").content)[0])
    outgoing = wrapper.wrap(request())
    whole = b"".join(outgoing.body)
    for body in (b"", whole[:-1], bytes([whole[0]]) + whole[1:-1] + bytes([whole[-1] ^ 1])):
        assert send(counted.client, outgoing, body).status_code == 400
    refused = {"route": "/ohttp", "status": "400", "protocol": "unopened", "refusal": "seal-broken"}
    assert counted.value("safelight_requests_total", **refused) == 3
    assert counted.labels("safelight_stage_seconds_count") == []


def test_labels_are_words_of_ours(counted, settings):
    text = "Kanarie-7f3a91e5"
    headers = {text: text, "traceparent": text, "user-agent": text, "x-request-id": text}
    for target in (f"/{text}", f"/v1/detect/{text}", f"/v1/detect?{text}={text}", f"/v1/detect?model={text}"):
        for method in ("GET", "POST", text):
            counted.client.request(method, target, content=text.encode(), headers=headers)
    counted.client.post("/v1/detect", content=PICTURE, headers={"content-type": f"image/{text}"})
    counted.client.post("/ohttp", content=text.encode(), headers={"content-type": f"message/{text}"})
    assert text.lower().encode() not in counted.text.lower()
    seen = counted.labels("safelight_requests_total")
    assert len(seen) > 4 and {one["refusal"] for one in seen} <= REFUSALS
    assert {one["protocol"] for one in seen} <= PROTOCOLS
    assert {one["route"] for one in seen} <= {UNKNOWN, "/v1/detect", "/ohttp"}
    assert all(one["status"].isdigit() for one in seen)
    assert {one["status_class"] for one in counted.labels("safelight_request_seconds_count")} <= {*STATUS_CLASSES}
    assert {one["route"] for one in counted.labels("safelight_model_ready")} == {*settings.models}


def test_what_the_service_needs_and_has_not_is_counted(settings, make_counted):
    class Full:
        def check(self):
            raise AuditUnavailable("the disk is full")

        def append(self, fields):
            raise AuditUnavailable("the disk is full")

    counted = make_counted(settings, audit=Full())
    assert counted.client.post("/v1/detect", content=PICTURE).status_code == 503
    assert counted.value("safelight_dependency_failures_total", dependency="audit") == 1


def test_an_answer_that_lost_its_end_is_a_failure_of_the_audit_log(settings, make_counted):
    """What was answered by then had a status of 200, and nobody got it whole."""
    counted = make_counted(settings)

    class Full:
        def check(self): ...

        def append(self, fields):
            raise AuditUnavailable("the disk is full")

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await send({"type": "http.response.body", "body": b"more"})

    async def run():
        audited = Audit(app, Full(), routes={"/"}, clock=time.perf_counter, new_id=lambda: "0" * 32)
        scope = {"type": "http", "path": "/", "method": "GET", "headers": []}
        await counted.telemetry.measured(audited)(scope, None, sent.append)

    class Sent(list):
        async def append(self, message):
            super().append(message)

    sent = Sent()
    anyio.run(run)
    assert [message.get("body") for message in sent] == [None, b"some"]
    assert requests(counted, route="/", status="503", refusal="audit-unavailable") == 1
    assert counted.value("safelight_dependency_failures_total", dependency="audit") == 1


def test_a_request_that_breaks_down_is_counted_and_leaves(settings, make_counted):
    counted = make_counted(settings)

    async def broken(scope, receive, send):
        raise RuntimeError("nobody catches this")

    async def run():
        scope = {"type": "http", "path": "/", "method": "GET", "headers": []}
        with pytest.raises(RuntimeError):
            await counted.telemetry.measured(broken)(scope, None, None)

    anyio.run(run)
    assert counted.value("safelight_requests_in_flight") == 0
    unanswered = {"route": UNKNOWN, "status": NONE, "protocol": "plain", "refusal": NONE}
    assert counted.value("safelight_requests_total", **unanswered) == 1


def test_what_is_no_request_passes(settings, make_counted):
    counted = make_counted(settings)
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    anyio.run(counted.telemetry.measured(app), {"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("values", "parent"),
    [
        ([f"00-{TRACE}-{SPAN}-01"], Parent(int(TRACE, 16), int(SPAN, 16), True)),
        ([f"00-{TRACE}-{SPAN}-00"], Parent(int(TRACE, 16), int(SPAN, 16), False)),
        ([], None),
        ([f"00-{TRACE}-{SPAN}-01"] * 2, None),
        ([f"00-{TRACE.upper()}-{SPAN}-01"], None),
        ([f"01-{TRACE}-{SPAN}-01"], None),
        ([f"00-{TRACE}-{SPAN}-01\n"], None),
        ([f"00-{'0' * 32}-{SPAN}-01"], None),
        ([f"00-{TRACE}-{'0' * 16}-01"], None),
        (["Kanarie"], None),
    ],
)
def test_a_traceparent_is_taken_only_as_it_should_be(values, parent):
    """W3C Trace Context, section 3.2."""
    scope = {"headers": [(b"traceparent", value.encode()) for value in values]}
    assert parent_of(scope) == parent
