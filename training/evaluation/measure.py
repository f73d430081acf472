"""Everything that is measured of a detector on one split, put together. Knows nothing of files, charts or networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.detections import Detections
from training.detector.bootstrap import Tally, counts, evaluate
from training.detector.metrics import Curve, precision_recall_curve
from training.evaluation.calibration import BINS, Bin, calibration_error, fit_temperature, reliability, tempered
from training.evaluation.classes import class_curves, class_table
from training.evaluation.coco import CocoFigures, coco_figures
from training.evaluation.confusion import confusion
from training.evaluation.observed import Observed


@dataclass(frozen=True)
class Measured:
    """Of one split. figures: with intervals, by name. sure: the detections above their thresholds. found_counts,
    true_counts: boxes of each of `units` ("picture", or "plot of 400 pixels")."""

    figures: dict[str, dict[str, float]]
    coco: CocoFigures
    per_class: dict[str, dict[str, float | int | None]]
    sure: tuple[Detections, ...]
    confusion: NDArray[np.int64]
    curve: Curve
    curves: dict[str, Curve]
    found_counts: NDArray[np.int64]
    true_counts: NDArray[np.int64]
    unit: str

    def counting(self) -> dict[str, float | int | str]:
        """mae and bias (answered less there) of the count in a unit."""
        error = self.found_counts - self.true_counts
        return {
            "mae": float(np.abs(error).mean()),
            "bias": float(error.mean()),
            "unit": self.unit,
            "units": len(error),
        }


@dataclass(frozen=True)
class Calibrated:
    """temperature: fitted on validation data, None where it could not be. before, after: reliability on what is measured
    on. values: what is kept of it."""

    temperature: float | None
    before: list[Bin]
    after: list[Bin] | None
    values: dict[str, float | int | None]


def measure(
    seen: Observed,
    labels: Sequence[str],
    least: NDArray[np.float32],
    *,
    match_iou: float,
    plot: int | None,
    samples: int,
    seed: int,
) -> Measured:
    """All figures at the thresholds `least` `(C,)`. plot: side of what is resampled, in pixels; None for whole pictures.

    Raises ValueError when there is no true box to measure against.
    """
    estimates = evaluate(
        seen.found, seen.truths, len(labels), least, match_iou=match_iou, plot=plot, samples=samples, seed=seed
    )
    sure = tuple(d.above(least) for d in seen.found)
    figures = coco_figures(seen.found, seen.truths, len(labels))
    found_counts, true_counts = counts(Tally.of(sure, seen.truths, [match_iou], plot))
    return Measured(
        {name: asdict(estimate) for name, estimate in estimates.items()},
        figures,
        class_table(seen, labels, figures, least, match_iou),
        sure,
        confusion(sure, seen.truths, len(labels), match_iou),
        precision_recall_curve(seen.found, seen.truths, match_iou),
        class_curves(seen, labels, match_iou),
        found_counts,
        true_counts,
        "picture" if plot is None else f"plot of {plot} pixels",
    )


def calibrate(val: Observed | None, seen: Observed, match_iou: float) -> Calibrated:
    """A temperature from validation data, and what it does to the calibration of `seen`: all detections down to the floor,
    a hit being one at `match_iou`."""
    scores, hits = _hits(seen, match_iou)
    val_scores, val_hits = _hits(val, match_iou) if val is not None else (np.zeros(0), np.zeros(0, np.bool_))
    temperature = fit_temperature(val_scores, val_hits)
    before = reliability(scores, hits)
    after = reliability(tempered(scores, temperature), hits) if temperature is not None else None
    values: dict[str, Any] = {
        "temperature": temperature,
        "ece_before": calibration_error(before),
        "ece_after": None if after is None else calibration_error(after),
        "val_ece_before": calibration_error(reliability(val_scores, val_hits)),
        "val_ece_after": None
        if temperature is None
        else calibration_error(reliability(tempered(val_scores, temperature), val_hits)),
        "fitted_on": len(val_scores),
        "bins": BINS,
        "iou": match_iou,
    }
    return Calibrated(temperature, before, after, values)


def _hits(seen: Observed, match_iou: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if not len(seen):
        return np.zeros(0), np.zeros(0, np.bool_)
    tally = Tally.of(seen.found, seen.truths, [match_iou], None)
    return tally.scores, tally.hits[0]
