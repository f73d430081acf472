"""challenge: a version is tried beside the champion, or no longer.

    python -m pipelines.challenge name=coco version=candidate|3|1a2b3c4d5e6f
    python -m pipelines.challenge name=coco --clear

It sets challenger.json, which the gateway reads, and MLflow's alias `@challenger`, together. There are no gates: what a trial
does with the version is for the gateway's configuration to say, and being served for good takes a promotion, which ends the
trial.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from pydantic import ValidationError
from rich.console import Console

from pipelines.models import read_json
from pipelines.reader.promote import bring
from pipelines.registry import held
from pipelines.stage import stage
from safelight.bundle import MANIFEST, Champion, read_bundle
from safelight.errors import BundleError, ConfigError, DataError, PromotionError
from safelight.manifest import Described
from training.registry.aliases import Registry
from training.registry.bases import base_of
from training.registry.champions import CANDIDATE, Champions
from training.registry.promotion import challenge

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@stage("challenge")
def main(cfg: DictConfig) -> None:
    """Put a version of `cfg.name` on trial, or end the trial."""
    if cfg.name is None or (cfg.version is None) == (not cfg.end):
        raise ConfigError("Expected name=NAME and either version=candidate, version=VERSION or --clear.")
    console = Console(soft_wrap=True, highlight=False)
    with held(cfg, cfg.name) as (champions, registry):
        if cfg.end:
            challenge(champions, registry, None)
            console.print(f"challenge: nothing of {cfg.name} is on trial")
            return
        folder = chosen(str(cfg.version), champions, registry, home_of([Path(path) for path in cfg.registered]))
        challenger = verified(folder, champions, Path(cfg.paths.signing_key).with_suffix(".pub"))
        if not champions.holds(challenger):
            champions.take_in(folder)
            if base_of(folder) is not None:
                bring(cfg, folder)
        challenge(champions, registry, challenger)
        console.print(f"challenge: {cfg.name} {challenger.version} is on trial")


def home_of(homes: Sequence[Path]) -> Path:
    """The folder in which register left a candidate: a detector's or a reader's."""
    return next((home for home in homes if (home / CANDIDATE).is_file()), homes[0])


def chosen(version: str, champions: Champions, registry: Registry, registered: Path) -> Path:
    """The folder of the bundle that is meant. Raises DataError when there is no candidate, PromotionError when there is no
    such version."""
    if version == "candidate":
        try:
            return registered / Champion.model_validate(read_json(registered / CANDIDATE)).version
        except ValidationError:
            raise DataError(f"Expected a well-formed {CANDIDATE}. Run the register stage again.") from None
    named = [version]
    if _NUMBER.fullmatch(version) and (entry := registry.numbered(version)) is not None:
        named.append(entry.bundle_version)
    for name in named:
        for home in (champions.folder, registered):
            if (home / name / MANIFEST).is_file():
                return home / name
    raise PromotionError(f"{champions.name} has no bundle of version {version} here.")


def verified(folder: Path, champions: Champions, public_key: Path) -> Champion:
    """The bundle in `folder`, named as a challenger. Raises PromotionError when it must not be loaded, or does not answer in
    the champion's terms, with which its answers are to be compared."""
    keys, none = [public_key], _no_files
    try:
        manifest = read_bundle(folder, keys, Described, none).manifest
        champion = champions.champion()
        rival = champions.read(champion, keys, Described, none).manifest if champion else manifest
    except BundleError as error:
        raise PromotionError(f"A bundle cannot be used: {error.detail}") from None
    if manifest.name != champions.name:
        raise PromotionError(f"Expected a bundle of {champions.name}, got one of {manifest.name}.")
    for terms in ("labels", "json_schema"):
        if getattr(manifest, terms, None) != getattr(rival, terms, None):
            raise PromotionError(
                f"{manifest.version} does not have the champion's {terms}, so they cannot be compared."
            )
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    return Champion(name=manifest.name, version=manifest.version, digest=digest)


def _no_files(manifest: Described) -> tuple[str, ...]:
    """None is wanted in memory: all of them are hashed."""
    return ()


def overrides(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: versions are quoted, for 12e456789012 would be read as a number."""
    quoted = [re.sub(r"^version=([a-z0-9-]+)$", r"version='\1'", given) for given in arguments]
    return ["end=true" if given in ("--clear", "clear=true") else given for given in quoted]


if __name__ == "__main__":
    sys.argv[1:] = overrides(sys.argv[1:])
    main()
