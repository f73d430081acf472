"""API keys are shown once, kept as hashes, and read strictly."""

from __future__ import annotations

import json
import re

import pytest

from safelight.credentials import SCOPES, KeyFile, digest_of, main
from safelight.errors import ConfigError

NOW = 1_800_000_000.0
ENTRY = {"id": "k1", "sha256": "0" * 64, "scopes": ["detect"], "expires": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "api-keys.jsonl"


def run(path, *arguments, now=NOW):
    return main([arguments[0], "--file", str(path), *arguments[1:]], now=lambda: now)


def written(path, *entries):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{entry if isinstance(entry, str) else json.dumps(entry)}\n" for entry in entries))
    path.chmod(0o600)
    return KeyFile(path)


def test_a_new_key_is_printed_once_and_kept_as_a_hash(path, capsys):
    assert run(path, "new", "--scopes", "detect, models", "--expires-days", "2") == 0
    out, told = capsys.readouterr()
    key = out.strip()
    assert re.fullmatch(r"sl_[0-9A-Za-z_-]{43}", key)
    assert key not in told and key not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    (entry,) = KeyFile(path).read()
    assert entry.digest == digest_of(key) and entry.scopes == {"detect", "models"}
    assert entry.expires == NOW + 2 * 86_400
    assert entry.valid_at(NOW) and not entry.valid_at(NOW + 2 * 86_400)
    assert key not in repr(entry) and entry.digest not in repr(entry)


def test_keys_are_listed_and_revoked(path, capsys):
    for scopes in ("detect", "models", "metrics"):
        assert run(path, "new", "--scopes", scopes, "--expires-days", "1") == 0
    keys = KeyFile(path).read()
    assert len({key.id for key in keys}) == 3
    capsys.readouterr()
    assert run(path, "revoke", keys[1].id) == 0
    assert [key.id for key in KeyFile(path).read()] == [keys[0].id, keys[2].id]
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(path, "revoke", keys[1].id) == 1
    capsys.readouterr()
    assert run(path, "list", now=NOW + 90_000) == 0
    listed = capsys.readouterr().out
    assert listed.count("EXPIRED") == 2 and keys[0].id in listed and keys[0].digest not in listed


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e9"])
def test_an_end_lies_ahead_and_within_a_century(path, days, capsys):
    assert run(path, "new", "--scopes", "detect", "--expires-days", days) == 1
    assert "days" in capsys.readouterr().err and not path.exists()


def test_a_key_without_an_end_does_not_expire(path):
    run(path, "new", "--scopes", "detect")
    assert KeyFile(path).read()[0].valid_at(4e9)


@pytest.mark.parametrize("scopes", ["", "everything", "detect,", "detect,admin"])
def test_scopes_are_known_ones(path, scopes, capsys):
    assert run(path, "new", "--scopes", scopes) == 1
    assert "Expected scopes" in capsys.readouterr().err and not path.exists()


@pytest.mark.parametrize(
    "entry",
    [
        "{",
        "[]",
        "1",
        '"id"',
        "[" * 100_000,
        {**ENTRY, "id": ""},
        {**ENTRY, "id": "a b"},
        {**ENTRY, "id": 1},
        {**ENTRY, "sha256": "0" * 63},
        {**ENTRY, "sha256": "A" * 64},
        {**ENTRY, "scopes": ["everything"]},
        {**ENTRY, "scopes": "detect"},
        {**ENTRY, "scopes": [["detect"]]},
        {**ENTRY, "expires": 12},
        {**ENTRY, "expires": "soon"},
        {**ENTRY, "expires": "2027-01-01T00:00:00"},
        {**ENTRY, "comment": ""},
        {key: value for key, value in ENTRY.items() if key != "expires"},
    ],
)
def test_what_is_no_entry_is_refused(path, entry):
    with pytest.raises(ConfigError, match="Line 2"):
        written(path, {**ENTRY, "id": "other", "sha256": "1" * 64}, entry).read()


def test_an_entry_is_there_once(path):
    assert len(written(path, ENTRY, "", {**ENTRY, "id": "k2", "sha256": "1" * 64}).read()) == 2
    for twice in ({**ENTRY, "id": "k2"}, {**ENTRY, "sha256": "1" * 64}):
        with pytest.raises(ConfigError, match="twice"):
            written(path, ENTRY, twice).read()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path, mode):
    file = written(path, ENTRY)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="written by others"):
        file.read()


def test_a_file_that_is_not_there_or_no_text_is_refused(path, capsys):
    with pytest.raises(ConfigError):
        KeyFile(path).read()
    assert run(path, "list") == 1
    assert str(path) not in capsys.readouterr().err
    written(path, ENTRY)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        KeyFile(path).read()


def test_nothing_else_is_left_behind(path):
    run(path, "new", "--scopes", ",".join(SCOPES))
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}
