"""The bundle: the only form in which a model leaves training and enters serving.

`bundles/NAME/VERSION/` holds model.onnx, manifest.json, README.md (the model card), model.sig and, where there are such,
the graphs of variants; `champion.json` beside the versions names the one to serve, `challenger.json`, where there is one, the
one on trial. Knows nothing of networks or runtimes, and never unpickles anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from safelight.drift import Reference
from safelight.errors import ManifestInvalid
from safelight.golden import Golden
from safelight.heads.interface import Anchors, HeadName
from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from safelight.signing import SIGNATURE, sign, verify

MODEL = "model.onnx"
MANIFEST = "manifest.json"
CARD = "README.md"
CHAMPION = "champion.json"
CHALLENGER = "challenger.json"
_NAME = r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
_SHA256 = r"^[0-9a-f]{64}$"
_LATER = frozenset({"head", "anchors", "golden", "reference"})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tensor(_Frozen):
    """A graph's input or output: name, element type, and shape with a name for each free dimension."""

    name: str
    dtype: Literal["float32", "float16", "uint8", "int32", "int64"]
    shape: tuple[int | str, ...]


VariantName = Literal["int8", "dct"]


class Variant(_Frozen):
    """A cheaper way to nearly the same answers, which passed a gate of its own: another graph with the same inputs and
    outputs (`file`), or JPEGs decoded at 1/2, 1/4 or 1/8 of their size as long as their longer side keeps `least_side`
    pixels. gate: what was measured."""

    file: str | None = Field(default=None, pattern=r"^model\.[a-z0-9]{1,32}\.onnx$")
    least_side: int | None = Field(default=None, ge=1)
    gate: dict[str, Any]

    @model_validator(mode="after")
    def _one_of_two(self) -> Variant:
        if (self.file is None) == (self.least_side is None):
            raise ValueError("expected either a file or a least side")
        return self


class Manifest(_Frozen):
    """What a bundle holds and how to use it. `files` maps every other file (but the signature) to its SHA-256."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=_NAME)
    version: str = Field(pattern=_NAME)
    task: Literal["object-detection"]
    labels: tuple[str, ...] = Field(min_length=1)
    input: Tensor
    outputs: tuple[Tensor, ...]
    preprocess: dict[str, Any]
    thresholds: dict[str, Any]
    metrics: dict[str, Any]
    calibration: dict[str, Any] | None = (
        None  # how far a score is a probability: temperature, and error before and after
    )
    parity: dict[str, Any]
    data_digest: str | None
    git_commit: str
    configuration: dict[str, Any]
    licence: str
    files: dict[str, str]
    variants: dict[VariantName, Variant] = {}
    head: HeadName = "boxes-scores"  # what the outputs mean: safelight/heads
    anchors: Anchors | None = None  # for heads that leave the decoding of boxes to us
    golden: dict[str, Golden] = {}  # by graph, for they do not answer alike: what it is to answer wherever it is loaded
    reference: Reference | None = None  # how pictures and answers were when they were as they should be

    @model_validator(mode="after")
    def _golden_of_its_graphs(self) -> Manifest:
        if unknown := set(self.golden) - {MODEL, *_graphs_of(self)}:
            raise ValueError(f"golden: expected the graphs of this bundle, got {', '.join(sorted(unknown))}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came after the first bundles are left out where they say nothing, so that digests stay."""
        values: dict[str, Any] = handler(self)
        for name in _LATER & set(values):
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values

    def preprocessing(self) -> Preprocess:
        """The preprocessing the model was trained with. Raises ManifestInvalid."""
        try:
            return Preprocess(**self.preprocess)
        except (TypeError, ValueError) as error:
            raise ManifestInvalid(f"preprocess: {error}") from None

    def decision(self) -> Thresholds:
        """The thresholds chosen on validation data. Raises ManifestInvalid."""
        try:
            decision = Thresholds(**self.thresholds)
            decision.scores(self.labels)
            return decision
        except (TypeError, ValueError) as error:
            raise ManifestInvalid(f"thresholds: {error}") from None


class Champion(_Frozen):
    """Which version of a model is to be served, or is on trial. digest: SHA-256 of its manifest.json."""

    name: str = Field(pattern=_NAME)
    version: str = Field(pattern=_NAME)
    digest: str = Field(pattern=_SHA256)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, wholly in memory. digest: SHA-256 of manifest.json, which pins every other file. graphs: those of
    the manifest's variants, by file name."""

    manifest: Manifest
    digest: str
    model: bytes
    graphs: Mapping[str, bytes] = field(default_factory=dict)


def write_bundle(
    folder: Path,
    manifest: Manifest,
    model: bytes,
    card: str,
    private_key: Path,
    graphs: Mapping[str, bytes] | None = None,
) -> str:
    """Write and sign a bundle at `folder` in one step: it appears whole or not at all. Returns its digest.

    graphs: those of the manifest's variants, by file name. `manifest.files` is filled in here. A folder already there is
    replaced. Raises ManifestInvalid when a variant's graph is not given, or one of no variant is.
    """
    contents = {MODEL: model, CARD: card.encode(), **(graphs or {})}
    if set(graphs or {}) != _graphs_of(manifest):
        raise ManifestInvalid(f"Expected the graphs {sorted(_graphs_of(manifest))}, got {sorted(graphs or {})}.")
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    text = manifest.model_copy(update={"files": digests}).model_dump_json(indent=2).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".writing-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir(mode=0o755)
        for name, data in {**contents, MANIFEST: text}.items():
            (fresh / name).write_bytes(data)
        sign(fresh, private_key)
        if folder.exists():
            folder.rename(Path(scratch) / "replaced")
        fresh.rename(folder)
    return hashlib.sha256(text).hexdigest()


def read_bundle(folder: Path, public_keys: Sequence[Path]) -> Bundle:
    """Read a bundle and refuse whatever is not provably right. Raises SignatureInvalid or ManifestInvalid.

    1. The signature over the folder is by one of `public_keys`.
    2. The manifest is well-formed and belongs to this folder (version is the folder's name).
    3. The folder holds the files that the manifest lists, the manifest, the signature and nothing else.
    4. The bytes that are returned, not those on disk, have the digests that the manifest gives.

    What the caller still owes: to check that this version is the one it asked for (`Champion.digest`).
    """
    verify(folder, public_keys)
    text = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else b""
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in e["loc"]) or "the document" for e in error.errors()})
        raise ManifestInvalid(f"manifest.json does not follow its schema at: {', '.join(places)}.") from None
    if manifest.version != folder.name:
        raise ManifestInvalid(f"Expected version {folder.name}, the manifest says {manifest.version}.")
    present = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    expected = {*manifest.files, MANIFEST, SIGNATURE}
    if present != expected:
        raise ManifestInvalid(f"Expected the files {sorted(expected)}, found {sorted(present)}.")
    contents = {name: (folder / name).read_bytes() for name in manifest.files}
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != manifest.files[name]:
            raise ManifestInvalid(f"{name} does not have the digest that the manifest gives.")
    graphs = _graphs_of(manifest)
    if not {MODEL, *graphs} <= set(contents):
        raise ManifestInvalid(f"Expected {sorted({MODEL, *graphs})} among the files.")
    manifest.preprocessing()
    manifest.decision()
    return Bundle(
        manifest, hashlib.sha256(text).hexdigest(), contents[MODEL], {name: contents[name] for name in graphs}
    )


def _graphs_of(manifest: Manifest) -> set[str]:
    return {variant.file for variant in manifest.variants.values() if variant.file is not None}


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


def read_served(model_folder: Path, public_keys: Sequence[Path], which: Role = "champion") -> Bundle:
    """The champion's (or the challenger's) bundle, verified, the very one that was named. Raises SignatureInvalid, or
    ManifestInvalid, also when there is none."""
    named = _read_pointer(model_folder, which)
    bundle = read_bundle(model_folder / named.version, public_keys)
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
