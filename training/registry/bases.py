"""Bundles as folders: which one lies where, what base it adapts, and how it is brought to where it is served from.

An adapter is nothing without the very base that it was trained on: `bundles/BASE/VERSION/` holds a base,
`bundles/NAME/VERSION/` what adapts one. Knows nothing of signatures: whoever opens a bundle verifies it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from safelight.bundle import MANIFEST
from safelight.errors import ManifestInvalid
from safelight.manifest import Pinned


def lies_in(model_folder: Path, pinned: Pinned) -> bool:
    """Whether the very bundle that is named lies in `bundles/NAME`."""
    manifest = model_folder / pinned.version / MANIFEST
    return manifest.is_file() and hashlib.sha256(manifest.read_bytes()).hexdigest() == pinned.digest


def base_of(bundle_folder: Path) -> Pinned | None:
    """The base that a bundle names; None where it names none. Raises ManifestInvalid when what it names is no bundle."""
    named = told_by(bundle_folder).get("base")
    try:
        return None if named is None else Pinned.model_validate(named)
    except ValidationError:
        raise ManifestInvalid(
            f"Expected a base by name, version and digest in {bundle_folder.name}/{MANIFEST}."
        ) from None


def take_in(source: Path, model_folder: Path, *, linked: bool = False) -> None:
    """Put a bundle's folder into `bundles/NAME`, whole or not at all; one of that version that lies there is replaced.

    linked: the files are the source's own where the file system can do that, for a base has most of a gigabyte; neither of
    the two folders may then ever be written into, which nothing does with a bundle.
    """
    model_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model_folder.parent, prefix=".taking-") as scratch:
        copy = link_or_copy if linked else shutil.copy2
        fresh = Path(shutil.copytree(source, Path(scratch) / source.name, copy_function=copy))
        if (model_folder / source.name).exists():
            (model_folder / source.name).rename(Path(scratch) / "replaced")
        fresh.rename(model_folder / source.name)


def link_or_copy(source: str, target: str) -> None:
    """A file under a second name; copied where it cannot have one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def told_by(folder: Path) -> dict[str, object]:
    """What a manifest says, unverified. Raises ManifestInvalid when it is no JSON object."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        told = None
    if not isinstance(told, dict):
        raise ManifestInvalid(f"Expected a well-formed {MANIFEST} in {folder.name}.")
    return told
