"""Which bundle a model of a route is to be served from, verified. Knows nothing of how it is made to answer."""

from __future__ import annotations

from pathlib import Path

from safelight.bundle import CHALLENGER, CHAMPION, Bundle, Role, read_bundle, read_served
from safelight.errors import ConfigError, ManifestInvalid
from serving.model_settings import Member, Pool
from serving.settings import Settings

_POINTERS: dict[str, tuple[Role, str]] = {"champion": ("champion", CHAMPION), "challenger": ("challenger", CHALLENGER)}
"""Versions that a file names, which may change."""


def pool_of(route: str, settings: Settings) -> Pool:
    """The models behind a route: those that the settings name, or the champion of that name alone."""
    return settings.pools.get(route) or Pool(members={route: Member(bundle=route)})


def pointer_of(member: Member, settings: Settings) -> Path | None:
    """The file that names the version; None where the settings do."""
    pointer = _POINTERS.get(member.version)
    return None if pointer is None else settings.bundles / member.bundle / pointer[1]


def read(member: Member, settings: Settings) -> Bundle:
    """The verified bundle. Raises BundleError, ConfigError when a key is missing."""
    missing = [key.name for key in settings.public_keys if not key.is_file()]
    if missing:
        raise ConfigError(
            f"Expected the public keys of trusted signers, {', '.join(missing)} is missing: see `make run`."
        )
    folder, pointer = settings.bundles / member.bundle, _POINTERS.get(member.version)
    try:
        if pointer is None:
            bundle = read_bundle(folder / member.version, settings.public_keys)
        else:
            bundle = read_served(folder, settings.public_keys, pointer[0])
    except OSError:  # it is being replaced, or the disk fails
        raise ManifestInvalid("The bundle's files cannot be read.") from None
    if member.licence is not None and bundle.manifest.licence != member.licence:
        raise ManifestInvalid(f"Expected the licence {member.licence}, the manifest says {bundle.manifest.licence}.")
    return bundle
