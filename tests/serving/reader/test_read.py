"""POST /v1/read and /v1/read:batch with a tiny model: whatever it reads holds to its schema, and the rest is told by rule."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import jsonschema
import numpy as np
import pytest
from PIL import Image, ImageFilter

from safelight.reader.quality import QualityLimits
from serving.reader.schemas import BatchAnswer, FieldsAnswer, KeysAnswer
from tests.serving.conftest import encoded
from tests.serving.reader import bundles, tiny

PNG = {"content-type": "image/png"}


def picture(seed: int = 0, width: int = 160, height: int = 128):
    """Blocks of colour: sharp, neither dark nor bright."""
    blocks = np.random.default_rng(seed).integers(30, 220, (height // 8, width // 8, 3), np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def blurred():
    return np.asarray(Image.fromarray(picture()).filter(ImageFilter.GaussianBlur(12)))


def read(client, pixels=None, query="", **options):
    return client.post(
        f"/v1/read{query}", content=encoded(picture() if pixels is None else pixels), headers=PNG, **options
    )


def test_the_answer_has_exactly_the_promised_form(reading):
    response = read(reading)
    assert response.status_code == 200, response.text
    answer = response.json()
    KeysAnswer.model_validate(answer)
    assert set(answer) == {
        "success", "request_id", "keyway", "bitting", "brand", "lockType", "confidence", "estimatedAnnualProduction",
        "manufacturingComplexity", "marketPenetration", "timeInMarket", "risk", "quality", "timestamp", "api_version",
        "model", "sources",
    }  # fmt: skip
    assert answer["success"] is True and answer["request_id"] == response.headers["x-request-id"]
    assert answer["keyway"] in tiny.KEYS["properties"]["keyway"]["enum"]
    assert re.fullmatch(r"\d(,\d){3,5}", answer["bitting"]) and 0 <= answer["confidence"] <= 1
    assert answer["model"]["name"] == "keys" and answer["model"]["base"]["name"] == bundles.BASE
    assert abs(datetime.fromisoformat(answer["timestamp"]) - datetime.now(UTC)).total_seconds() < 60
    assert answer["quality"]["width"] == 160 and answer["quality"]["height"] == 128
    assert response.headers["cache-control"] == "no-store"


def test_every_field_names_its_source_unless_it_is_null(reading):
    answer = read(reading).json()
    told = {"keyway", "bitting", "brand", "lockType", "estimatedAnnualProduction", "manufacturingComplexity",
            "marketPenetration", "timeInMarket", "risk"}  # fmt: skip
    assert set(answer["sources"]) == {name for name in told if answer[name] is not None}


def test_the_same_picture_is_read_alike_however_it_is_sent(reading):
    data = encoded(picture(1))
    raw, form = (
        reading.post("/v1/read", content=data, headers=PNG),
        reading.post("/v1/read", files={"image": ("secret.png", data, "image/png")}),
    )
    own = {"request_id", "timestamp"}
    assert raw.status_code == form.status_code == 200
    assert {k: v for k, v in raw.json().items() if k not in own} == {
        k: v for k, v in form.json().items() if k not in own
    }


def test_fields_of_another_task_come_under_their_own_schema(reading):
    answer = read(reading, query="?model=meters").json()
    FieldsAnswer.model_validate(answer)
    jsonschema.validate(answer["fields"], tiny.METERS)
    assert "keyway" not in answer and "risk" not in answer and answer["model"]["name"] == "meters"
    assert set(answer["sources"]) == set(answer["fields"])


@pytest.mark.parametrize(
    ("pixels", "measure"),
    [
        (blurred(), "sharpness"),
        (np.zeros((200, 200, 3), np.uint8), "luminance"),
        (np.full((200, 200, 3), 255, np.uint8), "luminance"),
        (picture(width=64, height=64), "side"),
    ],
)
def test_a_poor_picture_is_turned_away_with_its_measures_and_what_to_do(reading, pixels, measure):
    response = read(reading, pixels)
    problem = response.json()
    assert response.status_code == 422 and problem["type"].endswith("#poor-picture")
    assert response.headers["content-type"] == "application/problem+json"
    assert set(problem["quality"]) == {"sharpness", "luminance", "dark", "bright", "contrast", "width", "height"}
    found = {one["measure"]: one for one in problem["problems"]}
    assert found[measure]["advice"] in problem["detail"] and found[measure]["value"] != found[measure]["limit"]
    assert not any(character.isdigit() for character in problem["detail"])


def test_a_poor_picture_never_reaches_the_model(reading, loaded, monkeypatch):
    served = loaded.reader("keys").primary
    assert served.looker.limits == QualityLimits()
    asked = []
    monkeypatch.setitem(served.looker.__dict__, "ask", lambda *given: asked.append(given))
    assert read(reading, blurred()).status_code == 422 and not asked


def test_a_place_is_made_coarse_at_once(reading):
    answer = read(reading, query="?zipcode=94107-5138")
    assert answer.json()["location"] == {"zip3": "941"} and "94107" not in answer.text
    refused = read(reading, query="?zipcode=9410x")
    assert refused.status_code == 400 and "9410x" not in refused.text and "zipcode" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("query", "status", "anchor"),
    [
        ("?model=coco", 404, "unknown-model"),
        ("?threshold=0.5", 400, "invalid-option"),
        ("?model=keys&model=keys", 400, "invalid-option"),
        ("?timeout_ms=0", 400, "invalid-option"),
        ("?timeout_ms=1", 504, "deadline-exceeded"),
    ],
)
def test_what_cannot_be_asked_is_refused(reading, query, status, anchor):
    response = read(reading, query=query)
    assert response.status_code == status and response.json()["type"].endswith(f"#{anchor}"), response.text


@pytest.mark.parametrize(("data", "status"), [(b"", 400), (b"no picture", 415), (encoded(picture())[:-40], 422)])
def test_what_is_no_picture_is_refused_as_for_detections(reading, data, status):
    assert reading.post("/v1/read", content=data).status_code == status


def form(*parts):
    return [("image", (f"{number}.png", data, kind)) for number, (data, kind) in enumerate(parts)]


def test_several_pictures_get_each_its_own_answer_or_problem(reading):
    first, second = encoded(picture(2)), encoded(picture(3))
    parts = [(first, "image/png"), (b"nothing", "image/png"), (encoded(blurred()), "image/png"), (second, "image/png"),
             (b"", "image/png"), (first, "text/plain"), (second, "image/jpeg")]  # fmt: skip
    response = reading.post("/v1/read:batch?zipcode=94107", files=form(*parts))
    assert response.status_code == 200, response.text
    answer = response.json()
    BatchAnswer.model_validate(answer)
    results = answer["results"]
    assert [result["index"] for result in results] == list(range(7)) and not answer["success"]
    assert [result.get("problem", {}).get("status") for result in results] == [None, 415, 422, None, 400, 415, 415]
    assert (answer["read"], answer["refused"]) == (2, 5)
    assert results[2]["problem"]["problems"][0]["advice"]
    for result, data in ((results[0], first), (results[3], second)):
        alone = reading.post("/v1/read", content=data, headers=PNG).json()
        assert [result["answer"][name] for name in ("keyway", "bitting", "brand")] == [
            alone[name] for name in ("keyway", "bitting", "brand")
        ]
        assert result["answer"]["location"] == {"zip3": "941"}
    assert {result["answer"]["request_id"] for result in results if result["success"]} == {answer["request_id"]}


def test_a_file_that_is_too_large_does_not_fail_the_others(reading, reader_settings):
    large = b"\x89PNG" + bytes(reader_settings.limits.max_bytes)
    response = reading.post("/v1/read:batch", files=form((encoded(picture()), "image/png"), (large, "image/png")))
    results = response.json()["results"]
    assert [result["success"] for result in results] == [True, False] and results[1]["problem"]["status"] == 413


@pytest.mark.parametrize(
    ("files", "content", "status", "anchor"),
    [
        (form(*[(b"x", "image/png")] * 9), None, 400, "malformed-body"),
        ([("other", ("a.png", b"x", "image/png"))], None, 400, "invalid-option"),
        (None, encoded(picture()), 415, "unsupported-format"),
    ],
)
def test_a_form_that_does_not_hold_is_refused_as_a_whole(reading, files, content, status, anchor):
    headers = PNG if content else {}
    response = reading.post("/v1/read:batch", files=files, content=content, headers=headers)
    assert response.status_code == status and response.json()["type"].endswith(f"#{anchor}"), response.text


def test_more_bytes_than_a_form_may_have_are_refused(reading, reader_settings):
    part = bytes(reader_settings.limits.max_bytes - 1)
    assert reading.post("/v1/read:batch", files=form(*[(part, "image/png")] * 3)).status_code == 413


def test_readers_are_listed_with_their_schema_and_base(reading):
    listed = reading.get("/v1/models").json()
    assert listed["default"] == "coco" and listed["default_reader"] == "keys"
    cards = {card["name"]: card for card in listed["models"]}
    assert list(cards) == ["coco", "tree-crowns", "keys", "meters"]
    keys = cards["keys"]
    assert keys["state"] == "ready" and keys["task"] == "image-to-json" and keys["labels"] is None
    assert keys["json_schema"] == tiny.KEYS and keys["base"]["name"] == bundles.BASE
    assert cards["coco"]["json_schema"] is None and cards["coco"]["labels"]


def test_detections_are_asked_of_detectors_only(reading):
    response = reading.post("/v1/detect?model=keys", content=encoded(picture()), headers=PNG)
    assert response.status_code == 404
