"""Whether an interrupted training can go on: only when everything that decides its numbers is as it was.

What it is compared by is a fingerprint: plain texts by name. Knows nothing of what a checkpoint holds (keeping.py writes
it, Lightning reads it), of configuration files or of trackers.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import safelight
from safelight.errors import ConfigError
from training.fitting.keeping import RESUME, settle

NOTE = "resume.json"
_LIBRARIES = ("torch", "pytorch-lightning", "numpy", "pillow")


@dataclass(frozen=True)
class Start:
    """Where to begin. checkpoint: None from the beginning. run_id: of the interrupted run, to go on with. abandoned: of one
    that nobody goes on with. said: why, for a person; empty when there was nothing to decide."""

    checkpoint: Path | None = None
    run_id: str | None = None
    abandoned: str | None = None
    said: str = ""


@dataclass(frozen=True)
class Code:
    """What a kind of learner computes with, besides this package. places: Python files, or folders of them. vocabulary: files
    of safelight. libraries: distributions, besides those that every training uses."""

    places: tuple[Path, ...]
    vocabulary: tuple[str, ...]
    libraries: tuple[str, ...]


def fingerprint(
    settings: Mapping[str, Any],
    network: nn.Module,
    data: Mapping[str, str],
    code: Code,
    ignored: frozenset[str] = frozenset(),
) -> dict[str, str]:
    """Everything that decides the numbers of a training, by name.

    settings: nested plain values, without `ignored` dotted names. network: as it is before the first step. data: digests
    by split. Processor and number of threads are added here.
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        **{name: value for name, value in _flat(settings) if name not in ignored},
        **{f"data {split}": digest for split, digest in data.items()},
        "base weights": _weights_digest(network),
        "code": _code_digest(code),
        "libraries": " ".join(f"{name} {version(name)}" for name in (*_LIBRARIES, *code.libraries)),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {gpu}".strip(),
        "threads": str(torch.get_num_threads()),
    }


class Unfinished:
    """The folder of a training that may be interrupted: its checkpoint and a note of what it belongs to."""

    def __init__(self, folder: Path, fingerprint: Mapping[str, str]) -> None:
        self._folder, self._fingerprint = folder, dict(fingerprint)

    def start(self, mode: str) -> Start:
        """Where to begin. mode: `auto` goes on with an interrupted training that is this one, `never` does not, and a path
        names a checkpoint to go on from whatever it is. Raises ConfigError when there is none at that path."""
        checkpoint, note = self._folder / RESUME, self._note()
        run_id = note.get("run_id")
        if mode not in ("auto", "never"):
            if not Path(mode).is_file():
                raise ConfigError(f"resume: expected auto, never or a checkpoint, and there is no file {mode}.")
            same = Path(mode).resolve() == checkpoint.resolve()
            return Start(Path(mode), run_id if same else None, said=f"goes on from {mode}, as asked")
        if not note:
            return Start()
        if mode == "never":
            return Start(abandoned=run_id, said="begins anew, as asked; there was an interrupted run")
        changed = sorted(_differing(note.get("fingerprint", {}), self._fingerprint))
        if changed:
            named = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            return Start(abandoned=run_id, said=f"begins anew: since the interrupted run there is another {named}")
        if not checkpoint.is_file():
            return Start(None, run_id, said="begins again: the interrupted run had not finished a round")
        return Start(checkpoint, run_id, said="goes on where it was interrupted")

    def begin(self, start: Start, run_id: str) -> None:
        """Note what runs now. Comes before the first step; a checkpoint that is not gone on from is removed first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if start.checkpoint is None:
            self._clear()
        scratch = self._folder / f".{NOTE}"
        scratch.write_text(json.dumps({"fingerprint": self._fingerprint, "run_id": run_id}, indent=1))
        settle(scratch, self._folder / NOTE)

    def finish(self) -> None:
        """What the training made is safe elsewhere: remove everything."""
        self._clear()

    def _clear(self) -> None:
        """The note goes last but for leftovers: a checkpoint without one is never gone on from."""
        for name in (NOTE, RESUME, f".{RESUME}", ".best", f".{NOTE}"):
            (self._folder / name).unlink(missing_ok=True)
        for path in self._folder.glob("best-*.safetensors"):
            path.unlink()

    def _note(self) -> dict[str, Any]:
        try:
            note = json.loads((self._folder / NOTE).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [name for name in {*old, *new} if old.get(name) != new.get(name)]


def _weights_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code_digest(code: Code) -> str:
    """Of the code that trains: this package, the learner's, and what of the vocabulary it uses."""
    digest = hashlib.sha256()
    vocabulary = Path(str(safelight.__file__)).parent
    places = (Path(__file__).parent, *code.places)
    files = [path for place in places for path in ([place] if place.is_file() else sorted(place.rglob("*.py")))]
    for path in [*files, *(vocabulary / name for name in code.vocabulary)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        pairs += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, json.dumps(value, sort_keys=True))]
    return pairs
