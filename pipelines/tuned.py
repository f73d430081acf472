"""The best settings of a search as an experiment of their own: conf/experiment/NAME_tuned.yaml.

It inherits the experiment that was searched from, and says over it what was found. Knows nothing of studies.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipelines.trial import is_group
from safelight.errors import ConfigError

_OF_THE_MACHINE = ("paths", "out", "tracking", "tune", "trainer", "debug", "experiment", "hydra", "stage_overrides")
"""Groups and keys that say where and how the search ran, not what was searched."""

_STUDY = "# study: "
_DIGEST = "# sha256: "


@dataclass(frozen=True)
class Found:
    """What was found. study: its name. trial: number of the best one. trials: how many there are. monitor, value: what it
    reached. commit: of the code."""

    study: str
    trial: int
    trials: int
    monitor: str
    value: float
    commit: str


def check_free(path: Path, study: str) -> None:
    """Raises ConfigError when the file is there and not, as it stands, this study's own: nothing of anybody else is
    overwritten."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    told = {
        mark: line.removeprefix(mark).strip() for mark in (_STUDY, _DIGEST) for line in lines if line.startswith(mark)
    }
    body = "".join(line for line in lines if not line.startswith("#"))
    if told.get(_STUDY) != study or told.get(_DIGEST) != _digest(body):
        raise ConfigError(
            f"{path} is there already, and not as study {study} wrote it. Name another file with tune.save_as=..., or move it."
        )


def write_experiment(
    path: Path, base: str, overrides: Sequence[str], parameters: Mapping[str, Any], found: Found
) -> None:
    """Write the experiment: `base`, the overrides that the search was started with, and the parameters found.

    Raises ConfigError when the file is somebody else's (`check_free`).
    """
    check_free(path, found.study)
    groups, values = given(overrides)
    for key, value in parameters.items():
        (groups if is_group(key) else values)[key] = value
    defaults: list[Any] = [base, "_self_", *({f"override /{group}": choice} for group, choice in groups.items())]
    nested: dict[str, Any] = {"defaults": defaults}
    for key, value in values.items():
        _put(nested, key.split("."), value)
    body = yaml.safe_dump(nested, sort_keys=False, width=120)
    header = [
        "# @package _global_",
        f"# Found by python -m pipelines.tune: trial {found.trial} of {found.trials}, {found.monitor} {found.value:.4f} on "
        "validation data.",
        f"# Commit {found.commit}. The stage overwrites this file as long as nobody else changes it.",
        f"{_STUDY}{found.study}",
        f"{_DIGEST}{_digest(body)}",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text("\n".join(header) + "\n" + body)
    scratch.replace(path)


def given(overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(choices by group, values by path) among command-line overrides, without what belongs to the machine.

    Raises ConfigError on a deletion (`~key`): a file that inherits cannot take away.
    """
    groups: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = str(override.key_or_group)
        if re.split(r"[./]", key)[0] in _OF_THE_MACHINE:
            continue
        if override.is_delete():
            raise ConfigError(f"~{key} cannot be searched with: the file of the best settings could not say it.")
        (groups if is_group(key) else values)[key] = override.value()
    return groups, values


def _put(nested: dict[str, Any], path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for key in parents:
        nested = nested.setdefault(key, {})
    nested[last] = value


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
