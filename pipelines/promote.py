"""promote: the candidate becomes the champion, if it passes the gates; or the champion before it comes back.

    python -m pipelines.promote experiment=tree_crowns [version=XYZ] [--rollback]

What is decided is written as a receipt, dated beside the bundles and without date and times to metrics/promotion/. A
refusal ends with status 1, or, with promotion.refused=keep, leaves the champion as it is and lets the pipeline go on.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pydantic import ValidationError
from rich.console import Console

from pipelines.judge import Judged, judge
from pipelines.models import read_json
from pipelines.registry import held
from pipelines.stage import stage, write_json
from safelight.bundle import MANIFEST, Champion
from safelight.errors import ConfigError, DataError, PromotionError, PromotionRefused
from training.registry.aliases import Registry
from training.registry.champions import CANDIDATE, RECEIPTS, Champions
from training.registry.entry import enter
from training.registry.promotion import promote, roll_back
from training.registry.receipt import Receipt, repeatable, said_of


@dataclass(frozen=True)
class Chosen:
    """What is to be promoted. folder: where its bundle lies. named: whether somebody asked for this very version."""

    candidate: Champion
    folder: Path
    named: bool


Judge = Callable[[DictConfig, Champions, Champion | None, Champion, Path, Path, bool], Judged]
"""Every gate's verdict, as `pipelines.judge.judge` gives it."""


@dataclass(frozen=True)
class Kind:
    """What differs between kinds of models. bring: puts in its place what a bundle (by its folder) cannot be served without."""

    judge: Judge
    bring: Callable[[DictConfig, Path], None]


DETECTORS = Kind(judge, lambda cfg, folder: None)


@stage("train")
def main(cfg: DictConfig) -> None:
    """Promote the candidate of `cfg.name`, or the version asked for, or roll back."""
    decide(cfg, DETECTORS)


def decide(cfg: DictConfig, kind: Kind) -> None:
    """Promote the candidate of `cfg.name`, or the version asked for, or roll back."""
    console = Console(soft_wrap=True, highlight=False)
    if cfg.promotion.rollback and cfg.promotion.version is not None:
        raise ConfigError("Expected a version to promote or a rollback, got both.")
    if cfg.promotion.refused not in ("error", "keep"):
        raise ConfigError(f"promotion.refused: expected error or keep, got {cfg.promotion.refused!r}.")
    with held(cfg, cfg.name) as (champions, registry):
        if cfg.promotion.rollback:
            old, new = roll_back(champions, registry, [public_key(cfg)])
            console.print(f"promote: {cfg.name} {new.version} is the champion again, {old.version} is no more")
            return
        chosen, champion = choose(cfg, champions), champions.champion()
        if chosen.candidate == champion and champions.holds(champion):
            console.print(f"promote: {cfg.name} {champion.version} is the champion already, nothing to do")
            write_json(decision_path(cfg), decided_before(champions, champion))
            return
        guard_first(cfg, registry, chosen.candidate, champion)
        consider(cfg, champions, registry, chosen, console, kind)


def consider(
    cfg: DictConfig,
    champions: Champions,
    registry: Registry,
    chosen: Chosen,
    console: Console,
    kind: Kind,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Judge, keep the receipt, and move the champion or refuse. Raises PromotionRefused."""
    champion, candidate = champions.champion(), chosen.candidate
    withdrawn = not chosen.named and candidate.digest in champions.history().withdrawn
    judged = kind.judge(cfg, champions, champion, candidate, chosen.folder, public_key(cfg), withdrawn)
    receipt = Receipt(candidate, champion, judged.verdicts, judged.test, now())
    for line in said_of(receipt.verdicts):
        console.print(f"  {line}")
    champions.folder.mkdir(parents=True, exist_ok=True)
    taken = champions.folder / candidate.version
    accepted = not receipt.refusals
    if judged.bundle is not None and taken != chosen.folder and (accepted or not taken.exists()):
        champions.take_in(chosen.folder)
    kept = champions.write_receipt(receipt.file_name, json.dumps(receipt.to_dict(), indent=2) + "\n")
    write_json(decision_path(cfg), repeatable(receipt.to_dict()))
    entry = None
    if judged.bundle is not None:
        root = cfg.tracking.artifacts
        entry = enter(registry, cfg.tracking.experiment, judged.bundle, chosen.folder, artifact_root=root)
        registry.tag(entry, "promotion", receipt.decision)
    if accepted:
        kind.bring(cfg, chosen.folder)
        promote(champions, registry, candidate, receipt=kept.name)
        before = f" (before: {champion.version})" if champion else ", the first"
        console.print(f"promote: {cfg.name} {candidate.version} is the champion now{before}")
        return
    if entry is not None:
        registry.keep_receipt(entry, kept)
    said = f"{cfg.name} {candidate.version}: {receipt.said()}"
    if cfg.promotion.refused == "error" or champion is None:
        raise PromotionRefused(f"{said}. Receipt: {kept}")
    console.print(f"promote: refused, {champion.version} stays the champion. {said}. Receipt: {kept}")


def choose(cfg: DictConfig, champions: Champions) -> Chosen:
    """The version asked for, from among the bundles or the newest candidate; else the candidate.

    Raises DataError when there is no candidate, PromotionError when there is no such version.
    """
    home, version = Path(cfg.out.register), cfg.promotion.version
    if version is None:
        try:
            candidate = Champion.model_validate(read_json(home / CANDIDATE))
        except ValidationError:
            raise DataError(f"Expected a well-formed {CANDIDATE} in {home}. Run the register stage again.") from None
        return Chosen(candidate, home / candidate.version, named=False)
    for folder in (champions.folder / str(version), home / str(version)):
        if (folder / MANIFEST).is_file():
            digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
            return Chosen(Champion(name=cfg.name, version=str(version), digest=digest), folder, named=True)
    raise PromotionError(f"{cfg.name} has no bundle of version {version} here.")


def guard_first(cfg: DictConfig, registry: Registry, candidate: Champion, champion: Champion | None) -> None:
    """A first champion is compared with nothing; so it must be one. Raises PromotionError where the registry has another.

    On a shared registry a fresh clone has no champion.json, but the team has a champion.
    """
    pointed = registry.champion() if champion is None else None
    if pointed is not None and pointed.bundle_version != candidate.version and not cfg.promotion.first:
        raise PromotionError(
            f"There is no champion here, but in the registry @champion of {cfg.name} is version {pointed.version} "
            f"(bundle {pointed.bundle_version}). Bring it here (dvc pull, dvc checkout), or begin anew with "
            "promotion.first=true."
        )


def decided_before(champions: Champions, champion: Champion) -> dict[str, Any]:
    """The decision that made `champion` what it is, from its newest receipt, if that is still here."""
    for path in sorted((champions.folder / RECEIPTS).glob(f"*-{champion.version}.json"), reverse=True):
        receipt = read_json(path)
        if receipt.get("digest") == champion.digest and receipt.get("decision") == "accepted":
            return repeatable(receipt)
    return {"version": champion.version, "decision": "accepted", "champion": None, "gates": {}, "test": {}}


def decision_path(cfg: DictConfig) -> Path:
    """Where git keeps the last decision on a model."""
    return Path(cfg.paths.metrics) / "promotion" / f"{cfg.name}.json"


def public_key(cfg: DictConfig) -> Path:
    """The key that bundles of this project are signed with."""
    return Path(cfg.paths.signing_key).with_suffix(".pub")


def overrides(arguments: list[str]) -> list[str]:
    """The command line as Hydra takes it: `--rollback` and `version=XYZ` are short for two keys of the configuration.

    Versions are quoted, for 12e456789012 would be read as a number.
    """
    taken = []
    for given in arguments:
        version = re.fullmatch(r"version=([a-z0-9-]+)", given)
        if version:
            taken.append(f"promotion.version='{version[1]}'")
        else:
            taken.append("promotion.rollback=true" if given == "--rollback" else given)
    return taken


if __name__ == "__main__":
    sys.argv[1:] = overrides(sys.argv[1:])
    main()
