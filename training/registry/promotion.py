"""Promotion: the served version and MLflow's `@champion` move together.

Knows nothing of why a version deserves it; gates come before the call.
"""

from __future__ import annotations

from pathlib import Path

from safelight.bundle import Champion, write_champion
from training.registry.tracking import Registered, set_champion


def promote(tracking_uri: str, registered: Registered, model_folder: Path, champion: Champion) -> None:
    """Make `champion` the version to serve, then move `@champion`.

    champion.json is what serving believes, so it is written first; a run cut off between the two is mended by the next.
    """
    write_champion(model_folder, champion)
    set_champion(tracking_uri, registered)
