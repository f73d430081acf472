"""The files an evaluation leaves: complete, the same each time, and without a picture where none may be shown."""

import csv
import io
import json
import re
from itertools import count

import numpy as np
import pytest
from PIL import Image

from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.evaluation.made import LABELS, found, scene, see_colours
from training.evaluation.files import Evaluation, write_evaluation, write_unmeasured
from training.evaluation.latency import processor, summary, time_network
from training.evaluation.measure import calibrate, measure
from training.evaluation.observed import observe
from training.evaluation.report import Picture
from training.evaluation.thresholds import choose

CONFIGURED = Thresholds(0.3, 0.5, 0.01)
NASTY = ("<script>alert(1)</script>", '_$x^2$, "quoted"', "木\nBaum")


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed) for seed in range(12)]


def evaluation(scenes, labels):
    ticks = count(0, 0.001)
    seen = observe(scenes, Preprocess("letterbox", 64), CONFIGURED, see_colours, lambda: next(ticks))
    choice = choose(seen, labels, CONFIGURED, 0.5, 3)
    least = choice.applied_to(CONFIGURED).scores(labels)
    done = measure(seen, labels, least, match_iou=0.5, plot=None, samples=20, seed=0)
    speed = {
        "network_input_ms": summary([0.001, 0.003]),
        "picture_ms": summary(seen.seconds),
        "batch": 1,
        "input_size": 64,
        "threads": 1,
        "processor": "a processor",
        "runtime": "numpy",
    }
    return Evaluation("made", labels, "test", seen, done, calibrate(seen, seen, 0.5), choice, 0.5, speed)


def test_all_files_and_nothing_but_what_the_labels_say(scenes, tmp_path):
    made = evaluation(scenes, LABELS)
    write_evaluation(tmp_path, made, ["A note & more."], scenes, plot=None, best=2, worst=3)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        *(f"{name}.json" for name in ("pr_curve", "pr_classes", "reliability", "counts", "latency")),
        *(f"{name}.png" for name in ("precision_recall", "threshold", "confusion", "reliability", "counts")),
        *("gallery/best-01.jpg", "gallery/best-02.jpg"),
        *("gallery/worst-01.jpg", "gallery/worst-02.jpg", "gallery/worst-03.jpg"),
        *("confusion.csv", "report.html"),
    }
    for path in [*tmp_path.glob("*.png"), *tmp_path.rglob("*.jpg")]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 300 and pixels.std() > 5
    rows = list(csv.DictReader(io.StringIO((tmp_path / "confusion.csv").read_text())))
    assert len(rows) == made.found.confusion.sum()
    assert {row["actual"] for row in rows} <= {*LABELS, "(nothing)"}
    curve = json.loads((tmp_path / "pr_curve.json").read_text())
    assert all(set(row) == {"recall", "precision", "score"} for row in curve) and len(curve) > 10
    assert {row["class"] for row in json.loads((tmp_path / "pr_classes.json").read_text())} == set(LABELS)
    counted = json.loads((tmp_path / "counts.json").read_text())
    assert len(counted) == len(scenes)
    page = (tmp_path / "report.html").read_text()
    assert "A note &amp; more." in page and page.count("data:image/jpeg") == 5 and page.count("data:image/png") == 5
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # it needs nothing beside it


def test_figures_are_consistent(scenes):
    made = evaluation(scenes, LABELS)
    table, figures = made.found.per_class, made.found.figures
    answered = sum(map(len, made.found.sure))
    right = int(np.trace(made.found.confusion))
    assert figures["precision"]["value"] == pytest.approx(right / answered)
    assert sum(row["support"] for row in table.values()) == made.seen.boxes
    assert sum(row["recall"] * row["support"] for row in table.values()) == pytest.approx(right)
    assert made.found.coco.total["AP50"] == pytest.approx(figures["map50"]["value"])
    counting = made.found.counting()
    assert counting["bias"] == pytest.approx((answered - made.seen.boxes) / len(scenes))
    assert counting["mae"] == pytest.approx(figures["count_mae"]["value"])
    assert (counting["unit"], counting["units"]) == ("picture", len(scenes))
    assert set(made.choice.per_class) == set(LABELS) and set(table["red"]) == {
        *("ap50", "ap50_95", "precision", "recall", "f1", "support", "threshold")
    }


def test_private_pictures_are_not_shown_and_labels_are_only_text(scenes, tmp_path):
    made = evaluation(scenes, NASTY)
    write_evaluation(tmp_path, made, [], None, plot=None, best=2, worst=3)
    assert not (tmp_path / "gallery").exists()
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    assert "data:image/jpeg" not in page and "made-" not in page
    with (tmp_path / "confusion.csv").open(newline="") as file:
        assert {row["predicted"] for row in csv.DictReader(file)} <= {*NASTY, "(nothing)"}


def test_the_same_evaluation_leaves_the_same_bytes(scenes, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_evaluation(tmp_path / name, evaluation(scenes[:4], LABELS), [], scenes, plot=None, best=1, worst=1)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


def test_a_model_without_labels_shows_what_it_finds(tmp_path, scenes):
    speed = {"network_input_ms": summary([0.1]), "picture_ms": None, "batch": 1, "input_size": 64, "threads": 1,
             "processor": "a processor", "runtime": "numpy"}  # fmt: skip
    looked = [("yard", scenes[0].image, found([[0, 0, 40, 40]], [0.9]))]
    write_unmeasured(tmp_path, "made", LABELS, "No labels.", speed, looked)
    assert (tmp_path / "gallery/picture-01.jpg").is_file() and "No labels." in (tmp_path / "report.html").read_text()
    write_unmeasured(tmp_path / ".", "made", LABELS, "No labels.", speed, [])
    assert "data:image" not in (tmp_path / "report.html").read_text()


def test_a_page_takes_pictures_only():
    with pytest.raises(ValueError, match="PNG or JPEG"):
        Picture(b"GIF89a", "a picture").uri  # noqa: B018


def test_latency_is_told_by_the_clock_that_is_given(tmp_path):
    ticks = iter([0, 0.1, 1, 1.2, 2, 2.3])
    ran = []
    times = time_network(lambda batch: ran.append(batch.shape), 32, 3, lambda: next(ticks))
    assert times == pytest.approx([0.1, 0.2, 0.3]) and set(ran) == {(1, 3, 32, 32)} and len(ran) == 6
    assert summary(times) == {"p50": 200.0, "p95": 290.0, "count": 3}
    table = tmp_path / "cpuinfo"
    table.write_text("vendor: x\nmodel name\t: Fast 3000\n")
    assert processor(table) == "Fast 3000"
    assert processor(tmp_path / "missing")
