"""Nothing of a picture, of what was read from it, or of where it was taken gets into logs, audit records, figures or spans.

What readings have in common with detections is searched for in the traced service (`tests.serving.test_canary`); here a reader
succeeds, so that there are fields to be found.
"""

from __future__ import annotations

import base64
import json
import logging
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from serving.models.loading import catalogue_of
from serving.privacy import logs
from serving.telemetry.telemetry import Telemetry
from serving.telemetry.traces import attributes
from tests.serving.conftest import encoded
from tests.serving.reader.test_read import PNG, blurred, form, picture

ZIP, TEXT = "94107-5138", "Kanarie-7f3a91e5"


class Sink:
    """An audit log in memory."""

    def __init__(self):
        self.lines = []

    def check(self):
        pass

    def append(self, fields):
        self.lines.append(dict(fields))


@pytest.fixture
def watched(reader_settings, make_client, monkeypatch):
    """A client, and all that the service writes: audit lines, spans' attributes, figures."""
    registry, sink, spans = CollectorRegistry(), Sink(), []
    telemetry = Telemetry(reader_settings, clock=time.perf_counter, registry=registry)
    monkeypatch.setattr(telemetry, "_traces", type("Tracer", (), {"trace": lambda self, p: spans.append(p)})())
    catalogue = catalogue_of(reader_settings, telemetry.observer)
    catalogue.load()
    catalogue.load_readers()
    yield make_client(reader_settings, catalogue, audit=sink, telemetry=telemetry), sink, spans, registry
    catalogue.close()


def test_nothing_of_a_reading_is_written_anywhere(watched, caplog, capfd, monkeypatch):
    client, sink, spans, registry = watched
    own = logging.getLogger(logs.NAME)
    for name, value in (("handlers", []), ("level", own.level), ("propagate", own.propagate)):
        monkeypatch.setattr(own, name, value)  # as before, afterwards
    logs.open_log()
    data = encoded(picture(5))
    answers = [
        client.post(f"/v1/read?zipcode={ZIP}", content=data, headers=PNG),
        client.post(
            f"/v1/read:batch?zipcode={ZIP}", files=form((data, "image/png"), (encoded(blurred()), "image/png"))
        ),
        client.post("/v1/read", content=encoded(blurred()), headers=PNG),
        client.post(f"/v1/read?model={TEXT}", content=data, headers=PNG),
        client.post(f"/v1/read?zipcode={TEXT}", content=data, headers=PNG),
        client.post("/v1/read:batch", files=[(TEXT, (TEXT, data, TEXT))]),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422, 404, 400, 400]
    read = answers[0].json()
    said = "\n".join([
        *map(json.dumps, sink.lines),
        *(json.dumps(attributes(passage.record)) for passage in spans),
        generate_latest(registry).decode(),
        caplog.text,
        "".join(capfd.readouterr()),
    ])  # fmt: skip
    assert (
        len(sink.lines) == len(spans) == len(answers) and "/v1/read:batch" in said and "safelight_tokens_total" in said
    )
    quality = [str(value) for value in read["quality"].values() if isinstance(value, float) and 0 < value != int(value)]
    told = [read["bitting"], f"[{read['bitting']}]", '"bitting', "Schlage", "Kwikset", "Yale", "Master", '"SC1', '"KW1', '"M1',
            "94107", '"941"', "941075138", TEXT, str(read["confidence"]), *quality]  # fmt: skip
    pixels = picture(5)[0, :12].tobytes()
    assert [one for one in told if one in said] == []
    assert pixels.hex() not in said and base64.b64encode(data[60:90]).decode() not in said


def test_the_record_says_who_read_and_how_long_each_stage_took(watched):
    client, sink, spans, _ = watched
    client.post("/v1/read", content=encoded(picture()), headers=PNG)
    (line,), (passage,) = sink.lines, spans
    assert (line["route"], line["model"], line["status"], line["refusal"]) == ("/v1/read", "keys", 200, None)
    assert {stage for stage, *_ in passage.record.stages} == {"decode", "preprocess", "infer", "postprocess"}
    assert len(line["digest"]) == 64


def test_figures_tell_tokens_and_runs_of_the_base(watched):
    client, _, _, registry = watched
    before = registry.get_sample_value("safelight_batch_size_count", {"route": "tiny", "member": "base"}) or 0.0
    client.post("/v1/read", content=encoded(picture()), headers=PNG)
    chosen, forced = (
        registry.get_sample_value("safelight_tokens_total", {"route": "keys", "member": "keys", "kind": kind})
        for kind in ("chosen", "forced")
    )
    assert chosen > 0 and forced > 0
    assert registry.get_sample_value("safelight_batch_size_count", {"route": "tiny", "member": "base"}) > before
    assert registry.get_sample_value("safelight_model_ready", {"route": "keys", "member": "keys"}) == 1
