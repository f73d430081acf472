"""What the tests of faults share: a project to serve, and the keys that sign its bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.conftest import private_key  # noqa: F401  # a fixture
from tests.serving.real import lay_out
from tests.serving.redis_server import mortal_redis  # noqa: F401  # a fixture


@pytest.fixture
def project(tmp_path: Path, private_key: Path) -> Path:  # noqa: F811  # the fixture above
    """A project of the test's own."""
    return lay_out(tmp_path / "project", private_key)
