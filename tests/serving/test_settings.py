"""Settings are complete and known, or refused without telling values."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml

from safelight.errors import ConfigError
from serving.settings import SETTINGS, load_settings
from tests.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / SETTINGS).parent.mkdir(parents=True)
    (tmp_path / SETTINGS).write_bytes((ROOT / SETTINGS).read_bytes())
    return tmp_path


def test_the_shipped_settings_hold():
    assert [path.name for path in (ROOT / "conf" / "serving").iterdir()] == ["gateway.yaml"]
    settings = load_settings(ROOT, {})
    assert settings.public_keys == (ROOT / ".safelight" / "signing.pub",)
    assert settings.bundles == ROOT / "bundles"
    assert settings.default_model in settings.models
    assert settings.allow_plaintext is False
    assert "_target_" not in (ROOT / SETTINGS).read_text()


def test_they_are_frozen():
    with pytest.raises(pydantic.ValidationError):
        load_settings(ROOT, {}).workers = 2


def test_the_environment_wins(project):
    environ = {
        "SAFELIGHT_ALLOW_PLAINTEXT": "1",
        "SAFELIGHT_MODELS": "coco, birds",
        "SAFELIGHT_LIMITS__MAX_BYTES": "4096",
        "SAFELIGHT_PUBLIC_KEYS": "/keys/a.pub,b.pub",
        "SAFELIGHT_BUNDLES": "/elsewhere",
        "PATH": "/bin",
    }
    settings = load_settings(project, environ)
    assert settings.allow_plaintext is True
    assert settings.models == ("coco", "birds")
    assert settings.limits.max_bytes == 4096
    assert settings.public_keys == (Path("/keys/a.pub"), project / "b.pub")
    assert settings.bundles == Path("/elsewhere")


@pytest.mark.parametrize(
    "environ",
    [
        {"SAFELIGHT_ALLOW_PLAINTXT": "1"},
        {"SAFELIGHT_LIMITS__MAX_BITES": "secret-value"},
        {"SAFELIGHT_LIMITS__MAX_BYTES": "secret-value"},
        {"SAFELIGHT_ALLOW_PLAINTEXT": "secret-value"},
        {"SAFELIGHT_WORKERS__X": "secret-value"},
        {"SAFELIGHT_LIMITS": "secret-value"},
        {"SAFELIGHT_MODELS": ""},
        {"SAFELIGHT_MODELS": "coco,coco"},
        {"SAFELIGHT_DEFAULT_MODEL": "secret-value"},
        {"SAFELIGHT_": "secret-value"},
        {"SAFELIGHT_READERS__ROUTES": "coco"},
        {"SAFELIGHT_READERS__ROUTES": "keys,keys"},
        {"SAFELIGHT_READERS__ROUTES": ""},
        {"SAFELIGHT_READERS__DEFAULT": "secret-value"},
        {"SAFELIGHT_READERS__ROWS": "0"},
        {"SAFELIGHT_READERS__CACHE__ENTRIES": "secret-value"},
        {
            "SAFELIGHT_READERS__POOLS__KEYS__ANSWER": "fused",
            "SAFELIGHT_READERS__POOLS__KEYS__MEMBERS__A__BUNDLE": "keys",
        },
    ],
)
def test_what_is_unknown_or_wrong_is_refused_without_its_value(project, environ):
    with pytest.raises(ConfigError) as caught:
        load_settings(project, environ)
    assert "secret-value" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [{"unknown": 1}, {"limits": {"max_bytes": 4096}}, {"allow_plaintext": True}, {"public_keys": []}, {"workers": 0}],
)
def test_a_file_that_does_not_hold_is_refused(project, change):
    document = yaml.safe_load((project / SETTINGS).read_text()) | change
    (project / SETTINGS).write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError):
        load_settings(project, {})


@pytest.mark.parametrize("text", ["", "- a", "a: [", "null"])
def test_a_file_that_is_no_mapping_is_refused(project, text):
    (project / SETTINGS).write_text(text)
    with pytest.raises(ConfigError):
        load_settings(project, {})


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        load_settings(tmp_path, {})
