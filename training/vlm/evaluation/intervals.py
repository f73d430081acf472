"""Shares and means with 95 % intervals. Knows nothing of what was counted.

Sources: Wilson, "Probable inference, the law of succession, and statistical inference", 1927 (shares); Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993 (quotients, whose denominators vary from picture to picture).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_Z = 1.959963984540054  # of the normal distribution, two-sided 95 %
_DIGITS = 6
_FEWER = 4  # of quotients, whose terms may be measured


def share(hits: int, of: int) -> dict[str, Any]:
    """`hits` of `of` independent trials, with Wilson's interval; value and interval are None of no trial."""
    if not of:
        return {"value": None, "low": None, "high": None, "of": 0}
    p, extra = hits / of, _Z * _Z / of
    middle = (p + extra / 2) / (1 + extra)
    half = _Z / (1 + extra) * math.sqrt(p * (1 - p) / of + extra / (4 * of))
    low, high = (0.0 if not hits else middle - half), (1.0 if hits == of else middle + half)
    return {"value": round(p, _DIGITS), "low": round(low, _DIGITS), "high": round(high, _DIGITS), "of": of}


def quotient(above: Sequence[float], below: Sequence[float], samples: int, seed: int) -> dict[str, Any]:
    """The sum of `above` over that of `below`, one of each a picture, with the bootstrap's percentile interval: pictures are
    drawn, with all that is on them. None where all of `below` is nothing, in which case there is nothing to measure."""
    pairs = np.array([above, below], np.float64)
    total = pairs[1].sum()
    if not total:
        return {"value": None, "low": None, "high": None, "of": 0}
    count = pairs.shape[1]
    draws = np.random.default_rng(seed).integers(0, count, (samples, count))
    drawn_above, drawn_below = (row[draws].sum(axis=1) for row in pairs)
    drawn = drawn_above[drawn_below > 0] / drawn_below[drawn_below > 0]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (math.nan, math.nan)
    value = pairs[0].sum() / total
    return {
        "value": round(float(value), _FEWER),
        "low": round(float(low), _FEWER) if len(drawn) else None,
        "high": round(float(high), _FEWER) if len(drawn) else None,
        "of": int(total),
    }
