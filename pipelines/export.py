"""export: the trained predictor as an ONNX graph, and the proof that the graph answers as the predictor does."""

from __future__ import annotations

from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console

from pipelines.evaluate import look, map50
from pipelines.models import pictures, thresholds, trained
from pipelines.stage import build, plain, stage, write_json
from safelight.bundle import MODEL
from safelight.preprocess import Preprocess
from training.detector.scenes import read_scenes
from training.export.onnx import export_onnx, onnx_run, torch_run
from training.export.parity import BATCHES, Tolerance, box_parity, describe, metric_parity, tensor_parity


@stage("train")
def main(cfg: DictConfig) -> None:
    """Export, then compare on tensors (batch 1, 2, 8), on the boxes of whole pictures, and on mAP50 where labels are."""
    folder = Path(cfg.out.export)
    preprocess: Preprocess = build(cfg.model.preprocess)
    decision, tolerance = thresholds(cfg), Tolerance(**plain(cfg.export.tolerance))
    predictor = trained(cfg)
    export_onnx(predictor, preprocess.input_size, folder / MODEL)
    reference, exported = torch_run(predictor), onnx_run(folder / MODEL)
    scenes = read_scenes(Path(cfg.data.processed) / "val") if cfg.data.labelled else []
    images = [s.image for s in scenes] or [image for _, image in pictures(Path(cfg.data.folder))]
    parity: dict[str, Any] = {
        "tolerance": describe(tolerance),
        "tensors": tensor_parity(reference, exported, example_batch(images, preprocess), tolerance),
        "boxes": box_parity(reference, exported, images, preprocess, decision, tolerance),
        "map50": None,
    }
    if scenes:
        parity["map50"] = metric_parity(
            lambda run: map50(look(scenes, preprocess, decision, run), scenes, len(cfg.data.labels)),
            reference,
            exported,
            tolerance,
        )
    write_json(folder / "parity.json", parity)
    Console(soft_wrap=True).print(
        f"export: {cfg.name} to ONNX, {parity['boxes']['matched']} boxes agree to {parity['boxes']['score']:.0e}"
    )


def example_batch(images: list[NDArray[np.uint8]], preprocess: Preprocess) -> NDArray[np.float32]:
    """As many real inputs as the largest batch needs, `(8, 3, S, S)`; few pictures come up again."""
    views = [(image, view) for image in images for view in preprocess.views((image.shape[1], image.shape[0]))]
    chosen = islice(chain.from_iterable(repeat(views)), max(BATCHES))
    return np.stack([preprocess.render(image, view) for image, view in chosen])


if __name__ == "__main__":
    main()
