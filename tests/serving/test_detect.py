"""POST /v1/detect on a detector that sees a person in red squares and a cat in green ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.serving.conftest import encoded, squares

PNG = {"content-type": "image/png"}


def boxes(answer):
    return {
        (a["class_name"], a["data"]["x_min"], a["data"]["y_min"], a["data"]["x_max"], a["data"]["y_max"])
        for a in answer["annotations"]
    }


def test_the_answer_has_exactly_the_promised_form(client):
    response = client.post("/v1/detect", content=encoded(squares(person=(48, 8), cat=(8, 32))), headers=PNG)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"request_id", "model", "model_used", "counts", "annotations", "timing_ms"}
    assert answer["model_used"] == ["coco"]
    assert set(answer["model"]) == {"name", "version", "digest"} and answer["model"]["name"] == "coco"
    assert answer["counts"] == {"person": 1, "cat": 1}
    assert answer["annotations"][0] == {
        "annotation_type": "bounding_box",
        "class_name": "cat",
        "confidence": 1.0,
        "data": {"x_min": 8, "y_min": 32, "x_max": 16, "y_max": 40, "image_width": 64, "image_height": 64},
        "ordering": 0,
    }
    assert [a["ordering"] for a in answer["annotations"]] == [0, 1]
    assert set(answer["timing_ms"]) == {"decode", "detect", "total"}
    assert response.headers["x-request-id"] == answer["request_id"]
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("claimed", [True, False, "application/octet-stream", "multipart", "multipart without type"])
def test_every_format_every_way(client, kind, claimed):
    data = encoded(squares(person=(16, 16)), kind, **({} if kind == "PNG" else {"quality": 95}))
    media_type = f"image/{kind.lower()}"
    if str(claimed).startswith("multipart"):
        part = ("secret name.bin", data, media_type if claimed == "multipart" else "application/octet-stream")
        response = client.post("/v1/detect", files={"image": part})
    else:
        headers = {"content-type": media_type if claimed is True else claimed} if claimed else {}
        response = client.post("/v1/detect", content=data, headers=headers)
    assert response.status_code == 200, response.text
    assert response.json()["counts"] == {"person": 1}


@pytest.mark.parametrize("claimed", ["image/heic", "image/heif", ""])
def test_heic_where_the_settings_name_it(settings, make_client, claimed):
    pillow_heif = pytest.importorskip("pillow_heif")
    limits = settings.limits.model_copy(update={"media_types": (*settings.limits.media_types, "image/heic")})
    client = make_client(settings.model_copy(update={"limits": limits}))
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(squares(person=(16, 16)))).save(buffer, quality=-1, chroma=444)
    response = client.post(
        "/v1/detect", content=buffer.getvalue(), headers={"content-type": claimed} if claimed else {}
    )
    assert response.status_code == 200 and response.json()["counts"] == {"person": 1}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_coordinates_are_those_of_the_upright_picture(client, orientation):
    upright = squares(64, 64, person=(48, 8))
    turns = {
        1: (), 2: (0,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.TRANSPOSE,), 6: (Image.Transpose.ROTATE_90,), 7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }  # fmt: skip
    stored = Image.fromarray(upright)
    for turn in turns[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=exif)
    answer = client.post("/v1/detect", content=buffer.getvalue(), headers=PNG).json()
    assert boxes(answer) == {("person", 48, 8, 56, 16)}


def test_a_turned_picture_gives_its_upright_size(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(squares(40, 100)).transpose(Image.Transpose.ROTATE_90)
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=95)
    answer = client.post("/v1/detect?threshold=0.01", content=buffer.getvalue()).json()
    sizes = {(a["data"]["image_width"], a["data"]["image_height"]) for a in answer["annotations"]}
    assert sizes == {(40, 100)}


def test_a_threshold_keeps_the_sure_ones(client):
    pixels = squares(person=(16, 16))
    pixels[32:40, 32:40, 0] = 178  # a person of 0.698
    data = encoded(pixels)
    counts = [
        client.post(f"/v1/detect?threshold={threshold}", content=data).json()["counts"].get("person", 0)
        for threshold in ("", "0.5", "0.69", "0.7", "1")
    ]
    assert counts == [2, 2, 2, 1, 1]


def test_classes_keep_the_named_ones(client):
    data = encoded(squares(person=(16, 16), cat=(32, 32)))
    for classes, expected in (
        ("cat", {"cat": 1}),
        ("person,cat", {"person": 1, "cat": 1}),
        ("person, person", {"person": 1}),
    ):
        assert client.post("/v1/detect", params={"classes": classes}, content=data).json()["counts"] == expected


def test_tiles_are_stitched(client):
    pixels = squares(256, 192, person=(8, 8), cat=(200, 160))
    answer = client.post("/v1/detect?model=tree-crowns&threshold=0.9", content=encoded(pixels)).json()
    assert answer["model"]["name"] == "tree-crowns"
    assert {box[0] for box in boxes(answer)} == {"person", "cat"}
    for name, x, y, *_ in boxes(answer):
        left, top = {"person": (8, 8), "cat": (200, 160)}[name]
        assert abs(x - left) < 8 and abs(y - top) < 8


def test_render_gives_the_annotated_picture(client):
    pixels = squares(100, 80, person=(16, 16))
    response = client.post("/v1/detect?render=png&threshold=0.3", content=encoded(pixels), headers=PNG)
    assert response.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(response.content)))
    assert drawn.shape == pixels.shape and (drawn != pixels).any()


@pytest.mark.parametrize(
    ("place", "left"),
    [
        ({"latitude": "37.774929", "longitude": "-122.419418"}, {"geohash": "9q8y"}),
        ({"zip": "94103"}, {"zip3": "941"}),
        ({"zip": "94103-1234", "latitude": "-33.8688", "longitude": "151.2093"}, {"zip3": "941", "geohash": "r3gx"}),
        ({"zip": "89301"}, {"zip3": "000"}),
        ({"zip": "", "latitude": "", "longitude": ""}, None),
        ({}, None),
    ],
)
def test_of_a_place_only_its_coarse_form_is_left(client, caplog, place, left):
    caplog.set_level(0)
    response = client.post("/v1/detect", params=place, content=encoded(squares(person=(8, 8))), headers=PNG)
    assert response.status_code == 200
    assert response.json().get("location") == left and ("location" in response.json()) == (left is not None)
    for value in filter(None, place.values()):
        assert value not in response.text + str(response.headers)
        # httpx, on the asking side, logs the URL that it asks for.
        assert not any(value in r.getMessage() for r in caplog.records if not r.name.startswith("httpx"))


def test_a_place_is_as_coarse_as_the_settings_say(settings, make_client):
    coarse = settings.model_copy(update={"location": settings.location.model_copy(update={"geohash_precision": 2})})
    answer = make_client(coarse).post(
        "/v1/detect?latitude=37.774929&longitude=-122.419418", content=encoded(squares()), headers=PNG
    )
    assert answer.json()["location"] == {"geohash": "9q"}


def test_request_ids_are_not_the_clients_to_choose(client):
    sent = {"x-request-id": "mine", "content-type": "image/png"}
    first, second = (client.post("/v1/detect", content=encoded(squares()), headers=sent) for _ in range(2))
    assert "mine" not in (first.headers["x-request-id"], second.headers["x-request-id"])
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
