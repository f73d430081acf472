"""The detector's learning as Lightning runs it: loss, optimiser, schedule, validation on whole scenes.

Knows nothing of data on disk, of trackers or of configuration files.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from safelight.detections import Detections
from safelight.errors import ConfigError
from safelight.postprocess import Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.datamodule import Batch
from training.detector.interface import Detector
from training.detector.metrics import COCO_IOUS, Truth, coco_map
from training.detector.scenes import LabelledScene
from training.fitting.learner import Learner

MONITOR = "val/map50"
"""What the best checkpoint is chosen by: mAP50 on stitched validation scenes."""


class DetectorModule(Learner):
    """detector: with its base weights. preprocess, thresholds: how validation scenes are looked at. learning_rate: its
    peak, reached after `warmup_steps`, then a cosine down to 2 % of it at `steps` (Loshchilov & Hutter, "SGDR", 2017).
    weight_decay: of AdamW, on kernels only. freeze_norm: batch normalisation keeps its base statistics, for batches too
    small to tell their own; its scale and shift still learn. compiled: the loss goes through torch.compile."""

    monitor = MONITOR
    advice = "look for boxes without area in the report of the prepare stage"

    def __init__(
        self,
        detector: Detector,
        preprocess: Preprocess,
        thresholds: Thresholds,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        steps: int,
        freeze_norm: bool = False,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.detector: Detector = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self._preprocess, self._thresholds = preprocess, thresholds
        self._learning_rate, self._weight_decay = learning_rate, weight_decay
        self._warmup_steps, self._steps = warmup_steps, steps
        self._freeze_norm = freeze_norm
        self._losses = compiled_losses(detector) if compiled else detector.losses
        self._seen: list[tuple[Detections, Truth]] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What of the network learns at this step."""
        self.detector.schedule(self.trainer.global_step)
        if self._freeze_norm:
            for part in self.detector.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()

    def training_step(self, batch: Batch, _: int) -> dict[str, Any]:
        """The loss of a batch, and its terms for the history."""
        pictures, boxes, classes = batch
        terms = self._losses(pictures, boxes, classes)
        return {"loss": terms["loss"], "terms": {name: term.detach() for name, term in terms.items()}}

    def on_validation_epoch_start(self) -> None:
        """Forget the scenes of the last validation."""
        self._seen.clear()

    def validation_step(self, scene: LabelledScene | None, _: int) -> None:
        """Look at a whole scene, stitched from its tiles. None: another process has the last one."""
        if scene is None:
            return

        def run(batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            boxes, scores = self.detector(torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last))
            return boxes.float().cpu().numpy(), scores.float().cpu().numpy()

        self._seen.append((detect(scene.image, self._preprocess, self._thresholds, run), scene.truth))

    def on_validation_epoch_end(self) -> None:
        """mAP over all scenes."""
        found, truth = zip(*self._gathered(), strict=True)
        by_iou = coco_map(found, truth, len(self.detector.labels))
        self.log("val/map50", by_iou[COCO_IOUS[0]], prog_bar=True, batch_size=1, sync_dist=True)
        self.log("val/map50_95", float(np.mean(list(by_iou.values()))), batch_size=1, sync_dist=True)

    def _gathered(self) -> list[tuple[Detections, Truth]]:
        """The scenes of all processes, each of which looked at every n-th, in their order."""
        if self.trainer.world_size == 1:
            return self._seen
        shares: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(shares, self._seen)
        return [pair for row in itertools.zip_longest(*shares) for pair in row if pair is not None]

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


def compiled_losses(detector: Detector) -> Callable[..., dict[str, Tensor]]:
    """`detector.losses` through torch.compile. Raises ConfigError where that cannot work."""
    if not torch.cuda.is_available():
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise ConfigError("compile: torch.compile needs a C++ compiler on a CPU, and none was found.") from None
    compiled: Callable[..., dict[str, Tensor]] = torch.compile(detector.losses)
    return compiled
