"""The key store: private to its owner, one key a kind however many start at once, rotation, and damage that shows."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from safelight.errors import ConfigError
from safelight.sealing.keystore import KINDS, KeyStore

QUICK = ("x25519", "mlkem768-x25519", "aes-256")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1e-3  # no two keys are made at the same instant
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path, clock) -> KeyStore:
    return KeyStore(tmp_path / "deep" / "sealing", clock)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(store: KeyStore) -> list[Path]:
    return sorted(store.folder.glob("*.key.json"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_made_on_first_use_for_its_owner_only(store, kind):
    previous = os.umask(0)
    try:
        store.ensure([kind])
    finally:
        os.umask(previous)
    (key,) = store.in_use()
    assert key.kind == kind and 1 <= key.number <= 255 and key.retires is None
    assert mode(store.folder) == 0o700
    assert {mode(path) for path in store.folder.iterdir()} == {0o600}
    store.ensure([kind])
    assert store.in_use() == (key,)
    assert KeyStore(store.folder, store._now).in_use() == (key,)


def test_a_key_shows_its_name_and_no_secret(store):
    store.ensure(QUICK)
    for key in store.in_use():
        assert key.secret.hex() not in repr(key) and repr(key.secret) not in repr(key)
        assert key.secret not in key.public and len(key.name) == 16
    assert len({key.name for key in store.in_use()}) == 3


def _start(folder: str, barrier) -> None:
    store = KeyStore(Path(folder), lambda: 1_800_000_000.0)
    barrier.wait()
    store.ensure(QUICK)
    assert len(store.in_use()) == 3


def test_eight_processes_that_start_at_once_make_one_key_of_each_kind(tmp_path):
    spawn = multiprocessing.get_context("forkserver")
    barrier = spawn.Barrier(8, timeout=60)
    processes = [spawn.Process(target=_start, args=(str(tmp_path / "keys"), barrier)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 8
    keys = KeyStore(tmp_path / "keys", lambda: 1_800_000_000.0).in_use()
    assert sorted(key.kind for key in keys) == sorted(QUICK) and len({key.number for key in keys}) == 3


def test_rotation_overlaps_and_erases(store, clock):
    store.ensure(["x25519", "aes-256"])
    (old,) = [key for key in store.in_use() if key.kind == "x25519"]
    new = store.rotate("x25519", 60)
    clock.now += 2
    assert [key.name for key in store.in_use() if key.kind == "x25519"] == [new.name, old.name]
    clock.now += 57
    assert len(store.in_use()) == 3
    clock.now += 2
    assert [key.name for key in store.in_use() if key.kind == "x25519"] == [new.name]
    assert len(files(store)) == 2 and not any(old.name in path.read_text() for path in files(store))
    assert any(key.kind == "aes-256" and key.retires is None for key in store.in_use())


def test_a_later_rotation_does_not_prolong_a_key(store, clock):
    store.ensure(["x25519"])
    (first,) = store.in_use()
    store.rotate("x25519", 10)
    store.rotate("x25519", 1000)
    clock.now += 12
    assert first.name not in {key.name for key in store.in_use()}
    assert len(store.in_use()) == 2


def test_a_sooner_rotation_shortens_an_overlap(store, clock):
    store.ensure(["x25519"])
    store.rotate("x25519", 1000)
    newest = store.rotate("x25519", 0)
    clock.now += 2
    assert [key.name for key in store.in_use()] == [newest.name]


def test_another_process_notices_within_a_second(store, clock):
    store.ensure(["x25519"])
    other = KeyStore(store.folder, clock)
    assert len(other.in_use()) == 1
    new = store.rotate("x25519", 60)
    clock.now += 1.1
    assert other.in_use()[0].name == new.name
    store.retire(new.name)
    clock.now += 1.1
    assert new.name not in {key.name for key in other.in_use()}


def test_keys_retire_on_time_between_two_looks(store, clock):
    store.ensure(["x25519"])
    store.rotate("x25519", 0.5)
    clock.now += 2
    store.ensure(["x25519"])
    soon = store.rotate("x25519", 0.3)
    assert len(store.in_use()) == 2
    clock.now += 0.5  # less than a look apart
    assert [key.name for key in store.in_use()] == [soon.name]


def test_retiring_the_last_key_makes_another(store, clock):
    store.ensure(["x25519"])
    (old,) = store.in_use()
    assert store.retire(old.name) == old
    clock.now += 2
    (new,) = store.in_use()
    assert new.name != old.name and new.kind == "x25519" and new.number != old.number
    with pytest.raises(ConfigError, match="name"):
        store.retire(old.name)


def test_retiring_the_newest_leaves_one_that_lasts(store, clock):
    """The others of its kind were to retire after an overlap: without a new one the service would end up with none."""
    store.ensure(["x25519"])
    newest = store.rotate("x25519", 60)
    store.retire(newest.name)
    clock.now += 3600
    (key,) = store.in_use()
    assert key.retires is None


def test_numbers_do_not_come_again_soon(store):
    """A retired key's number must not mean another key to a client that has not noticed yet; after 255 comes 1."""
    store.ensure(["x25519"])
    (store.folder / ".last-number").write_text("250")
    assert [store.rotate("x25519", 0).number for _ in range(8)] == [251, 252, 253, 254, 255, 1, 2, 3]
    assert len(files(store)) <= 2


def test_a_number_in_use_is_passed_over(store):
    store.ensure(["aes-256", "x25519"])
    (store.folder / ".last-number").write_text("254")
    assert [store.rotate("x25519", 0).number for _ in range(3)] == [255, 2, 3]


def test_more_keys_than_numbers_are_refused(store):
    store.ensure(["aes-256"])
    document = json.loads(files(store)[0].read_text())
    for number in range(2, 256):
        path = store.folder / f"{number:03d}-aes-256.key.json"
        path.write_text(json.dumps({**document, "number": number}))
        path.chmod(0o600)
    with pytest.raises(ConfigError, match="retire some"):
        store.rotate("x25519", 60)
    assert len(files(store)) == 255


@pytest.mark.parametrize("content", ["", "x", "-1", "256", "1e9", "\0"])
def test_a_damaged_counter_is_told(store, content):
    store.ensure(["x25519"])
    (store.folder / ".last-number").write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        store.rotate("x25519", 60)


def test_a_rotation_that_fails_leaves_a_key_that_lasts(store, clock):
    """No key is set to retire before its successor is there."""
    store.ensure(["x25519"])
    (store.folder / ".last-number").write_text("broken")
    with pytest.raises(ConfigError):
        store.rotate("x25519", 60)
    clock.now += 3600
    assert [key.retires for key in store.in_use()] == [None]


def break_document(document) -> dict[str, object]:
    return {
        "empty": "",
        "no JSON": "{",
        "no object": "[]",
        "null": "null",
        "no secret": {**document, "secret": None},
        "short secret": {**document, "secret": "AAAA"},
        "no base64": {**document, "secret": "*" * 44},
        "unknown kind": {**document, "kind": "rsa-512"},
        "number 0": {**document, "number": 0},
        "number 256": {**document, "number": 256},
        "no number": {**document, "number": "one"},
        "number without end": {**document, "number": float("inf")},
        "no time": {**document, "created": "today"},
        "no end": {**document, "retires": "never"},
        "end of no number": {**document, "retires": float("nan")},
        "time without end": {**document, "created": float("inf")},
        "missing key": {"kind": document["kind"]},
        "deep": "[" * 100_000,
        "other kind's secret": {**document, "kind": "rsa-3072"},
    }


@pytest.mark.parametrize("damage", break_document({"kind": ""}))
def test_a_damaged_key_is_told_and_not_shown(store, damage):
    store.ensure(["x25519"])
    (path,) = files(store)
    original = json.loads(path.read_text())
    content = break_document(original)[damage]
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match="damaged") as caught:
        KeyStore(store.folder, store._now).in_use()
    assert original["secret"] not in str(caught.value)
    with pytest.raises(ConfigError):
        store.ensure(["x25519"])


def test_a_key_that_is_no_text_is_told(store):
    store.ensure(["x25519"])
    files(store)[0].write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match="damaged"):
        KeyStore(store.folder, store._now).in_use()


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_key_that_others_may_read_is_refused(store, wrong):
    store.ensure(["x25519"])
    files(store)[0].chmod(wrong)
    with pytest.raises(ConfigError, match="mode 600"):
        KeyStore(store.folder, store._now).in_use()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_somebody_elses_key_is_refused(store):
    store.ensure(["x25519"])
    os.chown(files(store)[0], 12345, 12345)
    with pytest.raises(ConfigError, match="somebody else"):
        KeyStore(store.folder, store._now).in_use()


@pytest.mark.parametrize("wrong", [0o702, 0o707, 0o777])
def test_a_folder_that_everybody_may_write_to_is_refused(store, wrong):
    """They could take keys away, and put retired ones of ours back."""
    store.ensure(["x25519"])
    store.folder.chmod(wrong)
    with pytest.raises(ConfigError, match="folder"):
        KeyStore(store.folder, store._now).in_use()


def test_a_folder_that_cannot_be_is_told(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="folder"):
        KeyStore(tmp_path / "file" / "keys", clock).ensure(["x25519"])


def test_a_folder_that_vanishes_is_told(store, clock):
    store.ensure(["x25519"])
    store.in_use()
    for path in store.folder.iterdir():
        path.unlink()
    store.folder.rmdir()
    clock.now += 2
    with pytest.raises(ConfigError):
        store.in_use()


def test_an_unknown_kind_is_told(store):
    with pytest.raises(ConfigError, match="kind"):
        store.ensure(["rsa-1024"])


def test_what_a_killed_writer_left_behind_does_no_harm(store, clock):
    store.ensure(["x25519"])
    for path in files(store):
        path.with_suffix(".new").write_text("half a ke")
    other = KeyStore(store.folder, clock)
    assert len(other.in_use()) == 1
    other.rotate("x25519", 60)
    clock.now += 2
    assert len(other.in_use()) == 2
