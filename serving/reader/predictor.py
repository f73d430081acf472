"""The reader: from a picture to an answer of its task, and how sure of it one may be. Knows nothing of HTTP, files or graphs.

A picture that nobody could read is turned away before the model is asked. It is the same preprocessing that training and
export parity use; only what asks the model is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import AnswerInvalid, PoorPicture, Unreadable
from safelight.reader.confidence import confidence_of
from safelight.reader.manifest import Calibration
from safelight.reader.picture import to_input
from safelight.reader.quality import Quality, QualityLimits, measure, problems
from safelight.reader.task import Task
from serving.privacy.record import Record

Pixels = NDArray[np.uint8]
LeftS = Callable[[], float]
"""Seconds that are left to a request; none or fewer once its time is over."""


class Said(Protocol):
    """What a model answered. log_probability: of the tokens that it chose, together."""

    @property
    def text(self) -> str: ...

    @property
    def log_probability(self) -> float: ...


Ask = Callable[[NDArray[np.float32], LeftS], Said]
"""Asks a model about `(3, S, S)` float32 in [-1, 1]. Blocks; raises DeadlineExceeded, ModelUnavailable or Overloaded."""


@dataclass(frozen=True)
class Prepared:
    """A picture as a model takes it, `(3, S, S)` float32 in [-1, 1], and how good it was."""

    input: NDArray[np.float32]
    quality: Quality


@dataclass(frozen=True)
class Reading:
    """answer: holds to the task's schema. confidence: calibrated, 0 to 1. quality: of the picture."""

    answer: dict[str, Any]
    confidence: float
    quality: Quality


@dataclass(frozen=True)
class Reader:
    """A reader that is ready to look. ask: the model, with its adapter. limits: what pictures are held to. clock: monotonic
    seconds."""

    task: Task
    ask: Ask
    calibration: Calibration
    limits: QualityLimits
    clock: Callable[[], float] = time.perf_counter

    def prepare(self, pixels: Pixels, record: Record) -> Prepared:
        """`(H, W, 3)` uint8 RGB, upright, made ready. record: of the request: where the time goes. Raises PoorPicture for one
        that nobody could read."""
        begun = self.clock()
        quality = measure(pixels)
        if found := problems(quality, self.limits):
            raise PoorPicture(quality.to_dict(), [asdict(one) for one in found])
        prepared = Prepared(to_input(pixels, self.task.image_side), quality)
        record.spent("preprocess", begun, self.clock())
        return prepared

    def read(self, prepared: Prepared, left_s: LeftS, record: Record) -> Reading:
        """What stands on a picture. Raises Unreadable when the model does not come to an answer that holds, and what the model
        raises. Blocks."""
        ready = self.clock()
        said = self.ask(prepared.input, left_s)
        answered = self.clock()
        record.spent("infer", ready, answered)
        try:
            answer = self.task.parse(said.text)
        except AnswerInvalid:  # cut off where it had become too long
            raise Unreadable() from None
        record.spent("postprocess", answered, self.clock())
        return Reading(answer, confidence_of(said.log_probability, self.calibration), prepared.quality)


def alike(one: Reading, other: Reading) -> float:
    """How far two readings of a picture agree: the share of single values that are the same, 0 to 1."""
    ours, theirs = dict(_values(one.answer, ())), dict(_values(other.answer, ()))
    places = set(ours) | set(theirs)
    missing = object()
    same = sum(ours.get(place, missing) == theirs.get(place, missing) for place in places)
    return same / len(places) if places else 1.0


def _values(value: Any, place: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, item in inner for found in _values(item, (*place, key))] or [(place, None)]
    return [(place, value)]
