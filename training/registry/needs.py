"""Who needs which base: bases have no champion, they are needed for as long as somebody's champion or challenger names them.

What nobody needs is never removed by itself. Knows nothing of registries.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from safelight.bundle import MANIFEST
from safelight.errors import PromotionError
from safelight.manifest import Pinned
from training.registry.bases import base_of, lies_in, told_by
from training.registry.champions import Champions

TASK = "vision-language-base"


@dataclass(frozen=True)
class Base:
    """A base's bundle. served: names of the models whose champion or challenger needs it. returns: of those that need it to
    return to a champion before."""

    pinned: Pinned
    folder: Path
    served: tuple[str, ...]
    returns: tuple[str, ...]


def bases(bundles: Path) -> list[Base]:
    """Every base in a folder of bundles, and who needs it."""
    served, returns = _needed(bundles)
    found = []
    for path in sorted(bundles.glob(f"*/*/{MANIFEST}")):
        told = told_by(path.parent)
        if told.get("task") != TASK or path.parent.parent.name.startswith("."):
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        pinned = Pinned(name=path.parent.parent.name, version=path.parent.name, digest=digest)
        found.append(
            Base(pinned, path.parent, tuple(served.get(pinned.digest, ())), tuple(returns.get(pinned.digest, ())))
        )
    return found


def remove(base: Base) -> None:
    """Remove a base that no champion and no challenger needs. Raises PromotionError when one does."""
    if base.served:
        raise PromotionError(f"{base.pinned.name} {base.pinned.version} is needed by {', '.join(base.served)}.")
    shutil.rmtree(base.folder)


def _needed(bundles: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names of models by the digest of the base that they need: to be served, and to return to a champion before."""
    served: dict[str, list[str]] = {}
    returns: dict[str, list[str]] = {}
    for folder in sorted(path for path in bundles.iterdir() if path.is_dir() and not path.name.startswith(".")):
        champions = Champions(folder)
        named = [(served, one) for one in (champions.champion(), champions.challenger())]
        named += [(returns, one) for one in champions.history().previous]
        intent = champions.intent()
        named += [(served, one) for one in ((intent.champion, intent.challenger) if intent else ())]
        for needed, pinned in named:
            base = base_of(folder / pinned.version) if pinned and lies_in(folder, pinned) else None
            names = needed.setdefault(base.digest, []) if base else []
            if folder.name not in names:
                names.append(folder.name)
    return served, returns
