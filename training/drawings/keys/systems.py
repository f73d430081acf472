"""Key systems: the numbers that decide where a cut lies and how deep it is. Knows nothing of pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

SLOPE = 1.0  # of the sides of a cut: a cutter of 90 degrees, invented
TIP_SLOPE = 1.6  # of the bevel at the upper side of the tip, invented
TIP_HEIGHT = 0.3  # where it ends, share of the blade's height


class Invented(BaseModel):
    """What we made up, in thousandths of an inch. flat: width of a cut's floor. tip: from the last cut to the blade's end.
    brands: that stamp this blank, as often as they are named. grooves: of the warding, (height above the blade's straight
    edge, width)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat: float = Field(gt=0)
    tip: float = Field(gt=0)
    brands: tuple[str, ...] = Field(min_length=1)
    grooves: tuple[tuple[float, float], ...]


class System(BaseModel):
    """A key system; see systems.yaml. Lengths in thousandths of an inch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cuts: int = Field(ge=1)
    first: float = Field(gt=0)
    spacing: float = Field(gt=0)
    top: float = Field(gt=0)
    least: int = Field(ge=0)
    increment: float = Field(gt=0)
    depths: int = Field(ge=2)
    macs: int = Field(ge=1)
    blade: float = Field(gt=0)
    published: tuple[str, ...]
    invented: Invented

    @model_validator(mode="after")
    def _every_floor_is_seen(self) -> System:
        """Or a bitting could not be read: neighbours of the greatest difference leave room for both floors, and the tip
        begins after the last one."""
        if self.macs * self.increment > (self.spacing - self.invented.flat) * SLOPE:
            raise ValueError("macs x increment must fit between two floors")
        if (1 - TIP_HEIGHT) * self.blade / TIP_SLOPE + self.invented.flat / 2 > self.invented.tip:
            raise ValueError("the tip must be long enough for its bevel")
        return self

    @property
    def length(self) -> float:
        """Of the blade, shoulder to tip."""
        return self.first + (self.cuts - 1) * self.spacing + self.invented.tip

    def root(self, depth: int) -> float:
        """What a cut of that depth leaves above the blade's straight edge."""
        return self.top - (depth - self.least) * self.increment

    def sample(self, rng: np.random.Generator) -> list[int]:
        """Depths, bow to tip, all that MACS allows equally likely at each cut after the one before it."""
        depths = [int(rng.integers(self.least, self.least + self.depths))]
        while len(depths) < self.cuts:
            low = max(self.least, depths[-1] - self.macs)
            high = min(self.least + self.depths - 1, depths[-1] + self.macs)
            depths.append(int(rng.integers(low, high + 1)))
        return depths


@cache
def systems() -> dict[str, System]:
    """By keyway."""
    document: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "systems.yaml").read_bytes())
    return {name: System(**values) for name, values in document.items()}
