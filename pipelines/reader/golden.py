"""What an exported reader answers to made-up pictures, for its manifest: safelight/reader/golden.py.

A server asks the same as it loads the reader, with constraint and one picture at a time; so do we. Of the exact decoder alone:
one in 8 bits rounds activations, and another processor may round to another answer without being wrong.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.reader.reading import Asking
from safelight.reader import golden
from serving.reader.adapter import Adapter

TOLERANCE = 0.05
"""How far the log-probability of an answer may be off, from one CPU to another, where sums are taken in another order."""


def golden_readings(asking: Asking, adapter: Adapter, seed: int) -> golden.GoldenReadings:
    """The golden readings of an adapter, on the decoder that `asking` has open. seed: of the drawings."""

    def read(picture: NDArray[np.float32]) -> tuple[str, float]:
        found = asking.engine.read(picture, adapter, left_s=lambda: math.inf)
        return found.text, found.log_probability

    return golden.make(read, asking.exported.architecture.image_side, seed, TOLERANCE)
