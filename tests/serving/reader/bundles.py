"""Signed bundles of the tiny base and of adapters for it, and settings that serve them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safelight.bundle import Champion, write_bundle, write_champion
from safelight.manifest import Pinned
from safelight.reader.manifest import ADAPTER, TOKENIZER, BaseManifest, ReaderManifest
from serving.settings import Settings
from tests.serving.reader import tiny

BASE = "tiny"
_COMMON: dict[str, Any] = {
    "metrics": {},
    "parity": {},
    "data_digest": None,
    "git_commit": "0" * 40,
    "configuration": {},
    "licence": "MIT",
    "files": {},
}


def write_base(bundles: Path, private_key: Path, base: tiny.Base, version: str = "v1", **changes: Any) -> Pinned:
    values = {
        "name": BASE,
        "version": version,
        "task": "vision-language-base",
        "architecture": base.architecture,
        **_COMMON,
        **changes,
    }
    files = {**base.files, TOKENIZER: base.tokenizer.to_str().encode()}
    digest = write_bundle(bundles / BASE / version, BaseManifest.model_validate(values), files, "# A base", private_key)
    return Pinned(name=BASE, version=version, digest=digest)


def write_reader(
    bundles: Path,
    private_key: Path,
    base: tiny.Base,
    pinned: Pinned,
    *,
    name: str = "keys",
    version: str = "v1",
    seed: int = 1,
    schema: dict[str, Any] = tiny.KEYS,
    promoted: bool = True,
    **changes: Any,
) -> Path:
    """A reader with random matrices, signed and promoted; returns its folder."""
    values = {
        "name": name,
        "version": version,
        "task": "image-to-json",
        "base": pinned,
        "rank": tiny.RANK,
        "json_schema": schema,
        "prompt": "Read the key.",
        "prompt_ids": base.prompt(),
        "max_new_tokens": 160,
        **_COMMON,
        **changes,
    }
    folder = bundles / name / version
    manifest = ReaderManifest.model_validate(values)
    digest = write_bundle(folder, manifest, {ADAPTER: base.adapter_bytes(seed)}, "# A reader", private_key)
    if promoted:
        write_champion(folder.parent, Champion(name=name, version=version, digest=digest))
    return folder


def with_readers(settings: Settings, bundles: Path, *routes: str, **changes: Any) -> Settings:
    """Settings that serve readers from a folder, the first of them by default."""
    readers = settings.readers.model_copy(
        update={"routes": routes, "default": routes[0] if routes else None, "rows": 4, "threads": 1, **changes}
    )
    return settings.model_copy(update={"readers": readers, "bundles": bundles})
