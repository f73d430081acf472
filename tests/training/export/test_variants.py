"""Variants are kept when their gate says so, and the report says what was measured and why not."""

import io

import numpy as np
import pytest
from PIL import Image

from safelight.bundle import Variant
from safelight.detections import Detections
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.export.nets import Grid
from training.export.int8 import INT8, Int8
from training.export.onnx import export_onnx
from training.export.report import lines, said
from training.export.variants import Dct, dct_variant, int8_variant, look, manifest_variants, not_offered

LETTERBOX, DECISION = Preprocess("letterbox", 64), Thresholds(0.5, 0.5)
INT8_SETTINGS = Int8(True, 8, "minmax", 0.01, ("Conv", "LeakyRelu"), heads=True)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("variants") / "model.onnx"
    export_onnx(Grid(), 32, path, "traced")
    return path


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (8, 32, 32, 3), np.uint8)


def test_an_int8_graph_that_is_good_enough_stays(graph, pictures):
    found = int8_variant(graph, INT8_SETTINGS, pictures, lambda run: 0.497, 0.5, repeats=1)
    assert found["outcome"] == "accepted" and found["reason"] is None
    assert graph.with_name(INT8).is_file()
    assert found["bytes"] == {"fp32": graph.stat().st_size, "int8": graph.with_name(INT8).stat().st_size}
    assert {"fp32_batch_1", "int8_batch_1", "int8_batch_1_ratio", "int8_batch_8_ratio"} <= set(found["latency_ms"])
    assert "accepted: mAP50 0.5000 to 0.4970" in said(found)
    assert manifest_variants({"variants": {"int8": found}}) == {"int8": Variant(file=INT8, gate=found["gate"])}
    assert "latency_ms" not in found["gate"]


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.48), (0.0, 0.0)])
def test_one_that_is_not_leaves_no_file(graph, pictures, before, after):
    found = int8_variant(graph, INT8_SETTINGS, pictures, lambda run: after, before, repeats=1)
    assert found["outcome"] == "refused" and found["gate"]["after"] == after
    assert not graph.with_name(INT8).exists()
    assert manifest_variants({"variants": {"int8": found}}) == {}
    assert said(found).startswith("refused, fp32 and whole pictures stay: mAP50")


def test_a_graph_that_cannot_be_quantised_is_no_error(tmp_path, pictures):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no graph")
    found = int8_variant(broken, INT8_SETTINGS, pictures, lambda run: 0.5, 0.5, repeats=1)
    assert found["outcome"] == "not offered" and "could not quantise" in found["reason"]


def jpeg(width=256, height=192, kind="JPEG", at=(64, 96)):
    """Black with a red square of 32 pixels."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[at[1] : at[1] + 32, at[0] : at[0] + 32, 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def red(batch):
    """One box around all that is red; its score is how red it is."""
    boxes, scores = [], []
    for picture in batch:
        y, x = np.nonzero((picture[0] > 0.7) & (picture[1] < 0.3))
        boxes.append([[x.min(), y.min(), x.max() + 1, y.max() + 1]] if len(x) else [[0, 0, 0, 0]])
        scores.append([[float(len(x) > 0)]])
    return np.array(boxes, np.float32), np.array(scores, np.float32)


def nothing(batch):
    return red(batch)[0], np.zeros((len(batch), 1, 1), np.float32)


def scored(found):
    """The share of pictures on which something was found."""
    return float(np.mean([len(of) > 0 for of in found]))


def tried(data, runs=None, score=scored):
    return dct_variant(data, Dct(True, 0.005), LETTERBOX, DECISION, runs or {"fp32": red}, score, repeats=1)


def test_boxes_are_in_pixels_of_the_whole_picture():
    whole, small = (look(jpeg(), least, LETTERBOX, DECISION, red) for least in (None, 64))
    assert whole.image_size == small.image_size == (256, 192)
    assert small.boxes == pytest.approx(whole.boxes, abs=4)
    assert whole.boxes == pytest.approx(np.array([[64, 96, 96, 128]]), abs=4)


def test_small_decoding_that_costs_nothing_is_accepted():
    found = tried([jpeg(), jpeg(100, 100, at=(10, 10))])
    assert found["outcome"] == "accepted" and found["use"] == {"least_side": 64}
    assert (found["files"], found["files_decoded_small"], found["latency_ms"]["files_timed"]) == (2, 1, 1)
    assert manifest_variants({"variants": {"dct": found}})["dct"].least_side == 64


def test_small_decoding_has_to_do_for_each_network():
    def spoilt(found: list[Detections]) -> float:
        spoilt.calls += 1
        return 0.9 if spoilt.calls < 4 else 0.5

    spoilt.calls = 0
    found = tried([jpeg()], {"fp32": red, "int8": red}, spoilt)
    assert found["outcome"] == "refused" and found["gate"]["drop"] == pytest.approx(0.4)
    assert found["gates"]["fp32"]["drop"] == 0


def test_it_is_not_offered_where_it_does_nothing_or_cannot_be_measured():
    assert "twice the 64 pixels" in tried([jpeg(100, 100)])["reason"]
    assert "JPEG" in tried([jpeg(), jpeg(kind="PNG")])["reason"]
    assert "JPEG" in tried([jpeg(), jpeg()[:-100]])["reason"]
    assert "could not fail" in tried([jpeg()], {"fp32": nothing})["reason"]


def test_the_lines_say_what_became_of_it_all():
    report = {
        "graph": {
            "exporter": "traced",
            "reason": "UserError",
            "opset": 18,
            "bytes": 1_500_000,
            "versions": {"torch": "2"},
        },
        "variants": {"int8": not_offered("switched off")},
    }
    drift = {"rule": "matched", "boxes_relative": 1e-7, "score": 2e-6, "compared": 3}
    parity = {
        "tensors": {"1": drift, "8": drift},
        "boxes": {"matched": 3, "pictures": 2, "least_iou": 0.9999},
        "map50": {"reference": 0.5, "exported": 0.499},
    }
    golden = {"model.onnx": {"samples": [{"answers": [{"score": 0.91}]}, {"answers": [{"score": 0.4}]}]}}
    serving = {"golden": golden, "reference": None}
    text = "\n".join(lines("birds", report, parity, serving))
    for part in (
        "birds",
        "traced because dynamo failed with UserError",
        "1.5 MB",
        "batch 8",
        "matched",
        "0.4990",
        "switched off",
        "model.onnx: strongest scores 0.91, 0.40",
        "too few pictures",
    ):
        assert part in text
    assert "not measured" in "\n".join(lines("birds", report, parity | {"map50": None}, serving))
    usual = {"histograms": {"boxes": [200, 50]}}
    assert "250 pictures" in "\n".join(lines("birds", report, parity, serving | {"reference": usual}))
