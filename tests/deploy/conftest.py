"""What the tests of deploy/ share: the gateway of the tests of serving."""

from __future__ import annotations

from tests.serving.conftest import bundles, make_app, private_key, settings  # noqa: F401  # fixtures
