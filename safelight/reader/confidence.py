"""How sure of an answer one may be, from what the model thinks of it: the one way in evaluation and serving.

Knows nothing of models and answers. Source: Platt, "Probabilistic outputs for support vector machines", 1999.
"""

from __future__ import annotations

import math

from safelight.reader.manifest import Calibration

MOST_LOGIT = 20.0
"""A probability of 1 has no logit that is finite; beyond this one, either way, all are the same."""


def logit_of(log_probability: float) -> float:
    """The logit of p, within `MOST_LOGIT`. log_probability: of p, natural logarithm."""
    if log_probability >= 0:
        return MOST_LOGIT
    logit = log_probability - math.log(-math.expm1(log_probability))
    return max(-MOST_LOGIT, min(MOST_LOGIT, logit))


def confidence_of(log_probability: float, calibration: Calibration) -> float:
    """How likely an answer is to be right: sigmoid(scale * logit(p) + offset). log_probability: of p, the product of the
    probabilities of the chosen tokens."""
    moved = calibration.scale * logit_of(log_probability) + calibration.offset
    return 1 / (1 + math.exp(-moved)) if moved >= 0 else math.exp(moved) / (1 + math.exp(moved))
