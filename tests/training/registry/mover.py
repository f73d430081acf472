"""A process that moves a champion or a challenger and is killed, by itself and with SIGKILL, after the step it is told.

python -m tests.training.registry.mover FOLDER promote|roll_back|challenge|clear|reconcile VERSION STEP KEY [MLFLOW]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from safelight.bundle import MANIFEST, Champion
from training.registry.champions import Champions
from training.registry.promotion import challenge, promote, reconcile, roll_back
from training.registry.registered import Registered


class FileRegistry:
    """The calls that a move makes, on one JSON file that outlives the process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, bundle_version: str) -> Registered | None:
        entry = self._read()["entries"].get(bundle_version)
        return Registered(**entry) if entry else None

    def champion(self) -> Registered | None:
        alias = self._read()["champion"]
        return self.find(alias) if alias else None

    def set_champion(self, registered: Registered) -> None:
        self._write(champion=registered.bundle_version)

    def challenger(self) -> Registered | None:
        alias = self._read()["challenger"]
        return self.find(alias) if alias else None

    def set_challenger(self, registered: Registered | None) -> None:
        self._write(challenger=registered and registered.bundle_version)

    def keep_receipt(self, registered: Registered, receipt: Path) -> None:
        self._write(receipts=sorted({*self._read()["receipts"], receipt.name}))

    def enter(self, bundle_version: str) -> Registered:
        entries = self._read()["entries"]
        entry = Registered("coco", str(len(entries) + 1), "run", bundle_version)
        self._write(entries={**entries, bundle_version: asdict(entry)})
        return entry

    def _read(self) -> dict:
        empty = {"entries": {}, "champion": None, "challenger": None, "receipts": []}
        return empty | json.loads(self.path.read_text()) if self.path.exists() else empty

    def _write(self, **changes: object) -> None:
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps({**self._read(), **changes}))
        scratch.replace(self.path)


def champion_of(folder: Path, version: str) -> Champion:
    """What champion.json says of a version whose bundle lies in `folder`."""
    import hashlib

    return Champion(
        name=folder.name,
        version=version,
        digest=hashlib.sha256((folder / version / MANIFEST).read_bytes()).hexdigest(),
    )


def main(folder: Path, verb: str, version: str, step: str, key: Path, tracking_uri: str | None = None) -> None:
    def after(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    champions, registry = Champions(folder), FileRegistry(folder.parent / "registry.json")
    if tracking_uri is not None:
        from training.registry.aliases import Registry

        registry = Registry(tracking_uri, folder.name)
    if verb == "promote":
        promote(champions, registry, champion_of(folder, version), receipt=f"{version}.json", after=after)
    elif verb == "roll_back":
        roll_back(champions, registry, [key], after=after)
    elif verb in ("challenge", "clear"):
        challenge(champions, registry, champion_of(folder, version) if verb == "challenge" else None, after=after)
    else:
        reconcile(champions, registry, after=after)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5], Path(sys.argv[5]), *sys.argv[6:])
