"""The gateway's settings: read once from `conf/serving/gateway.yaml` and the environment, frozen, complete or refused.

Knows nothing of what the values are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safelight.errors import ConfigError

PREFIX = "SAFELIGHT_"
SETTINGS = Path("conf/serving/gateway.yaml")
_ENVIRONMENT_ONLY = "allow_plaintext"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """max_bytes: of one image file. max_pixels: width x height. uploads, pictures: how many at a time. body_timeout_s:
    for a body to arrive."""

    max_bytes: int = Field(ge=1024)
    max_pixels: int = Field(ge=1)
    uploads: int = Field(ge=1)
    pictures: int = Field(ge=1)
    body_timeout_s: float = Field(gt=0)


class Batching(_Frozen):
    """max_batch: network inputs in one run. max_latency_ms: how long an input may wait."""

    max_batch: int = Field(ge=1)
    max_latency_ms: int = Field(ge=1)


class Runtime(_Frozen):
    """threads: of ONNX Runtime within one run, 0 for one a core."""

    threads: int = Field(ge=0)


class Settings(_Frozen):
    """All of the gateway's settings. bundles, public_keys: absolute paths."""

    bundles: Path
    public_keys: tuple[Path, ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    default_model: str
    workers: int = Field(ge=1)
    allow_plaintext: bool = False
    limits: Limits
    batching: Batching
    runtime: Runtime

    @model_validator(mode="after")
    def _default_is_served(self) -> Settings:
        if self.default_model not in self.models:
            raise ValueError("default_model must be one of models")
        if len(set(self.models)) != len(self.models):
            raise ValueError("models must be distinct")
        return self


def load_settings(root: Path, environ: Mapping[str, str]) -> Settings:
    """The settings of the project at `root`, with what `environ` overrides.

    Raises ConfigError on a missing file, an unknown key or a value that is not allowed; it names keys, never values.
    """
    try:
        document = yaml.safe_load((root / SETTINGS).read_bytes())
    except (OSError, yaml.YAMLError):
        raise ConfigError(f"Expected well-formed settings in {SETTINGS}.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"Expected a mapping in {SETTINGS}.")
    if _ENVIRONMENT_ONLY in document:
        raise ConfigError(f"{_ENVIRONMENT_ONLY} may be set in the environment only, not in {SETTINGS}.")
    for name, value in environ.items():
        if name.startswith(PREFIX):
            _override(document, name.removeprefix(PREFIX).lower().split("__"), value)
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        places = [f"{'.'.join(map(str, e['loc'])) or 'settings'} ({e['msg']})" for e in error.errors()]
        raise ConfigError(f"The gateway's settings do not hold at: {'; '.join(places)}.") from None
    keys = tuple(root / key for key in settings.public_keys)
    return settings.model_copy(update={"bundles": root / settings.bundles, "public_keys": keys})


def _override(document: dict[str, Any], path: list[str], text: str) -> None:
    """Put an environment variable's text where it belongs; a list's items are separated by commas."""
    *groups, key = path
    for group in groups:
        inner = document.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{PREFIX}{'__'.join(path).upper()} points into {group}, which is no group of settings.")
        document = inner
    known = document.get(key)
    document[key] = [item.strip() for item in text.split(",") if item.strip()] if isinstance(known, list) else text
