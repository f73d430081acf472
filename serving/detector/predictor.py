"""The detector: from a picture to `Detections`. Knows nothing of BentoML, HTTP, files or ONNX Runtime.

It is the same pre- and postprocessing that evaluation and export parity use; only what runs the network is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from safelight.postprocess import Output, Thresholds, assemble
from safelight.preprocess import Preprocess, View, render_view, to_tensor
from serving.models.batching import Ran
from serving.privacy.record import Record

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Predictor:
    """A detector that is ready to look. run: the network, blocking. batch_size: views of a picture that are prepared and run
    together. clock: monotonic seconds, that of `run`. seen: told what the network was first given, and what was found."""

    labels: tuple[str, ...]
    preprocess: Preprocess
    thresholds: Thresholds
    run: Callable[[NDArray[np.float32]], Ran]
    batch_size: int
    clock: Callable[[], float] = time.perf_counter
    seen: Callable[[Pixels, Detections], None] = lambda view, found: None

    def predict(
        self,
        image: Pixels,
        threshold: float | None = None,
        class_ids: Sequence[int] | None = None,
        record: Record | None = None,
    ) -> Detections:
        """What is on `(H, W, 3)` uint8 RGB, strongest first, boxes in the picture's pixels.

        threshold: the least score of every class, by default the one chosen for each on validation data; never below
        `thresholds.floor`. class_ids: the classes to keep, None for all. record: of the request: where the time
        goes, and the size of the batch. Blocks until the network has run.
        """
        least = self.thresholds.scores(self.labels) if threshold is None else threshold
        size = (image.shape[1], image.shape[0])
        looking = _Looking(self, image, record or Record())
        found = assemble(looking.outputs(), size, self.preprocess, self.thresholds, floor=float(np.min(least)))
        found = found.above(least)
        looking.ended()
        if (
            threshold is None and looking.first is not None
        ):  # what is found at an asker's own threshold tells of the asker
            self.seen(looking.first, found)
        return found if class_ids is None else found.of_classes(class_ids)


class _Looking:
    """One picture on its way through the network. first: the first view, as the network got it but for its scale."""

    def __init__(self, by: Predictor, image: Pixels, record: Record) -> None:
        self._by, self._image, self._record = by, image, record
        self._since = by.clock()
        self.first: Pixels | None = None

    def outputs(self) -> Iterator[Output]:
        """What the network says of the picture's views, a batch at a time."""
        views = self._by.preprocess.views((self._image.shape[1], self._image.shape[0]))
        for start in range(0, len(views), self._by.batch_size):
            part = views[start : start + self._by.batch_size]
            if start:
                self.ended()  # of the batch before this one
            batch = self._inputs(part)
            ready = self._by.clock()
            ran = self._by.run(batch)
            self._record.batch_size = ran.size
            self._record.spent("preprocess", self._since, ready)
            self._record.spent("wait", ready, ran.begun)
            self._record.spent("infer", ran.begun, ran.ended)
            self._since = ran.ended
            yield part, ran.boxes, ran.scores

    def ended(self) -> None:
        """Postprocessing has, for now."""
        now = self._by.clock()
        self._record.spent("postprocess", self._since, now)
        self._since = now

    def _inputs(self, views: Sequence[View]) -> NDArray[np.float32]:
        """`(B, 3, S, S)` in [0, 1]."""
        side = self._by.preprocess.input_size
        rendered = [render_view(self._image, view, side) for view in views]
        if self.first is None:
            self.first = rendered[0]
        if len(rendered) == 1:
            return to_tensor(rendered[0])[None]
        return np.stack([to_tensor(pixels) for pixels in rendered])
