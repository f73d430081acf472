"""The bundle: the only form in which a model leaves training and enters serving.

`bundles/NAME/VERSION/` holds what the manifest of its task lists (`safelight.manifest`, `safelight.reader.manifest`),
manifest.json, README.md (the model card) and model.sig; `champion.json` beside the versions names the one to serve,
`challenger.json`, where there is one, the one on trial. Knows nothing of networks or runtimes, and never unpickles anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeVar

from safelight.errors import ManifestInvalid
from safelight.manifest import MODEL, Described, Manifest, Pinned, Tensor, Variant, VariantName
from safelight.reader.manifest import BaseManifest, ReaderManifest
from safelight.signing import SIGNATURE, sign, verify

__all__ = [
    "CARD",
    "CHALLENGER",
    "CHAMPION",
    "MANIFEST",
    "MODEL",
    "TASKS",
    "Bundle",
    "Champion",
    "Manifest",
    "Role",
    "Tensor",
    "Variant",
    "VariantName",
    "content_version",
    "read_bundle",
    "read_challenger",
    "read_champion",
    "read_served",
    "write_bundle",
    "write_challenger",
    "write_champion",
]

MANIFEST = "manifest.json"
CARD = "README.md"
CHAMPION = "champion.json"
CHALLENGER = "challenger.json"
TASKS: Mapping[str, type[Described]] = {
    "object-detection": Manifest,
    "vision-language-base": BaseManifest,
    "image-to-json": ReaderManifest,
}
"""The manifest of each task that a bundle may be for."""

M = TypeVar("M", bound=Described, default=Manifest)
M_co = TypeVar("M_co", bound=Described, default=Manifest, covariant=True)
Champion = Pinned
"""Which version of a model is to be served, or is on trial."""


@dataclass(frozen=True)
class Bundle(Generic[M_co]):
    """A verified bundle. digest: SHA-256 of manifest.json, which pins every other file. files: those that were asked for, in
    memory, by name."""

    manifest: M_co
    digest: str
    files: Mapping[str, bytes]

    @property
    def model(self) -> bytes:
        """A detector's graph."""
        return self.files[MODEL]


def write_bundle(
    folder: Path, manifest: Described, files: Mapping[str, bytes | Path], card: str, private_key: Path
) -> str:
    """Write and sign a bundle at `folder` in one step: it appears whole or not at all. Returns its digest.

    files: the contents that the manifest lists, or where they lie. `manifest.files` is filled in here. A folder already
    there is replaced. Raises ManifestInvalid when a file that the manifest lists is not given, or another one is.
    """
    if set(files) != manifest.contents():
        raise ManifestInvalid(f"Expected the files {sorted(manifest.contents())}, got {sorted(files)}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir(mode=0o755)
        for name, data in {**files, CARD: card.encode()}.items():
            if isinstance(data, Path):
                shutil.copyfile(data, fresh / name)
            else:
                (fresh / name).write_bytes(data)
        digests = {name: _digest(fresh / name) for name in (*files, CARD)}
        text = manifest.model_copy(update={"files": digests}).model_dump_json(indent=2).encode()
        (fresh / MANIFEST).write_bytes(text)
        sign(fresh, private_key)
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
    return hashlib.sha256(text).hexdigest()


def read_bundle(
    folder: Path,
    public_keys: Sequence[Path],
    kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M
    files: Callable[[M], Collection[str]] | None = None,
) -> Bundle[M]:
    """Read a bundle and refuse whatever is not provably right. Raises SignatureInvalid or ManifestInvalid.

    kind: the manifest that is expected; `Described` takes that of any task. files: names of those wanted in memory, which
    may depend on what the manifest says; all that the manifest lists when None. The others, however large, are only hashed.

    1. The signature over the folder is by one of `public_keys`.
    2. The manifest is well-formed, of the kind expected, and belongs to this folder (version is the folder's name).
    3. The folder holds the files that the manifest lists, the manifest, the signature and nothing else.
    4. The bytes that are returned, not those on disk, have the digests that the manifest gives; so have the other files,
       at the time when they are hashed.

    What the caller still owes: to check that this version is the one it asked for (`Champion.digest`).
    """
    verify(folder, public_keys)
    text = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else b""
    manifest = _parsed(text, kind)
    if manifest.version != folder.name:
        raise ManifestInvalid(f"Expected version {folder.name}, the manifest says {manifest.version}.")
    present = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    expected = {*manifest.files, MANIFEST, SIGNATURE}
    if present != expected:
        raise ManifestInvalid(f"Expected the files {sorted(expected)}, found {sorted(present)}.")
    if not manifest.contents() <= set(manifest.files):
        raise ManifestInvalid(f"Expected {sorted(manifest.contents())} among the files.")
    wanted = manifest.contents() if files is None else frozenset(files(manifest))
    if unknown := wanted - set(manifest.files):
        raise ManifestInvalid(f"Expected {sorted(unknown)} among the files.")
    contents = {name: (folder / name).read_bytes() for name in wanted}
    for name, digest in manifest.files.items():
        found = hashlib.sha256(contents[name]).hexdigest() if name in contents else _digest(folder / name)
        if found != digest:
            raise ManifestInvalid(f"{name} does not have the digest that the manifest gives.")
    manifest.check()
    return Bundle(manifest, hashlib.sha256(text).hexdigest(), contents)


class _OfTask(BaseModel):
    task: str


def _parsed(text: bytes, kind: type[M]) -> M:
    """The manifest of the kind that is expected, or of a more special one. Raises ManifestInvalid."""
    expected = [task for task, found in TASKS.items() if issubclass(found, kind)]
    try:
        task = _OfTask.model_validate_json(text).task
        if task not in expected:
            raise ManifestInvalid(f"Expected a manifest of the task {' or '.join(expected)}, got one of another.")
        manifest = TASKS[task].model_validate_json(text)
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in e["loc"]) or "the document" for e in error.errors()})
        raise ManifestInvalid(f"manifest.json does not follow its schema at: {', '.join(places)}.") from None
    assert isinstance(manifest, kind)  # TASKS was asked for its subclasses
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Role = Literal["champion", "challenger"]
_POINTERS: dict[Role, str] = {"champion": CHAMPION, "challenger": CHALLENGER}


def write_champion(model_folder: Path, champion: Champion) -> None:
    """Name the version to serve, atomically: a reader sees the old one or the new one, never half of either."""
    _write_pointer(model_folder, "champion", champion)


def write_challenger(model_folder: Path, challenger: Champion | None) -> None:
    """Name the version on trial, as atomically; None: there is none any more."""
    if challenger is None:
        (model_folder / CHALLENGER).unlink(missing_ok=True)
    else:
        _write_pointer(model_folder, "challenger", challenger)


def read_champion(model_folder: Path) -> Champion:
    """The version to serve. Raises ManifestInvalid when champion.json is missing or malformed."""
    return _read_pointer(model_folder, "champion")


def read_challenger(model_folder: Path) -> Champion | None:
    """The version on trial, None when there is none. Raises ManifestInvalid when challenger.json is malformed."""
    return _read_pointer(model_folder, "challenger") if (model_folder / CHALLENGER).exists() else None


def read_served(
    model_folder: Path,
    public_keys: Sequence[Path],
    which: Role = "champion",
    kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M
    files: Callable[[M], Collection[str]] | None = None,
) -> Bundle[M]:
    """The champion's (or the challenger's) bundle, verified, the very one that was named; kind and files as `read_bundle`
    takes them. Raises SignatureInvalid, or ManifestInvalid, also when there is none."""
    named = _read_pointer(model_folder, which)
    bundle = read_bundle(model_folder / named.version, public_keys, kind, files)
    if (bundle.manifest.name, bundle.digest) != (named.name, named.digest):
        raise ManifestInvalid("The bundle is not the one that was promoted: its name or digest differs.")
    return bundle


def _write_pointer(model_folder: Path, role: Role, named: Champion) -> None:
    descriptor, scratch = tempfile.mkstemp(dir=model_folder, prefix=f".{role}-")
    with os.fdopen(descriptor, "w") as file:
        file.write(named.model_dump_json(indent=2))
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).chmod(0o644)
    Path(scratch).replace(model_folder / _POINTERS[role])


def _read_pointer(model_folder: Path, role: Role) -> Champion:
    try:
        named = Champion.model_validate_json((model_folder / _POINTERS[role]).read_bytes())
    except (OSError, ValidationError):
        raise ManifestInvalid(f"Expected a well-formed {_POINTERS[role]} naming the version to serve.") from None
    if named.name != model_folder.name:
        raise ManifestInvalid(f"Expected a {role} of {model_folder.name}, got one of {named.name}.")
    return named


def content_version(*parts: bytes | dict[str, Any]) -> str:
    """A version that follows from what it names: the first 12 hex digits of a SHA-256 over `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:12]
