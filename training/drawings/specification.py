"""What is drawn of a task: how many pictures of each split, out of which answers, and how hard they are to read.

Knows nothing of files. A picture depends on the seed, its split's name and difficulty, its number and the shares alone: the
test split stays the same, bit for bit, when the training split grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from safelight.errors import ConfigError, DataError
from training.data.splits import by_hash
from training.drawings.interface import Answer, Drawing, DrawingName, Drawn

_TRIES = 100_000  # answers that are passed over for one whose group is the split's


class SplitDrawing(BaseModel):
    """count: pictures. share: of all answers' groups that are this split's alone. difficulty: the drawing's to check.
    sha256: of what was drawn, where it must not change; None: not held to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1, le=1_000_000)
    share: float = Field(gt=0, le=1)
    difficulty: dict[str, Any]
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class Specification(BaseModel):
    """name: of the drawing. seed: of everything. quality: of the JPEG files. splits: by name, in the order of their shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DrawingName
    seed: int = Field(ge=0)
    quality: int = Field(90, ge=50, le=95)
    splits: dict[str, SplitDrawing] = Field(min_length=1)

    @field_validator("splits")
    @classmethod
    def _named(cls, splits: dict[str, SplitDrawing]) -> dict[str, SplitDrawing]:
        if not all(name.isidentifier() and name.isascii() and name.islower() for name in splits):
            raise ValueError("expected names of lower-case letters, digits and underscores")
        return splits

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Specification:
        """Raises ConfigError."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"task.drawing: {places}.") from None

    def one(self, drawing: Drawing, split: str, number: int) -> tuple[Answer, Drawn]:
        """The picture of that number in a split, and its answer. Raises DataError when no answer is the split's."""
        rng = self._rng(split, number)
        answer = self._answer(drawing, split, rng)
        return answer, drawing.draw(rng, answer, self.splits[split].difficulty)

    def _answer(self, drawing: Drawing, split: str, rng: np.random.Generator) -> Answer:
        """One whose group is this split's: no group is in two of them."""
        shares = {name: own.share for name, own in self.splits.items()}
        for _ in range(_TRIES):
            answer = drawing.sample(rng)
            if by_hash(drawing.group(answer), shares, self.seed) == split:
                return answer
        raise DataError(
            f"Expected an answer for the split {split!r} among {_TRIES}, found none: its share is too small."
        )

    def _rng(self, split: str, number: int) -> np.random.Generator:
        name = int.from_bytes(hashlib.sha256(split.encode()).digest()[:8], "big")
        return np.random.default_rng([self.seed, name, number])
