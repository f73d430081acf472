"""YOLOv3-tiny as a `Detector`.

Knows nothing of where the weights file or the boxes come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from safelight.errors import ConfigError
from training.detector.interface import Detector
from training.detector.yolov3_tiny.anchors import fit_anchors
from training.detector.yolov3_tiny.darknet import load_darknet
from training.detector.yolov3_tiny.loss import LossWeights, detection_loss
from training.detector.yolov3_tiny.network import STRIDES, WIDTHS, YoloV3Tiny, decode

Anchors = Sequence[Sequence[Sequence[float]]]
PER_HEAD = 3


class YoloV3TinyDetector(Detector):
    """anchors, grid_scale, widths: see `YoloV3Tiny`. max_ratio, loss_weights: see loss.py."""

    family = "yolov3_tiny"

    def __init__(
        self,
        labels: Sequence[str],
        anchors: Anchors,
        grid_scale: float = 1.0,
        max_ratio: float = 3.0,
        loss_weights: LossWeights | None = None,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__(labels)
        self.network = YoloV3Tiny(len(self.labels), anchors, grid_scale, widths)
        self._max_ratio, self._loss_weights = max_ratio, loss_weights or LossWeights()
        self._widths = tuple(widths)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Detector`. A score is objectness times class probability."""
        return decode(self.network, self.network(images))

    def losses(self, images: Tensor, boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `Detector`. Terms: box, objectness, classes."""
        network = self.network
        return detection_loss(
            network(images),
            boxes,
            classes,
            network.anchors,
            network.grid_scale,
            max_ratio=self._max_ratio,
            weights=self._loss_weights,
        )

    def describe(self) -> dict[str, Any]:
        """Anchors, grid scale and widths."""
        anchors = self.network.anchors.tolist()
        return {"anchors": anchors, "grid_scale": self.network.grid_scale, "widths": list(self._widths)}

    @classmethod
    def rebuild(cls, labels: Sequence[str], description: Mapping[str, Any]) -> Self:
        """See `Detector`."""
        return cls(labels, **description)


def pretrained(
    labels: Sequence[str],
    path: str,
    anchors: Anchors | Literal["auto"],
    *,
    keep_heads: bool,
    input_size: int = 416,
    box_sizes: NDArray[np.float32] | None = None,
    grid_scale: float = 1.0,
    max_ratio: float = 3.0,
    loss_weights: LossWeights | None = None,
) -> YoloV3TinyDetector:
    """The detector with the authors' COCO weights from the file at `path`; the output convolutions only if `keep_heads`.

    anchors: `auto` fits them to `box_sizes` `(N, 2)`, widths and heights of the training boxes in input pixels.
    Raises WeightsError on a file that is not theirs, ConfigError when there is nothing to fit anchors to, or when the
    input's side is no multiple of the coarsest cells.
    """
    if input_size % STRIDES[-1]:
        raise ConfigError(f"input_size: expected a multiple of {STRIDES[-1]} pixels, got {input_size}.")
    if anchors == "auto":
        if box_sizes is None or len(box_sizes) < len(STRIDES) * PER_HEAD:
            count = 0 if box_sizes is None else len(box_sizes)
            raise ConfigError(f"anchors: auto needs at least {len(STRIDES) * PER_HEAD} training boxes, got {count}.")
        fitted = fit_anchors(box_sizes, len(STRIDES) * PER_HEAD)
        anchors = fitted.reshape(len(STRIDES), PER_HEAD, 2).round(1).tolist()
    detector = YoloV3TinyDetector(labels, anchors, grid_scale, max_ratio, loss_weights)
    load_darknet(detector.network, Path(path), keep_heads=keep_heads)
    return detector
