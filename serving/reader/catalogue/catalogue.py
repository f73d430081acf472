"""The catalogue of key systems: `keys.yaml` beside this file, validated when the service starts.

Knows nothing of pictures and of what is done with a fact.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safelight.errors import ConfigError

KEYS = Path(__file__).parent / "keys.yaml"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fact(_Frozen):
    """A value and where it is from. illustrative: made up by us to show the form, or not checked."""

    value: str | int | float
    source: str = Field(min_length=1)
    illustrative: bool = False

    @property
    def told(self) -> str:
        """The source as answers give it."""
        return f"illustrative: {self.source}" if self.illustrative else self.source


class System(_Frozen):
    """How keys of a system may be cut. cuts: how many. least: the name of the shallowest depth. depths: how many. macs: the
    greatest difference between neighbours (maximum adjacent cut specification)."""

    cuts: int = Field(ge=1, le=12)
    least: int = Field(ge=0, le=1)
    depths: int = Field(ge=2, le=16)
    macs: int = Field(ge=1, le=15)
    source: str = Field(min_length=1)
    illustrative: bool = False

    @property
    def told(self) -> str:
        """The source as answers give it."""
        return f"illustrative: {self.source}" if self.illustrative else self.source


class SystemEntry(_Frozen):
    """What is known of a keyway; what is not is left out. openness: `open` where blanks are sold freely, `restricted` where
    they are not."""

    lock_type: Fact | None = None
    estimated_annual_production: Fact | None = None
    manufacturing_complexity: Fact | None = None
    market_penetration: Fact | None = None
    time_in_market: Fact | None = None
    openness: Fact | None = None
    system: System | None = None


class KeyCatalogue(_Frozen):
    """Entries by keyway."""

    keyways: dict[str, SystemEntry]

    def entry(self, keyway: str) -> SystemEntry:
        """What is known of a keyway: nothing, of one that is not in the catalogue."""
        return self.keyways.get(keyway, SystemEntry())


def load_keys(path: Path = KEYS) -> KeyCatalogue:
    """Raises ConfigError where the file is not there or does not hold."""
    try:
        return KeyCatalogue.model_validate(yaml.safe_load(path.read_bytes()))
    except (OSError, yaml.YAMLError):
        raise ConfigError(f"Expected a well-formed catalogue in {path.name}.") from None
    except ValidationError as error:
        places = ", ".join(f"{'.'.join(map(str, e['loc']))} ({e['msg']})" for e in error.errors())
        raise ConfigError(f"The catalogue {path.name} does not hold at: {places}.") from None
