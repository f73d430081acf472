"""How far a reader's confidence is the probability that its whole answer is right, and the two numbers that bring it closer.

Source: Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods", 1999;
bins and their error are those of training/evaluation/calibration.py. Knows nothing of models and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from safelight.reader.confidence import confidence_of, logit_of
from safelight.reader.manifest import Calibration
from training.evaluation.calibration import BINS, LOWEST, Bin, calibration_error, reliability
from training.vlm.evaluation.intervals import quotient, share
from training.vlm.evaluation.reading import Reading

_MOST_SCALE = 1 / LOWEST  # where all are about as sure, chance would ask for any
_DIGITS = 4  # the last bits of a probability depend on what else was read beside it


@dataclass(frozen=True)
class Sure:
    """Answers of the task, in their order: `log_probability (N,)` of the tokens that were chosen, and `right (N,)`."""

    log_probability: NDArray[np.float64]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> Sure:
        """Of those that are answers: whoever gives none says nothing of how sure he is."""
        kept = [(one.log_probability, one.right) for one in readings if one.valid and one.log_probability is not None]
        return cls(np.array([p for p, _ in kept], np.float64), np.array([right for _, right in kept], np.bool_))

    def confidence(self, by: Calibration) -> NDArray[np.float64]:
        """`(N,)`, as the service tells it."""
        return np.array([confidence_of(float(p), by) for p in self.log_probability], np.float64)


def confidence(reading: Reading, by: Calibration) -> float | None:
    """In one answer, as the service tells it; None where there is no answer."""
    known = reading.valid and reading.log_probability is not None
    return confidence_of(float(reading.log_probability or 0.0), by) if known else None


def fitted(sure: Sure, least: int) -> Calibration | None:
    """Scale and offset with the largest likelihood. Targets are Platt's: a little less than 1 and more than 0, by how many
    there are of each, so that answers which are all right do not ask for an infinite scale.

    The scale is not negative: a reader that is more often right where it is less sure would be turned upside down by what
    may be chance. None of fewer than `least` answers, or where all are right, or all wrong: there is nothing to fit.
    """
    right, count = int(sure.right.sum()), len(sure.right)
    if count < least or not 0 < right < count:
        return None
    target = np.where(sure.right, (right + 1) / (right + 2), 1 / (count - right + 2))
    logits = np.array([logit_of(float(p)) for p in sure.log_probability])

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        moved = at[0] * logits + at[1]
        slope = 1 / (1 + np.exp(-np.clip(moved, -700, 700))) - target
        value = np.logaddexp(0, moved) - target * moved
        return float(value.mean()), np.array([(slope * logits).mean(), slope.mean()])

    found = minimize(
        loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, _MOST_SCALE), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )  # fmt: skip
    return Calibration(scale=round(float(found.x[0]), _DIGITS), offset=round(float(found.x[1]), _DIGITS))


def confidence_figures(sure: Sure, by: Calibration, samples: int, seed: int) -> dict[str, Any]:
    """`brier`, the mean square of confidence less right (Brier, 1950), with a bootstrap interval; `ece`; and `mean`, of the
    confidences, beside the share that is `right`."""
    confidence = sure.confidence(by)
    ones = [1.0] * len(confidence)
    error = calibration_error(reliability(confidence, sure.right)) if len(confidence) else None
    return {
        "answers": len(confidence),
        "brier": quotient(((confidence - sure.right) ** 2).tolist(), ones, samples, seed),
        "ece": None if error is None else round(error, _DIGITS),
        "mean": round(float(confidence.mean()), _DIGITS) if len(confidence) else None,
        "right": share(int(sure.right.sum()), len(confidence)),
    }


def bins(sure: Sure, by: Calibration) -> list[Bin]:
    """Bins of equal width, those without an answer left out."""
    return reliability(sure.confidence(by), sure.right) if len(sure.right) else []


def bin_rows(found: Sequence[Bin]) -> list[dict[str, Any]]:
    """Bins as plain values; the share of right answers with Wilson's interval."""
    return [
        {
            "low": round(one.low, _DIGITS),
            "high": round(one.high, _DIGITS),
            "confidence": round(one.confidence, _DIGITS),
            "right": share(round(one.precision * one.count), one.count),
        }
        for one in found
    ]


def told(by: Calibration | None, sure: Sure) -> dict[str, Any]:
    """What the metrics say of the fit."""
    used = by or Calibration()
    reason = (
        None if by else "Too few answers of validation, or all of them right, or all wrong: confidence stays as it is."
    )
    return {
        "scale": used.scale,
        "offset": used.offset,
        "fitted": by is not None,
        "reason": reason,
        "fitted_on": len(sure.right),
        "bins": BINS,
    }
