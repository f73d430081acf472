"""Traces, as a collector gets them over the network: the stages of a request at their times, and not a word of it."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from PIL import Image, PngImagePlugin

from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from serving.privacy.record import Record
from serving.telemetry.requests import Parent, Passage
from serving.telemetry.traces import Traces
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares
from tests.serving.telemetry.collector import collecting
from tests.serving.test_sealed import call, request

PICTURE = encoded(squares(person=(8, 8)))
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ROOT_NAME = "POST /v1/detect"


def traced(settings, url, **changes):
    own = settings.telemetry.model_copy(update={"traces": url, "sample_ratio": 1.0, **changes})
    return settings.model_copy(update={"telemetry": own})


@pytest.fixture
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture
def make_traced(settings, make_counted):
    """What the settings of telemetry are to be → an application that is traced; stopped at the end."""
    running = []

    def make(url, **changes):
        counted = make_counted(traced(settings, url, **changes))
        counted.telemetry.start()
        running.append(counted.telemetry)
        return counted

    yield make
    for telemetry in running:
        telemetry.close()


def said(span) -> dict[str, object]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def sent(counted, collector):
    """The spans of detections, once all are sent."""
    counted.telemetry.close()
    return sorted((one for one in collector.spans if one.name == ROOT_NAME), key=lambda one: one.start_time_unix_nano)


def sealed(counted, **kwargs):
    return OhttpWrapper(decode_keys(counted.client.get("/ohttp-keys").content)[0], **kwargs)


def test_a_request_is_a_trace_of_its_stages(collector, make_traced):
    begun = time.time_ns()
    counted = make_traced(collector.url)
    assert call(counted.client, sealed(counted), request()).status == 200
    (root,) = collector.wait_for(ROOT_NAME)  # by itself, within seconds
    stages = [span for span in collector.spans if span.parent_span_id == root.span_id]
    assert [span.name for span in sorted(stages, key=lambda span: span.start_time_unix_nano)] == [
        "open", "decode", "preprocess", "wait", "infer", "postprocess", "seal",
    ]  # fmt: skip
    assert {span.trace_id for span in stages} == {root.trace_id} and root.parent_span_id == b""
    for span in (root, *stages):
        assert begun <= root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano <= time.time_ns()
    assert root.kind == Span.SPAN_KIND_SERVER and root.status.code == Status.STATUS_CODE_UNSET
    attributes = said(root)
    assert len(attributes.pop("safelight.model.digest")) == 64
    assert attributes.pop("safelight.batch_size", 1) == 1
    assert attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/detect",
        "http.response.status_code": 200,
        "safelight.protocol": "ohttp",
        "safelight.model": "coco",
    }
    assert all(said(span) == {} for span in stages)
    (resource,) = {request.resource_spans[0].resource.SerializeToString() for request in collector.requests}
    assert b"safelight" in resource and socket.gethostname().encode() not in resource


def test_refusals_and_failures_say_which(collector, make_traced):
    counted = make_traced(collector.url)
    counted.client.post("/v1/detect", content=b"no picture")
    counted.catalogue.close()
    counted.client.post("/v1/detect", content=PICTURE)
    refused, failed = sent(counted, collector)
    assert said(refused)["safelight.refusal"] == "not-an-image" and refused.status.code == Status.STATUS_CODE_UNSET
    assert said(failed)["http.response.status_code"] == 503 and failed.status.code == Status.STATUS_CODE_ERROR


PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=Kanarie", "baggage": "a=Kanarie"}


def test_a_plain_request_belongs_to_its_sender_s_trace_and_a_sealed_one_does_not(collector, make_traced):
    counted = make_traced(collector.url, sample_ratio=0.0)  # the sender decides for its own trace
    counted.client.post("/v1/detect", content=PICTURE, headers=PARENT)
    (plain,) = collector.wait_for(ROOT_NAME)
    assert (plain.trace_id.hex(), plain.parent_span_id.hex()) == (TRACE, SPAN) and plain.trace_state == ""
    inside = request(traceparent=PARENT["traceparent"])
    for wrapper in (sealed(counted), sealed(counted, chunk_above=0)):
        outgoing = wrapper.wrap(inside)
        headers = {**{k.decode(): v.decode() for k, v in outgoing.headers}, **PARENT}
        assert counted.client.post("/ohttp", content=b"".join(outgoing.body), headers=headers).status_code == 200
    assert counted.client.post("/ohttp", content=b"junk", headers={**headers, **PARENT}).status_code == 400
    counted.telemetry.close()  # sends what there is
    assert len([span for span in collector.spans if span.name.startswith("POST")]) == 1


@pytest.mark.parametrize(("continued", "same"), [("none", False), ("plain", False), ("all", True)])
def test_whose_trace_is_continued_is_configured(collector, make_traced, continued, same):
    counted = make_traced(collector.url, continue_traces=continued)
    outgoing = sealed(counted).wrap(request())
    headers = {**{k.decode(): v.decode() for k, v in outgoing.headers}, **PARENT}
    assert counted.client.post("/ohttp", content=b"".join(outgoing.body), headers=headers).status_code == 200
    (root,) = sent(counted, collector)
    assert (root.trace_id.hex() == TRACE) is same and (root.parent_span_id.hex() == SPAN) is same


def test_some_are_sampled(collector, make_traced):
    counted = make_traced(collector.url, sample_ratio=0.5)
    for _ in range(60):
        counted.client.get("/v1/models")
    counted.telemetry.close()
    roots = [span for span in collector.spans if span.name == "GET /v1/models"]
    assert 5 < len(roots) < 55
    assert counted.value("safelight_spans_total", outcome="made") == len(roots)
    assert counted.value("safelight_spans_total", outcome="sent") == len(roots)


TEXT = "Kanarie-7f3a91e5"


def canary_picture() -> bytes:
    pixels = np.random.default_rng(20261121).integers(0, 256, (64, 64, 3), np.uint8)
    pixels[8:16, 8:16] = (255, 0, 0)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", TEXT)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_nothing_of_a_request_is_exported_or_shown(collector, make_traced):
    """Known text by every field that a client can fill, known pixels, and the results; sealed and plain, answered and not."""
    counted, png = make_traced(collector.url), canary_picture()
    headers = {
        TEXT: TEXT, "user-agent": TEXT, "authorization": f"Bearer {TEXT}", "cookie": f"{TEXT}={TEXT}", "x-request-id": TEXT,
        "tracestate": f"a={TEXT}", "baggage": f"a={TEXT}", "x-forwarded-for": TEXT, "referer": f"http://{TEXT}/",
    }  # fmt: skip
    place = "latitude=52.5200761234&longitude=13.4049541234"
    answers = []
    form = {"files": {"image": (f"{TEXT}.png", png, "image/png")}}
    for target, kwargs in (
        (f"/v1/detect?{place}&classes=person", {"content": png}),
        ("/v1/detect", form),
        (f"/v1/detect?{TEXT}={TEXT}", {"content": png}),
        (f"/v1/detect?model={TEXT}", {"content": png}),
        (f"/v1/{TEXT}", {"content": png}),
        ("/v1/detect", {"content": TEXT.encode() * 100}),
        (f"/ohttp?{TEXT}", {"content": png}),
    ):
        answers.append(counted.client.post(target, headers=headers, **kwargs))
    assert answers[0].json()["annotations"] and [answer.status_code for answer in answers[:2]] == [200, 200]
    wrapper = sealed(counted)
    for inner in (
        request(f"/v1/detect?{place}", png, **{TEXT.lower(): TEXT}),
        request(f"/v1/detect?{TEXT}={TEXT}", png),
    ):
        call(counted.client, wrapper, inner)
    counted.client.request(TEXT.upper(), f"/{TEXT}", headers=headers)
    assert len(sent(counted, collector)) == 7
    exported = b"".join([*collector.raw, *(text.encode() for text in collector.headers)])
    needles = [
        form for text in (TEXT, TEXT.lower(), TEXT.upper()) for form in (text.encode(), text.encode().hex().encode())
    ]
    needles += [TEXT.encode("utf-16-le"), TEXT[::-1].encode(), b"52.52", b"13.40", b"u33d", b"127.0.0.1:5", b"gateway"]
    needles += [png[at : at + 24] for at in range(0, len(png) - 24, 512)]
    needles += [answer.json()["request_id"].encode() for answer in answers if "request_id" in answer.text]
    result = answers[0].text.partition('"counts"')[2].encode()
    needles += [b"person", *(result[at : at + 16] for at in range(0, len(result) - 16, 8))]
    for text in (exported, counted.text):
        assert len(text) > 2000 and [needle for needle in needles if needle in text] == []
    assert b"safelight.refusal" in exported and b"unknown" in exported


@pytest.mark.parametrize("failing", ["refuses", "is not there", "hangs"])
def test_a_collector_that_fails_harms_no_request(collector, make_traced, failing):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if failing == "hangs":
            silent.listen()
        collector.status = 500
        url = collector.url if failing == "refuses" else f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        counted = make_traced(url)
        for _ in range(20):
            begun = time.perf_counter()
            assert counted.client.get("/v1/models").status_code == 200
            assert time.perf_counter() - begun < 2
        begun = time.perf_counter()
        counted.telemetry.close()
        assert time.perf_counter() - begun < 5
    assert counted.value("safelight_spans_total", outcome="made") == 20
    assert counted.value("safelight_spans_total", outcome="sent") == 0


def test_what_is_wrong_with_a_record_harms_nobody(settings, collector):
    counts = {}
    traces = Traces(
        traced(settings, collector.url).telemetry,
        clock=time.perf_counter,
        count=lambda outcome, number: counts.update({outcome: number}),
    )
    whole = Passage(Record(method="POST", route="/v1/detect", status=200), 0.0, 0.0, 1.0, None)
    traces.trace(replace(whole, begun=None))
    traces.trace(replace(whole, parent=Parent(1, 1, True)))
    traces.close()
    assert [span.parent_span_id.hex() for span in collector.spans] == ["0000000000000001"] and counts["sent"] == 1


def test_a_clock_that_jumps_moves_no_span_against_another(settings, collector):
    """The day's clock is asked once a request; within it the monotonic one counts."""
    record = Record(method="POST", route="/v1/detect", status=200)
    record.spent("decode", 10.0, 10.25)
    record.spent("infer", 10.25, 11.0)
    traces = Traces(
        traced(settings, collector.url).telemetry,
        clock=lambda: 12.0,
        count=lambda outcome, number: None,
        now_ns=lambda: 1_000_000_000_000_000_000,
    )
    traces.trace(Passage(record, 9.5, 9.75, 11.5, None))
    traces.close()
    times = {span.name: (span.start_time_unix_nano, span.end_time_unix_nano) for span in collector.spans}
    base = 1_000_000_000_000_000_000 - 12_000_000_000
    at = {name: tuple((moment - base) / 1e9 for moment in both) for name, both in times.items()}
    assert at == {ROOT_NAME: (9.5, 11.5), "decode": (10.0, 10.25), "infer": (10.25, 11.0)}


def run(script, *arguments):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, check=True, text=True).stdout


def test_nobody_who_keeps_no_traces_waits_for_their_library():
    heavy = "'opentelemetry.sdk.trace', 'opentelemetry.exporter', 'requests'"
    assert run(f"import sys, serving.api.app; print([name for name in ({heavy}) if name in sys.modules])") == "[]\n"


OTHERS_PROVIDER = """
import sys, time
from pathlib import Path
from ipaddress import ip_address
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving.api.app import create_app
from serving.models.loading import catalogue_of
from serving.privacy.access import Access
from serving.privacy.gate import Gate
from serving.settings import load_settings

root, own = map(Path, sys.argv[1:])
seen = InMemorySpanExporter()
trace.set_tracer_provider(provider := TracerProvider())
provider.add_span_processor(SimpleSpanProcessor(seen))
environ = {"SAFELIGHT_SEALING__KEYS": str(own), "SAFELIGHT_SEALING__REPLAY": "memory"}
settings = load_settings(root, environ)
listeners = lambda: [ip_address("127.0.0.1")]
gate, access = Gate(settings, now=time.time), Access(settings, listeners=listeners, now=time.time)
gate.load(), access.load()
own = {"listeners": listeners, "new_id": lambda: "0" * 32, "clock": time.perf_counter}
app = create_app(settings, catalogue_of(settings), gate, access, **own)
assert TestClient(app, base_url="http://localhost").get("/openapi.json?Kanarie").status_code == 200
print(len(seen.get_finished_spans()))
TestClient(FastAPI()).get("/openapi.json?Kanarie")
print(len(seen.get_finished_spans()) > 0)
"""


def test_a_provider_of_somebody_else_gets_nothing(tmp_path):
    """FastAPI traces by itself where a process has a provider, as under `opentelemetry-instrument`; here it must not."""
    assert run(OTHERS_PROVIDER, ROOT, tmp_path / "keys").split() == ["0", "True"]
