"""An entry in a model registry, whichever registry it is."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLE_VERSION = "bundle_version"
"""The tag that says which bundle an entry is."""


@dataclass(frozen=True)
class Registered:
    """name and version: the registry's own. run_id: of the run it came from. bundle_version: the bundle's."""

    name: str
    version: str
    run_id: str
    bundle_version: str
