"""The manifests of a base and of a reader, of what lies in the outputs of the earlier stages. Writes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pipelines.models import read_json
from pipelines.reader.tasks import task_of
from pipelines.stage import git_commit, plain
from safelight.bundle import content_version
from safelight.manifest import Pinned
from safelight.reader.manifest import (
    ADAPTER,
    Architecture,
    BaseManifest,
    Calibration,
    DecoderVariant,
    ReaderManifest,
)

BASES = "bases"
"""The folder, beside a candidate's bundle, that its base lies in."""
_PLACES = ("source", "revision", "offline")


def base_manifest(cfg: DictConfig) -> BaseManifest:
    """Of the graphs that export left. Its version follows from them and from the card's texts, not from the commit."""
    export = Path(cfg.out.export)
    report, int8 = read_json(export / "report.json"), {}
    if report["int8"]["outcome"] == "accepted":
        int8 = {"int8": DecoderVariant(file=report["int8"]["file"], gate=report["int8"]["gate"])}
    fields: dict[str, Any] = {
        "task": "vision-language-base",
        "architecture": Architecture.model_validate(report["architecture"]),
        "metrics": base_metrics(Path(cfg.model.reader.source)),
        "parity": read_json(export / "parity.json"),
        "data_digest": None,
        "configuration": {"model": {"family": cfg.model.reader.family, "hub_id": cfg.model.card.hub_id}},
        "licence": cfg.model.card.licence,
        "variants": int8,
    }
    unnamed = BaseManifest(name=cfg.model.name, version="unnamed", git_commit="", files={}, **fields)
    files = {name: digest_of(export / name) for name in sorted(unnamed.contents())}
    content = unnamed.model_dump(mode="json", exclude={"version", "git_commit", "files"})
    version = content_version(files, content, plain(cfg.model.card))
    return unnamed.model_copy(update={"version": version, "git_commit": git_commit()})


def base_metrics(source: Path) -> dict[str, Any]:
    """What its own training said of a base that was made here; of another one nothing was measured."""
    summary = source.parent / "summary.json"
    if source.is_dir() and summary.is_file():
        return {"training": read_json(summary)}
    return {"reason": "Not measured by itself: the figures are those of the readers that adapt it."}


def reader_manifest(cfg: DictConfig, base: Pinned) -> ReaderManifest:
    """Of the matrices that export left. Its version follows from them, the base, the figures and the
    card's texts, not from the commit or from how quick this machine was."""
    export, values = Path(cfg.out.export), plain(cfg)
    report, task = read_json(export / "report.json"), task_of(values["task"])
    splits = {name: own["sha256"] for name, own in read_json(prepared(cfg))["splits"].items()}
    fields: dict[str, Any] = {
        "task": "image-to-json",
        "base": base,
        "rank": report["rank"],
        "json_schema": task.schema,
        "prompt": task.prompt,
        "prompt_ids": report["prompt_ids"],
        "max_new_tokens": report["max_new_tokens"],
        "calibration": Calibration.model_validate(read_json(Path(cfg.out.evaluate) / "calibration.json")),
        "quality": values["task"]["quality"] or {},
        "metrics": read_json(Path(cfg.out.metrics)),
        "golden": read_json(Path(cfg.out.evaluate) / "golden.json"),
        "parity": read_json(export / "parity.json"),
        "data_digest": hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest(),
        "configuration": configuration(values, splits),
        "licence": values["task"]["about"]["licence"],
    }
    unnamed = ReaderManifest(name=cfg.name, version="unnamed", git_commit="", files={}, **fields)
    left_out: Any = {"version": True, "git_commit": True, "files": True, "metrics": {"speed"}}
    content = unnamed.model_dump(mode="json", exclude=left_out)
    version = content_version(digest_of(export / ADAPTER).encode(), content, values["task"]["about"])
    return unnamed.model_copy(update={"version": version, "git_commit": git_commit()})


def configuration(values: Mapping[str, Any], splits: Mapping[str, str]) -> dict[str, Any]:
    """How the adapter was made, without where anything lay: that would differ from machine to machine, and tell of them."""
    model = dict(values["model"])
    model["reader"] = {key: value for key, value in model["reader"].items() if key not in _PLACES}
    kept = {key: values[key] for key in ("seed", "steps", "trainer", "module")}
    return {**kept, "model": model, "data": {"name": values["task"]["name"], "splits": dict(splits)}}


def prepared(cfg: DictConfig) -> Path:
    """The report of the task's prepared records."""
    return Path(cfg.task.processed) / "report.json"


def digest_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
