"""The evaluate stage on made data of three classes, with a network that sees colours in place of a trained one."""

import io
import json

import pytest
from datasets import Dataset
from hydra import compose, initialize_config_dir
from PIL import Image

from pipelines import evaluate
from pipelines.stage import CONF
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.evaluation.made import LABELS, scene, see_colours, see_nothing
from training.data.scenes import features
from training.registry.tracking import flat_metrics

CONFIGURED, LETTERBOX = Thresholds(0.3, 0.5, 0.01), Preprocess("letterbox", 64)


def store(scenes, folder):
    """Scenes as the prepare stage stores them."""
    rows = []
    for made in scenes:
        buffer = io.BytesIO()
        Image.fromarray(made.image).save(buffer, "PNG")
        boxes = made.truth.boxes.copy()
        boxes[:, 2:] -= boxes[:, :2]
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": None},
                "image_id": made.image_id,
                "width": made.truth.image_size[0],
                "height": made.truth.image_size[1],
                "objects": {"bbox": boxes.tolist(), "category": made.truth.class_ids.tolist()},
            }
        )
    Dataset.from_list(rows, features=features(LABELS)).save_to_disk(str(folder))


@pytest.fixture
def run(tmp_path):
    """Evaluates splits: `run(network, val=scenes, test=scenes, private=...)` gives (report, output folder)."""

    def evaluated(network=see_colours, preprocess=LETTERBOX, private=False, **splits):
        overrides = [
            "experiment=tree_crowns",
            "name=made",
            f"paths.outputs={tmp_path}",
            f"data.processed={tmp_path}/processed",
            f"data.labels=[{','.join(LABELS)}]",
            f"data.private={str(private).lower()}",
            "bootstrap_samples=20",
            "evaluation.latency_inputs=2",
            "evaluation.match_iou=0.5",
            "evaluation.min_support=5",
        ]
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            cfg = compose("train", overrides=overrides)
        for name, scenes in splits.items():
            store(scenes, tmp_path / "processed" / name)
        out = tmp_path / "evaluate" / "made"
        out.mkdir(parents=True, exist_ok=True)
        return evaluate.measured(cfg, preprocess, CONFIGURED, network), out

    return evaluated


def scenes(start, count, **options):
    return [scene(seed, **options) for seed in range(start, start + count)]


def test_many_small_pictures_of_several_classes(run):
    report, out = run(val=scenes(0, 20), test=scenes(100, 30))
    assert report["measured_on"] == "test" and report["reason"] is None
    assert (
        0.3 < report["test"]["map50"]["value"] < 1 and report["test"]["map50"]["low"] < report["test"]["map50"]["high"]
    )
    assert report["test"]["resampled"] == {"unit": "picture", "units": 30}
    assert (report["test"]["pictures"], report["test"]["boxes"], report["val"]["pictures"]) == (30, 180, 20)
    assert "scenes" not in report["test"] and len(report["val"]["scenes"]) == 20  # many are not named one by one
    assert set(report["threshold"]["per_class"]) == set(LABELS)
    assert report["threshold"]["per_class"] == json.loads((out / "thresholds.json").read_text())["per_class"]
    assert report["per_class"]["red"]["threshold"] == report["threshold"]["per_class"]["red"]
    assert report["calibration"]["temperature"] > 0 and 0 <= report["calibration"]["ece_after"] <= 1
    assert len(list((out / "gallery").iterdir())) == 12
    assert flat_metrics(report)["per_class/blue/ap50"] == report["per_class"]["blue"]["ap50"]
    json.dumps(report)


def test_the_test_pictures_decide_nothing(run):
    one, _ = run(val=scenes(0, 10), test=scenes(100, 10))
    two, _ = run(val=scenes(0, 10), test=scenes(200, 5))
    assert one["threshold"] == two["threshold"] and one["val"] == two["val"] and one["test"] != two["test"]
    assert one["calibration"]["temperature"] == two["calibration"]["temperature"]


def test_the_metrics_repeat_to_the_bit(run):
    splits = {"val": scenes(0, 6), "test": scenes(100, 6)}
    (one, _), (two, _) = run(**splits), run(**splits)
    assert json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)


def test_private_pictures_leave_nothing_but_numbers(run):
    report, out = run(val=scenes(0, 6), test=scenes(100, 6), private=True)
    assert not (out / "gallery").exists() and not list(out.rglob("*.jpg"))
    written = [json.dumps(report).encode(), *(path.read_bytes() for path in out.rglob("*") if path.is_file())]
    assert not any(b"made-" in content or b"data:image/jpeg" in content for content in written)
    assert report["test"]["pictures"] == 6


@pytest.mark.parametrize("splits", [{"val": scenes(0, 6)}, {"val": scenes(0, 6), "test": scenes(100, 3, boxes=0)}])
def test_without_labelled_test_pictures_validation_is_reported_and_said_to_flatter(run, splits):
    report, out = run(**splits)
    assert report["test"] is None and report["measured_on"] == "val" and "validation" in report["reason"]
    assert report["val"]["figures"]["f1"]["value"] > 0
    assert "These figures are of validation".lower() in (out / "report.html").read_text().lower()
    assert "val mAP50" in evaluate.said(report)


def test_a_class_missing_in_validation_keeps_the_common_threshold(run):
    report, _ = run(val=scenes(0, 20, classes=(0, 1)), test=scenes(100, 20))
    assert set(report["threshold"]["per_class"]) == {"red", "green"}
    assert report["per_class"]["blue"]["threshold"] == report["threshold"]["score"]
    assert report["per_class"]["blue"]["ap50"] > 0


def test_a_class_missing_in_the_test_pictures_has_no_figures(run):
    report, out = run(val=scenes(0, 20), test=scenes(100, 20, classes=(0, 1)))
    assert report["per_class"]["blue"] | {"threshold": None} == {
        **dict.fromkeys(("ap50", "ap50_95", "precision", "recall", "f1", "threshold")),
        "support": 0,
    }
    assert "blue" in (out / "report.html").read_text()


def test_nothing_found_falls_back_on_the_configured_score_and_says_so(run):
    report, out = run(see_nothing, val=scenes(0, 4), test=scenes(100, 4))
    assert report["threshold"]["score"] == CONFIGURED.score and "the configuration" in report["threshold"]["chosen_on"]
    assert report["test"]["map50"]["value"] == 0 and report["calibration"]["temperature"] is None
    assert report["coco"]["AP50"] == 0 and report["counts"]["bias"] == -6
    assert "the configuration" in (out / "report.html").read_text()


def test_large_scenes_are_resampled_by_plots(run):
    tiles = Preprocess("tiles", 64, tile=64, overlap=16)
    report, _ = run(preprocess=tiles, val=scenes(0, 4), test=scenes(100, 4))
    assert report["test"]["resampled"]["unit"] == "plot of 400 pixels"


def test_no_labelled_box_at_all_is_a_reason_not_a_crash(run):
    report, _ = run(val=scenes(0, 2, boxes=0), test=scenes(100, 2, boxes=0))
    assert report["test"] is None and "labelled box" in report["reason"]
    assert "not measured" in evaluate.said(report)
