"""The files beside a model's bundles that say which is served, which were before, and which move is under way.

`bundles/NAME/` holds champion.json (what serving believes), challenger.json (which version is on trial, if one is),
history.json (the champions before) and, only while a champion or a challenger is being moved, intent.json. Knows nothing of
MLflow, gates or networks; each file is written whole or not at all and is on the disk before the next one is touched.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from safelight.bundle import (
    CHAMPION,
    Bundle,
    Champion,
    M,
    Manifest,
    read_bundle,
    read_challenger,
    read_champion,
    write_challenger,
    write_champion,
)
from safelight.errors import ManifestInvalid, PromotionError
from training.registry import bases

HISTORY = "history.json"
INTENT = "intent.json"
RECEIPTS = "receipts"
CANDIDATE = "candidate.json"
"""The pointer to the candidate, of a champion's form, beside its bundle in the register stage's folder."""
_POLL_S = 0.05


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class History(_Frozen):
    """previous: the champions before the one that is served, oldest first. withdrawn: digests that a rollback left."""

    schema_version: Literal[1] = 1
    previous: tuple[Champion, ...] = ()
    withdrawn: tuple[str, ...] = ()

    def promoted(self, old: Champion | None, new: Champion) -> History:
        """The history once `new` is served in the place of `old`."""
        previous = (*self.previous, old) if old is not None and old != new else self.previous
        return History(previous=previous, withdrawn=tuple(d for d in self.withdrawn if d != new.digest))

    def rolled_back(self, old: Champion) -> History:
        """The history once the last of `previous` is served again in the place of `old`."""
        withdrawn = tuple(dict.fromkeys((*self.withdrawn, old.digest)))
        return History(previous=self.previous[:-1], withdrawn=withdrawn)


class Intent(_Frozen):
    """Which versions are to be served and on trial, written before the first step towards it. receipt: name of the file that
    says why the champion is what it is to be, if there is one."""

    schema_version: Literal[1] = 1
    champion: Champion
    history: History
    challenger: Champion | None = None
    receipt: str | None = None


@dataclass(frozen=True)
class Champions:
    """The files of one model. folder: `bundles/NAME`."""

    folder: Path

    @property
    def name(self) -> str:
        """The model's name."""
        return self.folder.name

    def champion(self) -> Champion | None:
        """The version that is served; None when there is none yet. Raises ManifestInvalid when champion.json is broken."""
        return read_champion(self.folder) if (self.folder / CHAMPION).exists() else None

    def challenger(self) -> Champion | None:
        """The version on trial; None when there is none. Raises ManifestInvalid when challenger.json is broken."""
        return read_challenger(self.folder)

    def history(self) -> History:
        """The champions before. Raises PromotionError when history.json is broken."""
        path = self.folder / HISTORY
        if not path.exists():
            return History()
        try:
            return History.model_validate_json(path.read_bytes())
        except ValidationError:
            raise PromotionError(
                f"Expected a well-formed {HISTORY}. Restore it, or remove it and its history."
            ) from None

    def intent(self) -> Intent | None:
        """The move under way, if any. Raises PromotionError when intent.json is not one of this model's."""
        path = self.folder / INTENT
        if not path.exists():
            return None
        try:
            intent = Intent.model_validate_json(path.read_bytes())
        except ValidationError:
            raise PromotionError(f"Expected a well-formed {INTENT}. Remove it to give up the move.") from None
        if intent.champion.name != self.name:
            raise PromotionError(f"Expected a move of {self.name} in {INTENT}, got one of {intent.champion.name}.")
        return intent

    def begin(self, intent: Intent) -> None:
        """Write down what is about to be done."""
        self._write(INTENT, intent.model_dump_json(indent=2))

    def set_champion(self, champion: Champion) -> None:
        """Name the version to serve. A file that does so already stays, for serving loads again what is written again."""
        try:
            same = self.champion() == champion
        except ManifestInvalid:
            same = False
        if not same:
            write_champion(self.folder, champion)
            _sync(self.folder)

    def set_challenger(self, challenger: Champion | None) -> None:
        """Name the version on trial; None: there is none."""
        write_challenger(self.folder, challenger)
        _sync(self.folder)

    def set_history(self, history: History) -> None:
        """Keep the champions before."""
        self._write(HISTORY, history.model_dump_json(indent=2))

    def finish(self) -> None:
        """The move is complete, or given up."""
        (self.folder / INTENT).unlink(missing_ok=True)
        _sync(self.folder)

    def write_receipt(self, name: str, text: str) -> Path:
        """Keep a receipt under `receipts/`; returns where."""
        (self.folder / RECEIPTS).mkdir(parents=True, exist_ok=True)
        self._write(f"{RECEIPTS}/{name}", text)
        return self.folder / RECEIPTS / name

    def holds(self, champion: Champion) -> bool:
        """Whether the very bundle that `champion` names can be served from here."""
        return self.lack(champion) is None

    def lack(self, champion: Champion) -> str | None:
        """What is missing for the bundle that `champion` names to be served from here: itself, or the base that it adapts."""
        if not bases.lies_in(self.folder, champion):
            return f"the bundle {champion.version} of {self.name}"
        try:
            base = bases.base_of(self.folder / champion.version)
        except ManifestInvalid:
            return f"the bundle {champion.version} of {self.name}"
        if base is None or bases.lies_in(self.folder.parent / base.name, base):
            return None
        return f"the base {base.name} {base.version} that {self.name} {champion.version} adapts"

    def read(
        self,
        champion: Champion,
        public_keys: Sequence[Path],
        kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M
        files: Callable[[M], Collection[str]] | None = None,
    ) -> Bundle[M]:
        """The bundle that `champion` names, verified; kind and files as `read_bundle` takes them. Raises SignatureInvalid or
        ManifestInvalid."""
        bundle = read_bundle(self.folder / champion.version, public_keys, kind, files)
        if (bundle.manifest.name, bundle.digest) != (champion.name, champion.digest):
            raise ManifestInvalid("The bundle is not the one that was promoted: its name or digest differs.")
        return bundle

    def take_in(self, source: Path) -> None:
        """Copy a bundle's folder here, whole or not at all; one of that version that lies here already is replaced."""
        bases.take_in(source, self.folder)

    @contextmanager
    def locked(self, wait_s: float) -> Iterator[None]:
        """Hold this model's champion alone, among all processes of this machine. Raises PromotionError after `wait_s`.

        The lock lies beside the folder, not in it, so that DVC does not take it for a part of what it tracks.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with (self.folder.parent / f".{self.name}.lock").open("a") as file:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise PromotionError(
                            f"Another promotion of {self.name} is under way. Try again later."
                        ) from None
                    time.sleep(_POLL_S)
            yield

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """Have the disk remember which names a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
