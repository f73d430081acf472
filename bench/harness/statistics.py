"""Medians, ratios and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """A quotient of two quantiles. low, high: 95 % interval of the bootstrap."""

    value: float
    low: float
    high: float


def quantile(values: Sequence[float], q: float) -> float:
    return float(np.quantile(np.asarray(values), q))


def ratio(values: Sequence[float], reference: Sequence[float], q: float, seed: int = 0) -> Ratio:
    """Quantile `q` of values over that of reference, whose i-th members were measured side by side: they are drawn
    together, so that what slowed both down cancels out."""
    pairs = np.array([values, reference])
    draws = np.random.default_rng(seed).integers(0, pairs.shape[1], (_RESAMPLES, pairs.shape[1]))
    above, below = (np.quantile(row[draws], q, axis=1) for row in pairs)
    low, high = np.quantile(above / below, [0.025, 0.975])
    value = np.quantile(pairs[0], q) / np.quantile(pairs[1], q)
    return Ratio(*(round(float(number), 4) for number in (value, low, high)))


def quotient(values: Sequence[float], q: float, reference: Sequence[float], r: float, seed: int = 0) -> Ratio:
    """Quantile `q` of values over quantile `r` of reference, which were measured apart and are drawn apart."""
    rng = np.random.default_rng(seed)
    above, below = (
        np.quantile(np.asarray(sample)[rng.integers(0, len(sample), (_RESAMPLES, len(sample)))], level, axis=1)
        for sample, level in ((values, q), (reference, r))
    )
    low, high = np.quantile(above / below, [0.025, 0.975])
    value = quantile(values, q) / quantile(reference, r)
    return Ratio(*(round(float(number), 4) for number in (value, low, high)))


def difference_ms(values: Sequence[float], reference: Sequence[float]) -> float:
    """The median of what a request took longer than the one beside it."""
    return round(float(np.median(np.asarray(values) - np.asarray(reference))), 3)
