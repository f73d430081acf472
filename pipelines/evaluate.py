"""evaluate: thresholds and temperature chosen on validation pictures, figures reported on test pictures.

Writes metrics/NAME.json, which repeats to the bit, and into its output folder thresholds.json, curves and charts, the
latency on this machine, report.html, and, where the data card says that pictures are not private, a gallery of them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from pipelines.models import labels, pictures, trained
from pipelines.stage import build, stage, write_json
from safelight.detections import Detections
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.metrics import COCO_IOUS, coco_map
from training.detector.scenes import LabelledScene, read_scenes
from training.evaluation.files import Evaluation, write_evaluation, write_unmeasured
from training.evaluation.latency import processor, summary, time_network
from training.evaluation.measure import Calibrated, Measured, calibrate, measure
from training.evaluation.observed import Observed, observe
from training.evaluation.thresholds import Choice, choose
from training.export.onnx import torch_run

_CLOCK = time.perf_counter
_LISTED = 20  # pictures of a split that are named one by one in the metrics


@stage("train")
def main(cfg: DictConfig) -> None:
    """Measure `cfg.name`, or say why it cannot be measured."""
    out = Path(cfg.out.evaluate)
    shutil.rmtree(out, ignore_errors=True)  # nothing of an earlier run, least of all a picture that is private now
    out.mkdir(parents=True)
    configured: Thresholds = build(cfg.model.thresholds)
    preprocess: Preprocess = build(cfg.model.preprocess)
    run = torch_run(trained(cfg))
    report = (
        measured(cfg, preprocess, configured, run)
        if cfg.data.labelled
        else unlabelled(cfg, preprocess, configured, run)
    )
    write_json(Path(cfg.paths.metrics) / f"{cfg.name}.json", report)
    Console(soft_wrap=True).print(f"evaluate: {cfg.name} {said(report)}")


def measured(cfg: DictConfig, preprocess: Preprocess, configured: Thresholds, run: Run) -> dict[str, Any]:
    """Choose on validation pictures, measure on test pictures, which decide nothing; without those, on validation."""
    out, names, options = Path(cfg.out.evaluate), labels(cfg), cfg.evaluation
    val_scenes, test_scenes = (split(Path(cfg.data.processed) / name) for name in ("val", "test"))
    val = observe(shown(val_scenes, "validation"), preprocess, configured, run, _CLOCK)
    choice = choose(val, names, configured, options.match_iou, options.min_support)
    write_json(out / "thresholds.json", choice.to_dict())
    test = observe(shown(test_scenes, "test"), preprocess, configured, run, _CLOCK)
    seen, scenes, on = (test, test_scenes, "test") if test.boxes else (val, val_scenes, "val")
    if not seen.boxes:
        return unmeasured("Neither the validation nor the test pictures have a labelled box.")
    iou, least = options.match_iou, choice.applied_to(configured).scores(names)
    plot = options.plot if preprocess.mode == "tiles" else None
    found = measure(seen, names, least, match_iou=iou, plot=plot, samples=cfg.bootstrap_samples, seed=cfg.seed)
    calibrated = calibrate(val, seen, iou)
    report = summarised(cfg, val, seen, on, choice, found, calibrated)
    speed = speeds(cfg, run, preprocess, seen.seconds)
    words = {"test": "test", "val": "validation"}[on]
    write_evaluation(
        out,
        Evaluation(cfg.name, tuple(names), words, seen, found, calibrated, choice, iou, speed),
        [report["reason"]] if report["reason"] else [],
        None if cfg.data.private else scenes,
        plot=plot,
        best=options.gallery.best,
        worst=options.gallery.worst,
    )
    return report


def summarised(
    cfg: DictConfig,
    val: Observed,
    seen: Observed,
    on: str,
    choice: Choice,
    found: Measured,
    calibrated: Calibrated,
) -> dict[str, Any]:
    """What metrics/NAME.json holds."""
    private, counting = bool(cfg.data.private), found.counting()
    val_map = coco_map(val.found, val.truths, len(labels(cfg)), COCO_IOUS[:1])[COCO_IOUS[0]] if val.boxes else None
    figures = {
        **found.figures,
        **described(seen, private),
        "iou_of_precision_and_recall": cfg.evaluation.match_iou,
        "resampled": {"unit": counting["unit"], "units": counting["units"]},
    }
    return {
        "reason": None
        if on == "test"
        else "There are no labelled test pictures: these figures are of validation, which chose the thresholds.",
        "measured_on": on,
        "test": figures if on == "test" else None,
        "val": {"map50": val_map, **described(val, private), **({} if on == "test" else {"figures": figures})},
        "threshold": {**choice.to_dict(), "chosen_on": choice.chosen_on, "val_f1": choice.val_f1},
        "coco": found.coco.total,
        "per_class": found.per_class,
        "calibration": calibrated.values,
        "counts": counting,
    }


def described(seen: Observed, private: bool) -> dict[str, Any]:
    """How much a split holds; its pictures by name where they are few and not private."""
    named = {"scenes": list(seen.image_ids)} if not private and len(seen) <= _LISTED else {}
    return {"pictures": len(seen), "boxes": seen.boxes, **named}


def unlabelled(cfg: DictConfig, preprocess: Preprocess, configured: Thresholds, run: Run) -> dict[str, Any]:
    """Look at the pictures without measuring anything but time."""
    out, report = Path(cfg.out.evaluate), unmeasured(cfg.no_metrics)
    write_json(out / "thresholds.json", {})
    looked, seconds = [], []
    for name, image in pictures(Path(cfg.data.folder)):
        begun = _CLOCK()
        found = detect(image, preprocess, configured, run)
        seconds.append(_CLOCK() - begun)
        looked.append((name, image, found.above(configured.score)))
    speed = speeds(cfg, run, preprocess, seconds)
    write_unmeasured(out, cfg.name, labels(cfg), cfg.no_metrics, speed, [] if cfg.data.private else looked)
    return report


def split(folder: Path) -> Sequence[LabelledScene]:
    """The scenes of a prepared split; none where the data has no such split."""
    return read_scenes(folder) if folder.is_dir() else []


def speeds(cfg: DictConfig, run: Run, preprocess: Preprocess, seconds: Sequence[float]) -> dict[str, Any]:
    """Latency of the network and of the looks that were taken, and what it was measured on."""
    size = preprocess.input_size
    return {
        "network_input_ms": summary(time_network(run, size, cfg.evaluation.latency_inputs, _CLOCK)),
        "picture_ms": summary(seconds) if len(seconds) else None,
        "batch": 1,
        "input_size": size,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "runtime": f"torch {torch.__version__.partition('+')[0]}",
    }


def shown(scenes: Sequence[LabelledScene], name: str) -> Iterable[LabelledScene]:
    """The scenes, with a bar on the terminal."""
    return track(scenes, description=f"looking at {name} pictures", total=len(scenes)) if len(scenes) else scenes


def look(scenes: Iterable[LabelledScene], preprocess: Preprocess, thresholds: Thresholds, run: Run) -> list[Detections]:
    """What is found on whole scenes, down to the floor."""
    return list(observe(scenes, preprocess, thresholds, run, _CLOCK).found)


def map50(found: Sequence[Detections], scenes: Iterable[LabelledScene], classes: int) -> float:
    """mAP at IoU 0.5."""
    return coco_map(found, [s.truth for s in scenes], classes, COCO_IOUS[:1])[COCO_IOUS[0]]


def unmeasured(reason: str) -> dict[str, Any]:
    """The report of a model without labelled data: nothing, and why."""
    return {"reason": reason, "threshold": None, "val": None, "test": None}


def said(report: dict[str, Any]) -> str:
    """One line for a person."""
    on = report.get("measured_on")
    if on is None:
        return f"not measured: {report['reason']}"
    figure = report[on]["map50"] if on == "test" else None
    if figure is None:
        return f"val mAP50 {report['val']['map50']:.3f}; {report['reason']}"
    return f"test mAP50 {figure['value']:.3f} (95 % interval {figure['low']:.3f} to {figure['high']:.3f})"


if __name__ == "__main__":
    main()
