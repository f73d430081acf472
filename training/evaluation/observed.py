"""What a detector finds on labelled scenes, beside what is there. Knows nothing of where scenes or networks come from.

Scenes are looked at one at a time and their pixels let go: of thousands of pictures only boxes are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from safelight.detections import Detections
from safelight.postprocess import Run, Thresholds, detect
from safelight.preprocess import Preprocess
from training.detector.metrics import Truth
from training.detector.scenes import LabelledScene
from training.evaluation.latency import Clock


@dataclass(frozen=True)
class Observed:
    """Of each scene, in order: its name, what was found down to the floor, what is there, and how long the look took."""

    image_ids: tuple[str, ...]
    found: tuple[Detections, ...]
    truths: tuple[Truth, ...]
    seconds: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.found)

    @property
    def boxes(self) -> int:
        """How many true boxes there are."""
        return sum(len(truth) for truth in self.truths)


def observe(
    scenes: Iterable[LabelledScene], preprocess: Preprocess, thresholds: Thresholds, run: Run, clock: Clock
) -> Observed:
    """Look at every scene, down to `thresholds.floor`. clock: seconds, monotonic."""
    names, found, truths, seconds = [], [], [], []
    for scene in scenes:
        names.append(scene.image_id)
        begun = clock()
        found.append(detect(scene.image, preprocess, thresholds, run))
        seconds.append(clock() - begun)
        truths.append(scene.truth)
    return Observed(tuple(names), tuple(found), tuple(truths), tuple(seconds))
