"""How hard a drawn meter is to read: ranges out of which each picture's conditions are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from safelight.errors import ConfigError


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1]:
        raise ValueError("expected two numbers from 0, the lower one first")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Difficulty(BaseModel):
    """rotation: greatest angle either way, degrees. perspective: greatest shift of each corner, share of the meter's width.
    width: of the meter, share of the picture's. shift: greatest shift, pixels. blur: standard deviation, pixels. noise:
    standard deviation, of 255. light: brightness of the whole. gradient: greatest change of brightness across, share.
    glare: chance of a highlight on the display. glare_strength: its brightness. contrast: of lit segments with the
    display, share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(ge=0, le=45)
    perspective: float = Field(ge=0, le=0.1)
    width: Range
    shift: float = Field(ge=0, le=40)
    blur: Range
    noise: Range
    light: Range
    gradient: float = Field(ge=0, le=1)
    glare: float = Field(ge=0, le=1)
    glare_strength: Range
    contrast: Range

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Difficulty:
        """Raises ConfigError."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            places = ", ".join(f"{'.'.join(map(str, e['loc']))} ({e['msg']})" for e in error.errors())
            raise ConfigError(f"The difficulty of drawn meters does not hold at: {places}.") from None
