"""What the tests of deploy/ share."""

from __future__ import annotations

from pathlib import Path

import pytest

from safelight.signing import signing_key


@pytest.fixture(scope="session")
def private_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signing key with its public key beside it."""
    path = tmp_path_factory.mktemp("signing") / "signing.key"
    signing_key(path)
    return path
