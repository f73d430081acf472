"""What a task's reader is to reach, and whether it does. Knows nothing of gates: whoever promotes decides by what is said here.

Targets are for the test split: a share of valid answers without constraint, and of each property the share of exact ones as
they are served, with constraint. A target is met by the measured share itself; the interval stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.errors import ConfigError


@dataclass(frozen=True)
class Targets:
    """Shares, 0 to 1. valid: None for no target. fields: by property. Raises ConfigError on what is no share."""

    valid: float | None
    fields: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, least in {"valid": self.valid, **self.fields}.items():
            if least is not None and not 0 <= least <= 1:
                raise ConfigError(f"targets: expected a share for {name}, got {least}.")


def against(targets: Targets, unconstrained: Mapping[str, Any], constrained: Mapping[str, Any]) -> dict[str, Any]:
    """Each target with what was measured, `met` where it is reached; and `met`, whether all are. figures: as
    `figures.figures` makes them. Raises ConfigError for a target of a property that the task does not have."""
    fields = constrained["fields"]
    if unknown := sorted(set(targets.fields) - set(fields)):
        raise ConfigError(f"targets: expected properties of the task ({', '.join(fields)}), got {unknown[0]}.")
    said: dict[str, Any] = {name: _held(least, fields[name]["exact"]) for name, least in targets.fields.items()}
    found: dict[str, Any] = {"fields": said}
    if targets.valid is not None:
        found["valid_unconstrained"] = _held(targets.valid, unconstrained["valid"])
    each = [*said.values(), *([found["valid_unconstrained"]] if "valid_unconstrained" in found else [])]
    return found | {"met": all(one["met"] for one in each) if each else None}


def _held(least: float, measured: Mapping[str, Any]) -> dict[str, Any]:
    value = measured["value"]
    return {"at_least": least, **measured, "met": value is not None and value >= least}
