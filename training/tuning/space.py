"""The search space: which parameters may vary, and between which bounds.

Knows nothing of what a parameter means, of configurations or of networks; a parameter is a name and a range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from optuna.trial import Trial

from safelight.errors import ConfigError

Value = bool | int | float | str | None


@dataclass(frozen=True)
class FloatRange:
    """low to high, both included; log: as likely below the geometric mean as above. Raises ConfigError on bad bounds."""

    low: float
    high: float
    log: bool = False
    kind: ClassVar[str] = "float"

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def draw(self, trial: Trial, name: str) -> float:
        """A value for a trial; the one it has, if it has one."""
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class IntRange:
    """low to high, both included, by `step`; log as in FloatRange, then step is 1. Raises ConfigError on bad bounds."""

    low: int
    high: int
    step: int = 1
    log: bool = False
    kind: ClassVar[str] = "int"

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        if not all(type(value) is int for value in (self.low, self.high, self.step)):
            raise ConfigError(
                f"expected whole numbers for low, high and step, got {self.low}, {self.high}, {self.step}"
            )
        if self.step < 1 or (self.high - self.low) % self.step or (self.log and self.step != 1):
            raise ConfigError(
                f"expected a step of at least 1 that leads from {self.low} to {self.high} (1 with log), got {self.step}"
            )

    def draw(self, trial: Trial, name: str) -> int:
        """A value for a trial; the one it has, if it has one."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several plain values. Raises ConfigError on fewer than two, on one that comes twice or is a structure."""

    values: tuple[Value, ...]
    kind: ClassVar[str] = "choice"

    def __post_init__(self) -> None:
        if any(not isinstance(value, Value) or value != value for value in self.values):
            raise ConfigError("expected plain values (text, number, true, false, null) to choose from")
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise ConfigError(f"expected at least two different values to choose from, got {list(self.values)}")

    def draw(self, trial: Trial, name: str) -> Value:
        """A value for a trial; the one it has, if it has one."""
        return trial.suggest_categorical(name, self.values)


Parameter = FloatRange | IntRange | Choice
Space = dict[str, Parameter]
"""Parameters by name."""

_ALLOWED = {"float": {"low", "high", "log"}, "int": {"low", "high", "step", "log"}, "choice": {"values"}}
_NEEDED = {"float": {"low", "high"}, "int": {"low", "high"}, "choice": {"values"}}


def parse_space(described: Mapping[str, Any]) -> Space:
    """A space from plain values: `{name: {type: float|int|choice, ...}}`. Raises ConfigError that names the parameter."""
    if not described:
        raise ConfigError("The search space is empty: expected at least one parameter in tune.space.")
    space: Space = {}
    for name, description in described.items():
        try:
            space[str(name)] = _parameter(description)
        except ConfigError as error:
            raise ConfigError(f"tune.space, {name}: {error}") from None
    return space


def describe_space(space: Space) -> dict[str, dict[str, Any]]:
    """The space as plain values again; equal spaces have equal descriptions."""
    described: dict[str, dict[str, Any]] = {}
    for name, parameter in space.items():
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(parameter).items()}
        described[name] = {"type": parameter.kind, **values}
    return described


def _parameter(description: Any) -> Parameter:
    if not isinstance(description, Mapping):
        raise ConfigError(f"expected a mapping with a type, got {type(description).__name__}")
    given = {str(key): value for key, value in description.items()}
    kind = given.pop("type", None)
    if not isinstance(kind, str) or kind not in _ALLOWED:
        raise ConfigError(f"expected type float, int or choice, got {kind!r}")
    if unknown := sorted(given.keys() - _ALLOWED[kind]):
        raise ConfigError(f"{kind} does not take {', '.join(unknown)}")
    if missing := sorted(_NEEDED[kind] - given.keys()):
        raise ConfigError(f"{kind} needs {', '.join(missing)}")
    if kind == "choice":
        values = given["values"]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise ConfigError("expected a list of values to choose from")
        return Choice(tuple(values))
    return FloatRange(**given) if kind == "float" else IntRange(**given)


def _check_bounds(low: Any, high: Any, log: Any) -> None:
    for value in (low, high):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"expected finite numbers for low and high, got {low!r} and {high!r}")
    if not isinstance(log, bool):
        raise ConfigError(f"expected true or false for log, got {log!r}")
    if low >= high:
        raise ConfigError(f"expected low below high, got {low} and {high}")
    if log and low <= 0:
        raise ConfigError(f"expected low above 0 for a logarithmic range, got {low}")
