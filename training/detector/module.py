"""The detector's learning as Lightning runs it: loss, optimiser, schedule, validation on whole scenes.

Knows nothing of data on disk, of trackers or of configuration files.
"""

from __future__ import annotations

import math

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from safelight.detections import Detections
from safelight.postprocess import Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.datamodule import Batch
from training.detector.interface import Detector
from training.detector.metrics import COCO_IOUS, Truth, coco_map
from training.detector.scenes import LabelledScene

MONITOR = "val/map50"
"""What the best checkpoint is chosen by: mAP50 on stitched validation scenes."""


class DetectorModule(pl.LightningModule):
    """detector: with its base weights. preprocess, thresholds: how validation scenes are looked at. learning_rate: its
    peak, reached after `warmup_steps`, then a cosine down to 2 % of it at `steps` (Loshchilov & Hutter, "SGDR", 2017).
    weight_decay: of AdamW, on kernels only."""

    def __init__(
        self,
        detector: Detector,
        preprocess: Preprocess,
        thresholds: Thresholds,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        steps: int,
    ) -> None:
        super().__init__()
        self.detector: Detector = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self._preprocess, self._thresholds = preprocess, thresholds
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._warmup_steps, self._steps = warmup_steps, steps
        self._seen: list[tuple[Detections, Truth]] = []

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of a batch."""
        pictures, boxes, classes = batch
        terms = self.detector.losses(pictures, boxes, classes)
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, batch_size=len(pictures))
        return terms["loss"]

    def on_validation_epoch_start(self) -> None:
        """Forget the scenes of the last validation."""
        self._seen.clear()

    def validation_step(self, scene: LabelledScene, _: int) -> None:
        """Look at a whole scene, stitched from its tiles."""

        def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            boxes, scores = self.detector(torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last))
            return boxes.float().cpu().numpy(), scores.float().cpu().numpy()

        self._seen.append((detect(scene.image, self._preprocess, self._thresholds, run), scene.truth))

    def on_validation_epoch_end(self) -> None:
        """mAP over all scenes."""
        found, truth = zip(*self._seen, strict=True)
        by_iou = coco_map(found, truth, len(self.detector.labels))
        self.log("val/map50", by_iou[COCO_IOUS[0]], prog_bar=True, batch_size=1)
        self.log("val/map50_95", float(np.mean(list(by_iou.values()))), batch_size=1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW (Loshchilov & Hutter, 2019) on what the detector says is trained."""
        groups = self.detector.parameter_groups(self._learning_rate, self._weight_decay)
        optimiser = torch.optim.AdamW(groups, self._learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self._warmup_steps))
        return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / self._steps))) / 2)
