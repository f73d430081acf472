"""What an evaluation leaves in its folder: curves as data for DVC's plots, charts, a gallery, and the page that shows all.

Knows nothing of networks or of where the folder is. It is told which pictures may be shown: none of private data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight.detections import Detections
from safelight.drawing import draw
from training.detector.scenes import LabelledScene
from training.evaluation import charts, sections
from training.evaluation.calibration import BINS
from training.evaluation.classes import points
from training.evaluation.confusion import rows
from training.evaluation.gallery import captions, choose, cropped, exhibits
from training.evaluation.measure import Calibrated, Measured
from training.evaluation.observed import Observed
from training.evaluation.panel import panel
from training.evaluation.report import Picture, Section, page
from training.evaluation.thresholds import Choice

_LONGEST = 1600  # pixels of a side of a picture that is shown whole


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as its files show it. on: the split, in words."""

    name: str
    labels: tuple[str, ...]
    on: str
    seen: Observed
    found: Measured
    calibrated: Calibrated
    choice: Choice
    match_iou: float
    speed: dict[str, Any]


def write_evaluation(
    folder: Path,
    evaluation: Evaluation,
    notes: Sequence[str],
    scenes: Sequence[LabelledScene] | None,
    *,
    plot: int | None,
    best: int,
    worst: int,
) -> None:
    """Data, charts, gallery and report.html. scenes: those of the split, None where their pictures may not be shown."""
    write_data(folder, evaluation)
    drawn = draw_charts(evaluation)
    for name, data in drawn.items():
        (folder / f"{name}.png").write_bytes(data)
    shown: dict[str, list[Picture]] = {"best": [], "worst": []}
    if scenes is not None:
        shown = gallery(evaluation, scenes, plot, best, worst)
        for group, pictures in shown.items():
            _write_pictures(folder / "gallery", group, pictures)
    content = sections.measured(
        evaluation.on, evaluation.found, evaluation.calibrated, evaluation.choice, evaluation.speed, drawn, shown
    )
    subtitle = (
        f"Measured on {len(evaluation.seen)} {evaluation.on} pictures with {evaluation.seen.boxes} boxes; a box is found "
        f"from an IoU of {evaluation.match_iou:g}."
    )
    (folder / "report.html").write_text(page(evaluation.name, subtitle, notes, content))


def write_unmeasured(
    folder: Path,
    name: str,
    labels: Sequence[str],
    reason: str,
    speed: dict[str, Any],
    looked: Sequence[tuple[str, NDArray[np.uint8], Detections]],
) -> None:
    """The page of a model that is not measured, with what it found on pictures that may be shown."""
    _write_json(folder / "latency.json", speed)
    pictures = [Picture(_jpeg(_shrunk(draw(image, found, labels))), title) for title, image, found in looked]
    _write_pictures(folder / "gallery", "picture", pictures)
    content: list[Section] = [sections.latency(speed)]
    if pictures:
        content.insert(0, Section("What it finds", "At the configured thresholds.", pictures=pictures, wide=True))
    (folder / "report.html").write_text(page(name, "Not measured.", [reason], content))


def write_data(folder: Path, evaluation: Evaluation) -> None:
    """pr_curve.json, pr_classes.json, confusion.csv, reliability.json, counts.json and latency.json."""
    found, calibrated = evaluation.found, evaluation.calibrated
    _write_json(folder / "pr_curve.json", points(found.curve))
    by_class = [{"class": label, **row} for label, curve in found.curves.items() for row in points(curve)]
    _write_json(folder / "pr_classes.json", by_class)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("actual", "predicted"), *rows(found.confusion, evaluation.labels)]
    )
    (folder / "confusion.csv").write_text(text.getvalue())
    before = {b.low: b for b in calibrated.before}
    after = {b.low: b for b in calibrated.after or []}
    reliable = []
    for low in sorted({*before, *after}):
        row: dict[str, Any] = {"score": round(low + 0.5 / BINS, 4), "calibrated": round(low + 0.5 / BINS, 4)}
        for name, bins in (("before", before), ("after", after)):
            row |= {name: bins[low].precision, f"{name}_count": bins[low].count} if low in bins else {name: None}
        reliable.append(row)
    _write_json(folder / "reliability.json", reliable)
    pairs = zip(found.true_counts.tolist(), found.found_counts.tolist(), strict=True)
    _write_json(folder / "counts.json", [{"there": there, "answered": answered} for there, answered in pairs])
    _write_json(folder / "latency.json", evaluation.speed)


def draw_charts(evaluation: Evaluation) -> dict[str, bytes]:
    """Charts by name, PNG."""
    found, calibrated, labels = evaluation.found, evaluation.calibrated, evaluation.labels
    ap50 = {labels[class_id]: value for class_id, value in found.coco.ap50.items()}
    words = f"from {evaluation.choice.chosen_on}" if evaluation.choice.val_f1 is not None else "as configured"
    return {
        "precision_recall": charts.precision_recall_chart(found.curves, ap50, evaluation.match_iou),
        "threshold": charts.threshold_chart(found.curve, evaluation.choice.score, words),
        "confusion": charts.confusion_chart(found.confusion, labels),
        "reliability": charts.reliability_chart(
            calibrated.before, calibrated.after, f"at temperature {calibrated.temperature or 1:.2f}"
        ),
        "counts": charts.counts_chart(found.found_counts, found.true_counts, found.unit),
    }


def gallery(
    evaluation: Evaluation, scenes: Sequence[LabelledScene], plot: int | None, best: int, worst: int
) -> dict[str, list[Picture]]:
    """The best and the worst as pictures; the scenes are decoded one at a time, only those that are shown."""
    sure, truths = evaluation.found.sure, evaluation.seen.truths
    chosen = choose(exhibits(sure, truths, evaluation.match_iou, plot), best, worst)
    result: dict[str, list[Picture]] = {}
    for group, some in zip(("best", "worst"), chosen, strict=True):
        result[group] = []
        for exhibit in some:
            truth = truths[exhibit.scene]
            region = cropped(exhibit, truth.image_size) if group == "worst" else exhibit.region
            drawn = panel(
                scenes[exhibit.scene].image,
                exhibit,
                region,
                sure[exhibit.scene],
                truth,
                evaluation.labels,
                evaluation.match_iou,
            )
            result[group].append(Picture(_jpeg(drawn), captions(exhibit, evaluation.seen)))
    return result


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST))
    return np.asarray(picture)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _write_pictures(folder: Path, group: str, pictures: Sequence[Picture]) -> None:
    for number, picture in enumerate(pictures, 1):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{group}-{number:02}.jpg").write_bytes(picture.data)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
