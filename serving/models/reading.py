"""Which bundle a model of a route is to be served from, verified. Knows nothing of how it is made to answer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from safelight.bundle import CHALLENGER, CHAMPION, Bundle, M, Manifest, Role, read_bundle, read_served
from safelight.errors import ConfigError, ManifestInvalid
from safelight.manifest import Pinned
from serving.model_settings import Member, Pool
from serving.settings import Settings

_POINTERS: dict[str, tuple[Role, str]] = {"champion": ("champion", CHAMPION), "challenger": ("challenger", CHALLENGER)}
"""Versions that a file names, which may change."""
Wanted = Callable[[M], Collection[str]]
"""The files of a bundle that are wanted in memory, by its manifest."""


def pool_of(route: str, settings: Settings) -> Pool:
    """The models behind a route: those that the settings name, or the champion of that name alone."""
    return settings.pools.get(route) or settings.readers.pools.get(route) or Pool(members={route: Member(bundle=route)})


def pointer_of(member: Member, settings: Settings) -> Path | None:
    """The file that names the version; None where the settings do."""
    pointer = _POINTERS.get(member.version)
    return None if pointer is None else settings.bundles / member.bundle / pointer[1]


def mark(member: Member, settings: Settings) -> object:
    """What changes when the file that names the version is replaced; a version that the settings name stays."""
    pointer = pointer_of(member, settings)
    try:
        found = None if pointer is None else pointer.stat()
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_ino, found.st_size)


def read(
    member: Member,
    settings: Settings,
    kind: type[M] = Manifest,  # type: ignore[assignment]  # the default of M
    files: Wanted[M] | None = None,
) -> Bundle[M]:
    """The verified bundle; kind and files as `read_bundle` takes them. Raises BundleError, ConfigError when a key is
    missing."""
    folder, pointer = settings.bundles / member.bundle, _POINTERS.get(member.version)
    if pointer is None:
        bundle = _whole(lambda: read_bundle(folder / member.version, settings.public_keys, kind, files), settings)
    else:
        bundle = _whole(lambda: read_served(folder, settings.public_keys, pointer[0], kind, files), settings)
    if member.licence is not None and bundle.manifest.licence != member.licence:
        raise ManifestInvalid(f"Expected the licence {member.licence}, the manifest says {bundle.manifest.licence}.")
    return bundle


def read_pinned(pinned: Pinned, settings: Settings, kind: type[M], files: Wanted[M] | None = None) -> Bundle[M]:
    """The very bundle that another one names, verified. Raises BundleError, ConfigError when a key is missing."""
    folder = settings.bundles / pinned.name / pinned.version
    bundle = _whole(lambda: read_bundle(folder, settings.public_keys, kind, files), settings)
    if (bundle.manifest.name, bundle.digest) != (pinned.name, pinned.digest):
        raise ManifestInvalid(
            f"Expected the very bundle {pinned.name} {pinned.version} that is named, got another one."
        )
    return bundle


def _whole(reading: Callable[[], Bundle[M]], settings: Settings) -> Bundle[M]:
    missing = [key.name for key in settings.public_keys if not key.is_file()]
    if missing:
        raise ConfigError(
            f"Expected the public keys of trusted signers, {', '.join(missing)} is missing: see `make run`."
        )
    try:
        return reading()
    except OSError:  # it is being replaced, or the disk fails
        raise ManifestInvalid("The bundle's files cannot be read.") from None
