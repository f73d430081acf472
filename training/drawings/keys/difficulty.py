"""How hard a drawn key is to read: ranges out of which each picture's conditions are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from safelight.errors import ConfigError


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("expected the lower end first")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Difficulty(BaseModel):
    """rotation: greatest angle either way, degrees. perspective: greatest shift of a corner, share of the side. fill: share
    of the side that the key takes, bow to tip. shift: greatest shift of the key, pixels. blur: standard deviation, pixels.
    noise: standard deviation, of 255. light: brightness of the whole. gradient: greatest change of brightness across the
    picture, share. glare: chance of a highlight on the blade. glare_strength: its brightness. clutter: greatest number of
    other objects. wear: greatest rounding of the cuts, thousandths of an inch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(ge=0, le=45)
    perspective: float = Field(ge=0, le=0.2)
    fill: Range
    shift: float = Field(ge=0, le=40)
    blur: Range
    noise: Range
    light: Range
    gradient: float = Field(ge=0, le=1)
    glare: float = Field(ge=0, le=1)
    glare_strength: Range
    clutter: int = Field(ge=0, le=12)
    wear: float = Field(ge=0, le=20)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Difficulty:
        """Raises ConfigError."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            places = ", ".join(f"{'.'.join(map(str, e['loc']))} ({e['msg']})" for e in error.errors())
            raise ConfigError(f"The difficulty of drawn keys does not hold at: {places}.") from None
