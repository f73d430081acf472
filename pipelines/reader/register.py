"""register: the exported graphs as the signed bundle of a base, the LoRA matrices as that of a reader, and the reader as a
registered MLflow model with the alias `@candidate`.

MLflow is given what adapts the base, and the base's name, version and digest: its weights are in its bundle alone. A base that
lies among the bundles with these very graphs is taken as it is, so that readers of several tasks share it. Bundles go into the
stage's own folder; promote takes them from there. What is served changes by promotion alone.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from pipelines.reader.bundled import BASES, base_manifest, digest_of, reader_manifest
from pipelines.register import evaluation, same
from pipelines.registry import held
from pipelines.stage import plain, stage, write_json
from safelight.bundle import MANIFEST, Bundle, Champion, read_bundle, write_bundle
from safelight.errors import BundleError
from safelight.manifest import Pinned
from safelight.reader.manifest import ADAPTER, DECODER, EMBEDDING, TOKENIZER, VISION, BaseManifest, ReaderManifest
from safelight.signing import signing_key
from training.registry.bases import take_in
from training.registry.card import base_card, reader_card
from training.registry.champions import CANDIDATE
from training.registry.entry import enter
from training.vlm.families.adapters import ADAPTER as WEIGHTS


@stage("reader")
def main(cfg: DictConfig) -> None:
    """Bundle and sign base and adapter, log the adapter to the run that made it, register it as `@candidate`."""
    home, private_key = Path(cfg.out.register), Path(cfg.paths.signing_key)
    with held(cfg, cfg.name) as (_, registry):
        base_folder, base = write_base(cfg, home, private_key)
        folder, bundle = write_reader(cfg, home, private_key, base)
        clear(home, {folder, base_folder})
        trained = Path(cfg.out.train) / "adapter"
        entry = enter(
            registry,
            cfg.tracking.experiment,
            bundle,
            folder,
            weights=trained / WEIGHTS,
            artifacts=[("adapter", trained), *evaluation(Path(cfg.out.evaluate), private=cfg.task.private)],
            artifact_root=cfg.tracking.artifacts,
        )
        registry.set_candidate(entry)
    Console(soft_wrap=True, highlight=False).print(
        f"register: {cfg.name} {bundle.manifest.version}, MLflow version {entry.version} @candidate, "
        f"on the base {base.name} {base.version}"
    )


def write_base(cfg: DictConfig, home: Path, private_key: Path) -> tuple[Path, Pinned]:
    """The base's bundle in the stage's folder: (where, which)."""
    export, public_key = Path(cfg.out.export), signing_key(private_key)
    manifest = base_manifest(cfg)
    shelf = home / BASES / manifest.name
    for folder in [shelf / manifest.version, *sorted((Path(cfg.paths.bundles) / manifest.name).glob("*"))]:
        if holds(folder, manifest, export, public_key):
            if folder.parent != shelf:
                take_in(folder, shelf, linked=True)
            return shelf / folder.name, pinned(shelf / folder.name)
    folder = shelf / manifest.version
    about = {**plain(cfg.model.card)["about"], "source": cfg.model.card.source}
    files: dict[str, bytes | Path] = {name: export / name for name in manifest.contents()}
    write_bundle(folder, manifest, files, base_card(manifest, about), private_key)
    return folder, pinned(folder)


def holds(folder: Path, manifest: BaseManifest, export: Path, public_key: Path) -> bool:
    """Whether a verified base lies in `folder` that has the very graphs and tokenizer that were exported."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        found = read_bundle(folder, [public_key], BaseManifest, lambda manifest: ()).manifest
    except BundleError:
        return False
    told = (found.architecture, found.licence) == (manifest.architecture, manifest.licence)
    return told and all(
        found.files[name] == digest_of(export / name) for name in (VISION, EMBEDDING, DECODER, TOKENIZER)
    )


def write_reader(cfg: DictConfig, home: Path, private_key: Path, base: Pinned) -> tuple[Path, Bundle[ReaderManifest]]:
    """The adapter's bundle in the stage's folder, and the pointer to it: (where, what it holds)."""
    adapter, public_key = Path(cfg.out.export) / ADAPTER, signing_key(private_key)
    manifest = reader_manifest(cfg, base)
    folder = home / manifest.version
    promoted = Path(cfg.paths.bundles) / cfg.name / manifest.version
    if not same(folder, manifest, public_key):
        if same(promoted, manifest, public_key):
            take_in(promoted, home)
        else:
            card = reader_card(manifest, plain(cfg.task.about))
            write_bundle(folder, manifest, {ADAPTER: adapter}, card, private_key)
    bundle = read_bundle(folder, [public_key], ReaderManifest)
    pointer = Champion(name=cfg.name, version=manifest.version, digest=bundle.digest)
    write_json(home / CANDIDATE, pointer.model_dump())
    return folder, bundle


def pinned(folder: Path) -> Pinned:
    """The bundle that lies in a folder, by name, version and digest."""
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    return Pinned(name=folder.parent.name, version=folder.name, digest=digest)


def clear(home: Path, kept: set[Path]) -> None:
    """Remove the bundles of earlier runs from the stage's folder."""
    for path in [*home.glob("*"), *home.glob(f"{BASES}/*/*")]:
        if path.is_dir() and path.name != BASES and path not in kept:
            shutil.rmtree(path)


if __name__ == "__main__":
    main()
