"""Golden readings: what a reader answered to made-up pictures at export, so that a server can tell that base and adapter,
loaded on its own machine, answer likewise.

The pictures are those of `safelight.golden`, drawn from a seed. Knows nothing of files and runtimes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from safelight.errors import ManifestInvalid
from safelight.golden import draw
from safelight.reader.picture import to_input

Reads = Callable[[NDArray[np.float32]], tuple[str, float]]
"""From `(3, S, S)` float32 in [-1, 1] to an answer's text, and the log-probability of its chosen tokens."""
_TRIED = 8  # drawings to choose from: an answer that is sure of itself does not flip with the last bit of a sum
_KEPT = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Sample(_Frozen):
    """drawing: which of the seed's. text: the answer. log_probability: of its chosen tokens."""

    drawing: int = Field(ge=0)
    text: str
    log_probability: float = Field(le=0)


class GoldenReadings(_Frozen):
    """What a reader answers to drawings of a seed. tolerance: how far a log-probability may be off."""

    recipe: Literal[1] = 1
    seed: int = Field(ge=0)
    tolerance: float = Field(gt=0)
    samples: Annotated[tuple[Sample, ...], Field(min_length=1, max_length=8)]


def make(read: Reads, side: int, seed: int, tolerance: float) -> GoldenReadings:
    """What `read` answers to those of a seed's drawings of which it is most sure. side: of the pictures, in pixels."""
    answered = [(number, *read(to_input(draw(seed, number, side), side))) for number in range(_TRIED)]
    answered.sort(key=lambda item: (-item[2], item[0]))
    samples = tuple(
        Sample(drawing=number, text=text, log_probability=min(0.0, float(f"{sure:.6g}")))
        for number, text, sure in answered[:_KEPT]
    )
    return GoldenReadings(seed=seed, tolerance=tolerance, samples=samples)


def check(golden: GoldenReadings, read: Reads, side: int, slack: float = 1.0) -> None:
    """Raises ManifestInvalid unless `read` answers as `golden` says. slack: a factor on the tolerance, for hardware that
    computes less exactly than a CPU does."""
    for place, sample in enumerate(golden.samples, start=1):
        text, sure = read(to_input(draw(golden.seed, sample.drawing, side), side))
        off = abs(sure - sample.log_probability)
        if text != sample.text or not (math.isfinite(sure) and off <= golden.tolerance * slack):
            what = "the text differs" if text != sample.text else f"its log-probability is off by {off:.3g}"
            raise ManifestInvalid(
                f"The reader does not answer as it did at export: on golden reading {place} of {len(golden.samples)} {what}."
            )
