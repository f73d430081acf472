"""The score from which a box is an answer: where F1 is greatest on validation data, for all classes and for each.

Knows nothing of test data: whoever calls this owes that it sees none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from safelight.postprocess import Thresholds
from training.detector.bootstrap import Tally
from training.detector.metrics import Curve
from training.evaluation.observed import Observed


@dataclass(frozen=True)
class Choice:
    """score: for all classes. per_class: by label, for the classes with boxes enough to choose by. chosen_on: in words,
    what the choice rests on. val_f1: what it reaches there, None where nothing was chosen."""

    score: float
    per_class: dict[str, float]
    chosen_on: str
    val_f1: float | None

    def to_dict(self) -> dict[str, Any]:
        """Those of the values of `Thresholds` that were chosen."""
        return {"score": self.score, **({"per_class": self.per_class} if self.per_class else {})}

    def applied_to(self, configured: Thresholds) -> Thresholds:
        """The configured thresholds with the chosen scores."""
        return replace(configured, **self.to_dict())


def choose(
    val: Observed | None, labels: Sequence[str], configured: Thresholds, match_iou: float, support: int
) -> Choice:
    """The scores of greatest F1 at `match_iou` on validation data, never below the configured floor.

    A class with fewer than `support` true boxes, or none found, keeps the common score: a threshold that a handful of
    boxes chose is chance. So do all where there is but one class. Where nothing can be chosen the configured score stays.
    """
    if val is None or not val.boxes:
        return Choice(configured.score, {}, "the configuration: no labelled validation pictures", None)
    tally = Tally.of(val.found, val.truths, [match_iou], None)
    if not tally.hits.any():
        return Choice(
            configured.score, {}, "the configuration: nothing right was found on the validation pictures", None
        )
    score, f1 = Curve.of(tally.scores, tally.hits[0], val.boxes).best()
    per_class: dict[str, float] = {}
    for class_id, label in enumerate(labels if len(labels) > 1 else []):
        of, boxes = tally.class_ids == class_id, int((tally.truth_classes == class_id).sum())
        if boxes >= support and tally.hits[0, of].any():
            best, _ = Curve.of(tally.scores[of], tally.hits[0, of], boxes).best()
            per_class[label] = _rounded(best, configured)
    return Choice(_rounded(score, configured), per_class, "validation scenes", f1)


def _rounded(score: float, configured: Thresholds) -> float:
    return round(float(np.clip(score, configured.floor, 1.0)), 4)
