"""A model's variants answer where they are wanted and there; where not, the model itself does, and `/v1/models` says so."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ConfigError
from serving.models.loading import catalogue_of
from serving.settings import Runtime, load_settings
from tests.conftest import ROOT
from tests.serving.conftest import encoded, squares
from tests.serving.graphs import colour_graph, promote

INT8 = {"file": "model.int8.onnx", "gate": {"drop": 0.0}}
DCT = {"least_side": 64, "gate": {"drop": 0.0}}


@pytest.fixture
def own(settings, tmp_path, private_key):
    """coco has both variants, its int8 graph takes red for cats; tree-crowns has none."""
    promote(
        tmp_path,
        private_key,
        graphs={"model.int8.onnx": colour_graph(swapped=True)},
        name="coco",
        variants={"int8": INT8, "dct": DCT},
    )
    promote(tmp_path, private_key, name="tree-crowns")
    return settings.model_copy(update={"bundles": tmp_path})


def running(make_client, own, **runtime):
    changed = own.runtime.model_copy(update=runtime)
    settings = own.model_copy(update={"runtime": Runtime.model_validate(changed.model_dump())})
    catalogue = catalogue_of(settings)
    catalogue.load()
    return make_client(settings, catalogue)


def boxes_of(annotation):
    return [annotation["data"][side] for side in ("x_min", "y_min", "x_max", "y_max")]


def variants(client):
    return {model["name"]: model["variants"] for model in client.get("/v1/models").json()["models"]}


def test_unless_wanted_no_variant_answers(make_client, own):
    client = running(make_client, own)
    assert variants(client) == {"coco": {"int8": "available", "dct": "available"}, "tree-crowns": {}}
    assert client.post("/v1/detect", content=encoded(squares(person=(8, 8)))).json()["counts"] == {"person": 1}


def test_int8_answers_where_it_is_and_fp32_elsewhere(make_client, own):
    client = running(make_client, own, precision="int8")
    assert variants(client) == {"coco": {"int8": "in use", "dct": "available"}, "tree-crowns": {"int8": "missing"}}
    data = encoded(squares(person=(8, 8)))
    assert client.post("/v1/detect", content=data).json()["counts"] == {"cat": 1}
    assert client.post("/v1/detect?model=tree-crowns", content=data).json()["counts"] == {"person": 1}


def test_small_decoding_gives_boxes_in_pixels_of_the_picture(make_client, own):
    client = running(make_client, own, dct=True)
    assert variants(client) == {"coco": {"int8": "available", "dct": "in use"}, "tree-crowns": {"dct": "missing"}}
    pixels = np.kron(squares(person=(16, 32)), np.ones((8, 8, 1), np.uint8))  # 512 x 512, decoded at 64 x 64
    answer = client.post("/v1/detect", content=encoded(pixels, "JPEG", quality=95)).json()
    (found,) = answer["annotations"]
    assert (found["data"]["image_width"], found["data"]["image_height"]) == (512, 512)
    whole = running(make_client, own).post("/v1/detect", content=encoded(pixels, "JPEG", quality=95)).json()
    assert boxes_of(found) == pytest.approx(boxes_of(whole["annotations"][0]), abs=1)
    assert boxes_of(found) == pytest.approx([128, 256, 192, 320], abs=1)


def test_a_drawing_has_all_of_the_pictures_pixels(make_client, own):
    pixels = np.kron(squares(person=(16, 32)), np.ones((8, 8, 1), np.uint8))
    drawn = running(make_client, own, dct=True).post("/v1/detect?render=png", content=encoded(pixels, "JPEG"))
    with Image.open(io.BytesIO(drawn.content)) as image:
        assert image.size == (512, 512)


def test_the_precision_is_one_of_two():
    assert load_settings(
        ROOT, {"SAFELIGHT_RUNTIME__PRECISION": "int8", "SAFELIGHT_RUNTIME__DCT": "1"}
    ).runtime.wanted == {
        "int8",
        "dct",
    }
    with pytest.raises(ConfigError, match=r"runtime\.precision"):
        load_settings(ROOT, {"SAFELIGHT_RUNTIME__PRECISION": "int4"})
