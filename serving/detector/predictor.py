"""The detector: from a picture to `Detections`. Knows nothing of BentoML, HTTP, files or ONNX Runtime.

It is the same postprocessing that evaluation and export parity use; only the function that runs the network is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess


@dataclass(frozen=True)
class Predictor:
    """A detector that is ready to look. batch_size: views of a picture that are prepared and run together."""

    labels: tuple[str, ...]
    preprocess: Preprocess
    thresholds: Thresholds
    run: Run
    batch_size: int

    def predict(
        self, image: NDArray[np.uint8], threshold: float | None = None, class_ids: Sequence[int] | None = None
    ) -> Detections:
        """What is on `(H, W, 3)` uint8 RGB, strongest first, boxes in the picture's pixels.

        threshold: the least score of every class, by default the one chosen for each on validation data; never below
        `thresholds.floor`. class_ids: the classes to keep, None for all. Blocks until the network has run.
        """
        least = self.thresholds.scores(self.labels) if threshold is None else threshold
        floor = float(np.min(least))
        found = detect(image, self.preprocess, self.thresholds, self.run, floor=floor, batch_size=self.batch_size)
        found = found.above(least)
        return found if class_ids is None else found.of_classes(class_ids)
