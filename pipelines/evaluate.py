"""evaluate: thresholds chosen on validation scenes, figures reported on test scenes the training has not seen.

Writes metrics/NAME.json, and into its output folder thresholds.json, pr_curve.json and a picture of each test scene.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track

from pipelines.models import labels, pictures, trained
from pipelines.stage import build, stage, write_json
from safelight.detections import Detections
from safelight.drawing import draw
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.bootstrap import evaluate
from training.detector.metrics import COCO_IOUS, CROWN_IOU, best_threshold, coco_map, precision_recall_curve
from training.detector.scenes import LabelledScene, read_scenes
from training.export.onnx import torch_run


@stage("train")
def main(cfg: DictConfig) -> None:
    """Measure `cfg.name`, or say why it cannot be measured."""
    out = Path(cfg.out.evaluate)
    out.mkdir(parents=True, exist_ok=True)
    configured: Thresholds = build(cfg.model.thresholds)
    preprocess: Preprocess = build(cfg.model.preprocess)
    run = torch_run(trained(cfg))
    chosen: dict[str, float] = {}
    if not cfg.data.labelled:
        report = unmeasured(cfg.no_metrics)
        looked = [
            (name, image, detect(image, preprocess, configured, run)) for name, image in pictures(Path(cfg.data.folder))
        ]
    else:
        report, chosen, looked = measure(cfg, preprocess, configured, run)
    write_json(out / "thresholds.json", chosen)
    write_json(Path(cfg.paths.metrics) / f"{cfg.name}.json", report)
    for name, image, found in looked:
        Image.fromarray(draw(image, found.above(chosen.get("score", configured.score)), labels(cfg))).save(
            out / f"{name}.jpg"
        )
    Console(soft_wrap=True).print(f"evaluate: {cfg.name} {said(report)}")


def measure(
    cfg: DictConfig, preprocess: Preprocess, configured: Thresholds, run: Run
) -> tuple[dict[str, Any], dict[str, float], list[tuple[str, Any, Detections]]]:
    """(report, chosen thresholds, what was found on each test scene). The test scenes decide nothing."""
    root, classes = Path(cfg.data.processed), len(cfg.data.labels)
    val, test = read_scenes(root / "val"), read_scenes(root / "test")
    found_val = look(val, preprocess, configured, run)
    score, f1 = best_threshold(found_val, [s.truth for s in val], CROWN_IOU)
    chosen = {"score": round(min(max(score, configured.floor), 1.0), 4)}
    found = look(test, preprocess, configured, run)
    estimates = evaluate(
        found, [s.truth for s in test], classes, chosen["score"], match_iou=CROWN_IOU, samples=cfg.bootstrap_samples, seed=cfg.seed
    )
    curve = precision_recall_curve(found, [s.truth for s in test], CROWN_IOU)
    points = zip(curve.recall, curve.precision, curve.scores, strict=True)
    write_json(
        Path(cfg.out.evaluate) / "pr_curve.json",
        [{"recall": float(r), "precision": float(p), "score": float(s)} for r, p, s in points][
            :: max(1, len(curve.scores) // 300)
        ],
    )
    report = {
        "reason": None,
        "threshold": {"score": chosen["score"], "chosen_on": "validation scenes", "val_f1": f1},
        "val": {"map50": map50(found_val, val, classes), "scenes": [s.image_id for s in val]},
        "test": {name: asdict(estimate) for name, estimate in estimates.items()}
        | {
            "scenes": [s.image_id for s in test],
            "boxes": sum(len(s.truth) for s in test),
            "iou_of_precision_and_recall": CROWN_IOU,
        },
    }
    return report, chosen, [(s.image_id, s.image, f) for s, f in zip(test, found, strict=True)]


def look(scenes: list[LabelledScene], preprocess: Preprocess, thresholds: Thresholds, run: Run) -> list[Detections]:
    """What is found on whole scenes, down to the floor."""
    return [detect(s.image, preprocess, thresholds, run) for s in track(scenes, description="looking at scenes")]


def map50(found: list[Detections], scenes: list[LabelledScene], classes: int) -> float:
    """mAP at IoU 0.5."""
    return coco_map(found, [s.truth for s in scenes], classes, COCO_IOUS[:1])[COCO_IOUS[0]]


def unmeasured(reason: str) -> dict[str, Any]:
    """The report of a model without labelled data: nothing, and why."""
    return {"reason": reason, "threshold": None, "val": None, "test": None}


def said(report: dict[str, Any]) -> str:
    """One line for a person."""
    if report["test"] is None:
        return f"not measured: {report['reason']}"
    figure = report["test"]["map50"]
    return f"test mAP50 {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
