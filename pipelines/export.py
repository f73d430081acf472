"""export: the trained predictor as an ONNX graph, the proof that the graph answers as the predictor does, and cheaper
variants of it behind gates.

Writes into its output folder model.onnx, parity.json (how far the graph is from the network), report.json (how it was made,
and what became of each variant), serving.json (golden samples of each graph, and the reference for drift) and, where int8 was
accepted, model.int8.onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from pipelines.models import labels, pictures, thresholds, trained
from pipelines.stage import build, plain, stage, write_json
from safelight.bundle import MODEL
from safelight.detections import Detections
from safelight.drift import LEARNT, LEAST
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.metrics import COCO_IOUS, coco_map
from training.detector.scenes import LabelledScene, read_scenes
from training.export.golden import golden_samples, reference
from training.export.int8 import INT8, Int8
from training.export.onnx import describe_graph, export_onnx, onnx_run, torch_run
from training.export.parity import BATCHES, Tolerance, box_parity, describe, metric_parity, tensor_parity
from training.export.report import lines
from training.export.samples import calibration_inputs, files
from training.export.variants import Dct, dct_variant, int8_variant, manifest_variants, not_offered


@stage("train")
def main(cfg: DictConfig) -> None:
    """Export, then compare on tensors (batch 1, 2, 8), on the boxes of whole pictures, and on mAP50 where labels are."""
    folder = Path(cfg.out.export)
    preprocess: Preprocess = build(cfg.model.preprocess)
    decision = thresholds(cfg)
    predictor = trained(cfg)
    made = export_onnx(predictor, preprocess.input_size, folder / MODEL, cfg.export.exporter)
    scenes = read_scenes(Path(cfg.data.processed) / "val") if cfg.data.labelled else []
    parity = compare(cfg, torch_run(predictor), onnx_run(folder / MODEL), scenes, preprocess, decision)
    write_json(folder / "parity.json", parity | {"exporter": made.exporter, "opset": made.opset})
    report = {
        "graph": describe_graph(folder / MODEL, made),
        "variants": variants(cfg, scenes, parity, preprocess, decision),
    }
    write_json(folder / "report.json", report)
    serving = for_serving(cfg, report, scenes, preprocess, decision)
    write_json(folder / "serving.json", serving)
    console = Console(soft_wrap=True, highlight=False)
    for line in lines(cfg.name, report, parity, serving):
        console.print(line)


def compare(
    cfg: DictConfig,
    reference: Run,
    exported: Run,
    scenes: Sequence[LabelledScene],
    preprocess: Preprocess,
    decision: Thresholds,
) -> dict[str, Any]:
    """How far the graph is from the network. Raises ParityError when that is too far."""
    tolerance = Tolerance(**plain(cfg.export.tolerance))
    images = [s.image for s in scenes] or [image for _, image in pictures(Path(cfg.data.folder))]
    parity: dict[str, Any] = {
        "tolerance": describe(tolerance),
        "tensors": tensor_parity(reference, exported, example_batch(images, preprocess), tolerance),
        "boxes": box_parity(reference, exported, images, preprocess, decision, tolerance),
        "map50": None,
    }
    if scenes:
        parity["map50"] = metric_parity(
            lambda run: map50(look(scenes, preprocess, decision, run), scenes, len(labels(cfg))),
            reference,
            exported,
            tolerance,
        )
    return parity


def variants(
    cfg: DictConfig,
    scenes: Sequence[LabelledScene],
    parity: dict[str, Any],
    preprocess: Preprocess,
    decision: Thresholds,
) -> dict[str, Any]:
    """What became of each variant: accepted, refused or not offered, and why."""
    graph, split, classes = Path(cfg.out.export) / MODEL, Path(cfg.data.processed), len(labels(cfg))
    int8 = Int8(**plain(cfg.export.int8))
    dct = Dct(**plain(cfg.export.dct))
    graph.with_name(INT8).unlink(missing_ok=True)
    if not scenes:
        unmeasurable = not_offered("without labelled pictures there is no mAP50 to gate it on")
        return {"int8": unmeasurable, "dct": unmeasurable}
    found = {"int8": not_offered("switched off"), "dct": not_offered("switched off")}
    runs = {"fp32": onnx_run(graph)}
    if int8.enabled:
        found["int8"] = int8_variant(
            graph,
            int8,
            calibration_inputs(split / "train", preprocess, int8.samples, cfg.seed),
            lambda run: map50(look(scenes, preprocess, decision, run), scenes, classes),
            parity["map50"]["exported"],
            cfg.export.repeats,
        )
        if found["int8"]["outcome"] == "accepted":
            runs["int8"] = onnx_run(graph.with_name(INT8))
    if dct.enabled and preprocess.mode != "letterbox":
        found["dct"] = not_offered("pictures are cut into tiles at their own scale, so every pixel is looked at")
    elif dct.enabled:
        found["dct"] = dct_variant(
            files(split / "val"),
            dct,
            preprocess,
            decision,
            runs,
            lambda boxes: map50(boxes, scenes, classes),
            cfg.export.repeats,
        )
    return found


def for_serving(
    cfg: DictConfig,
    report: dict[str, Any],
    scenes: Sequence[LabelledScene],
    preprocess: Preprocess,
    decision: Thresholds,
) -> dict[str, Any]:
    """What the manifest is to tell a server that loads the graphs: their golden samples, and how pictures and answers are on
    validation pictures, or on those of the data folder; at most `LEARNT`, evenly taken."""
    folder = Path(cfg.out.export)
    variants = [variant.file for variant in manifest_variants(report).values() if variant.file is not None]
    golden = golden_samples(folder, variants, preprocess, cfg.seed)
    if scenes:
        wanted = min(len(scenes), LEARNT) if len(scenes) >= LEAST else 0
        images = (scenes[round(i * (len(scenes) - 1) / (wanted - 1))].image for i in range(wanted))
    else:
        images = (image for _, image in islice(pictures(Path(cfg.data.folder)), LEARNT))
    usual = reference(images, preprocess, decision, labels(cfg), onnx_run(folder / MODEL))
    return {
        "golden": {name: made.model_dump(mode="json") for name, made in golden.items()},
        "reference": None if usual is None else usual.model_dump(mode="json"),
    }


def look(scenes: Sequence[LabelledScene], preprocess: Preprocess, decision: Thresholds, run: Run) -> list[Detections]:
    """What is found on whole scenes, down to the floor."""
    return [detect(scene.image, preprocess, decision, run) for scene in scenes]


def map50(found: list[Detections], scenes: Sequence[LabelledScene], classes: int) -> float:
    """mAP at IoU 0.5."""
    return coco_map(found, [scene.truth for scene in scenes], classes, COCO_IOUS[:1])[COCO_IOUS[0]]


def example_batch(images: list[NDArray[np.uint8]], preprocess: Preprocess) -> NDArray[np.float32]:
    """As many real inputs as the largest batch needs, `(8, 3, S, S)`; few pictures come up again."""
    views = [(image, view) for image in images for view in preprocess.views((image.shape[1], image.shape[0]))]
    chosen = islice(chain.from_iterable(repeat(views)), max(BATCHES))
    return np.stack([preprocess.render(image, view) for image, view in chosen])


if __name__ == "__main__":
    main()
