"""`python -m safelight.sealing.keys`: what it does to the folder, and what it shows."""

from __future__ import annotations

import base64
import re
import time

import pytest
from cryptography.hazmat.primitives import serialization

from safelight.sealing.keys import gateway_keys, main
from safelight.sealing.keystore import KINDS, KeyStore


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sealing"


@pytest.fixture
def cli(folder, capsys):
    """Arguments → (exit status, what was printed, what was complained)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["--folder", str(folder), *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def keys(folder):
    return KeyStore(folder, time.time).in_use()


@pytest.mark.parametrize("kind", KINDS)
def test_rotate_makes_a_key_and_list_shows_it_without_its_secret(cli, folder, kind):
    status, out, err = cli("rotate", "--kind", kind)
    assert status == 0 and not err
    (key,) = keys(folder)
    line = out.removeprefix("made ")
    assert re.fullmatch(rf"{key.name}  {kind} +number 1 +made \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\dZ  in use\n", line)
    assert cli("list") == (0, line, "")
    for shown in (out, line):
        assert key.secret.hex() not in shown and base64.b64encode(key.secret).decode() not in shown


def test_rotation_with_an_overlap(cli, folder):
    cli("rotate")
    (old,) = keys(folder)
    assert cli("rotate", "--overlap-h", "2")[0] == 0
    new, before = keys(folder)
    assert before.name == old.name and 7190 < before.retires - time.time() <= 7200
    assert new.retires is None and new.number == old.number + 1
    first, second = cli("list")[1].splitlines()
    assert first.startswith(new.name) and first.endswith("in use")
    assert second.startswith(old.name) and "retires" in second
    assert cli("rotate", "--overlap-h", "0")[0] == 0
    assert len(keys(folder)) == 1


def test_retire_erases(cli, folder):
    cli("rotate")
    (key,) = keys(folder)
    status, out, _ = cli("retire", key.name)
    assert status == 0 and key.name in out
    assert key.name not in {one.name for one in keys(folder)} and len(keys(folder)) == 1
    assert key.name not in cli("list")[1]


@pytest.mark.parametrize("command", ["retire", "export"])
def test_an_unknown_name_is_told(cli, command):
    cli("rotate")
    status, out, err = cli(command, "0123456789abcdef")
    assert (status, out) == (1, "") and "list" in err


def test_export_gives_what_a_client_needs(cli, folder):
    for kind in KINDS:
        cli("rotate", "--kind", kind)
    for key in keys(folder):
        status, out, _ = cli("export", key.name)
        assert status == 0
        if key.kind == "aes-256":
            assert base64.b64decode(out) == key.secret
        elif key.kind == "rsa-3072":
            public = serialization.load_der_public_key(base64.b64decode(out))
            assert public.key_size == 3072
            assert key.secret not in base64.b64decode(out)
        else:
            assert out.strip() == gateway_keys((key,))[0].config.fingerprint and re.fullmatch(r"[0-9a-f]{64}\n", out)


def test_what_cannot_be_used_is_told_without_a_traceback(cli, folder):
    cli("rotate")
    (path,) = folder.glob("*.key.json")
    path.write_text("{}")
    status, out, err = cli("list")
    assert (status, out) == (1, "") and "damaged" in err and str(folder) not in err


@pytest.mark.parametrize(
    "arguments", [[], ["destroy"], ["rotate", "--kind", "rsa-1024"], ["rotate", "--overlap-h", "soon"]]
)
def test_wrong_arguments_are_told(cli, arguments):
    with pytest.raises(SystemExit) as caught:
        cli(*arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("hours", ["-1", "nan", "inf", "1e300"])
def test_an_overlap_is_some_hours(cli, folder, hours):
    cli("rotate")
    with pytest.raises(SystemExit) as caught:
        cli("rotate", f"--overlap-h={hours}")
    assert caught.value.code == 2 and len(keys(folder)) == 1
