"""The audit log against someone who may write in its folder: whatever was changed, cut or removed is named."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.audit import AuditKey, AuditLog, read_public_key, verify
from safelight.audit.__main__ import main
from safelight.audit.index import NAME, Index
from safelight.audit.lines import encode, read, signed_by
from safelight.audit.verify import latest
from safelight.errors import AuditUnavailable, ConfigError

FACTS = {"version": "0.1.0", "workers": 1}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> AuditKey:
    return AuditKey(tmp_path_factory.mktemp("key") / "audit.key")


@pytest.fixture
def begin(tmp_path: Path, key: AuditKey) -> Iterator[Callable[..., AuditLog]]:
    seconds = itertools.count(1_750_000_000)

    def begin(**changes: object) -> AuditLog:
        options = {"checkpoint_every": 3, "rotate_bytes": 1_000_000, "fsync": False, "now": lambda: next(seconds)}
        return AuditLog(tmp_path, key, FACTS, **{**options, **changes})  # type: ignore[arg-type]

    yield begin


def record(number: int) -> dict[str, object]:
    return {"id": f"{number:032x}", "route": "/v1/detect", "status": 200}


def filled(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.append(record(number))
        if log.due:
            log.checkpoint()


def worker_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.name != NAME)


def edit(path: Path, change: Callable[[list[bytes]], None]) -> None:
    lines = path.read_bytes().split(b"\n")
    change(lines)
    path.write_bytes(b"\n".join(lines))


def test_what_was_written_holds(begin, tmp_path, key):
    first, second = begin(), begin()
    filled(first, 7)
    filled(second, 2)
    report = verify(tmp_path, key.public)
    assert (report.files, report.records, report.unsealed, report.faults) == (2, 9, 3, [])
    assert len(report.notes) == 2 and all("not sealed yet" in note for note in report.notes)
    first.close()
    second.close()
    report = verify(tmp_path, key.public, stopped=True)
    assert (report.files, report.records, report.unsealed) == (2, 9, 0)
    assert report.faults == report.notes == []


def test_lines_say_what_they_are(begin, tmp_path, key):
    log = begin()
    filled(log, 4)
    log.close()
    lines = [json.loads(line) for line in worker_files(tmp_path)[0].read_bytes().splitlines()]
    assert [line["kind"] for line in lines] == ["opened", *["request"] * 3, "checkpoint", "request", "closed"]
    assert [line["seq"] for line in lines] == list(range(7))
    assert lines[0]["file"] == worker_files(tmp_path)[0].name and lines[0]["key"] == key.name
    assert lines[0]["version"] == "0.1.0" and lines[1]["time"].endswith("Z")
    assert lines[1] | record(0) == lines[1]
    assert stat.S_IMODE(worker_files(tmp_path)[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def two_closed_files(begin: Callable[..., AuditLog]) -> None:
    for _ in range(2):
        log = begin()
        filled(log, 7)
        log.close()


def swap(lines: list[bytes]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def change_status(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b"200", b"404")


def put_in(lines: list[bytes]) -> None:
    lines.insert(3, lines[2])


def break_json(lines: list[bytes]) -> None:
    lines[2] = b"[" * 100_000


def last_signature(lines: list[bytes]) -> None:
    lines[-2] = lines[-2][:-6] + (b"AAA" if lines[-2][-6:-3] != b"AAA" else b"BBB") + lines[-2][-3:]


def cut(count: int) -> Callable[[list[bytes]], None]:
    def change(lines: list[bytes]) -> None:
        del lines[-1 - count : -1]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (swap, ":3: expected number 2"),
        (change_status, ":4: the line before was changed"),
        (put_in, ":4: expected number 3"),
        (break_json, ":3: no line of an audit log"),
        (last_signature, ": no signature by this key"),
        (cut(1), ": lacks line 11"),
        (cut(3), ": lacks line 9"),
        (cut(9), ": lacks line 5"),
        (lambda lines: lines.clear(), ": is empty"),
        (lambda lines: lines.insert(-1, lines[1]), "expected number"),
    ],
)
def test_a_changed_file_is_named(begin, tmp_path, key, change, expected):
    two_closed_files(begin)
    victim = worker_files(tmp_path)[0]
    edit(victim, change)
    faults = verify(tmp_path, key.public).faults
    assert any(expected in fault and victim.name in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (swap, f"{NAME}:3: expected number 2"),
        (last_signature, f"{NAME}:8: no signature by this key"),
        (lambda lines: lines.pop(0), f"{NAME}:1: expected number 0"),
        (lambda lines: lines.append(b'{"half'), f"{NAME}:10: ends within a line"),
        (cut(2), f"{NAME}: lacks entry 6"),
        (cut(4), f"{NAME}: lacks entry 4"),
    ],
)
def test_a_changed_index_is_named(begin, tmp_path, key, change, expected):
    two_closed_files(begin)
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 8
    edit(tmp_path / NAME, change)
    faults = verify(tmp_path, key.public, stopped=True).faults
    assert any(expected in fault for fault in faults), faults


def test_a_missing_file_a_foreign_file_and_a_renamed_file_are_named(begin, tmp_path, key):
    two_closed_files(begin)
    one, two = worker_files(tmp_path)
    kept = one.read_bytes()
    one.unlink()
    assert any(f"{one.name}: is missing" in fault for fault in verify(tmp_path, key.public).faults)
    (tmp_path / "z.jsonl").write_bytes(kept)
    assert any("z.jsonl:1: was written as another file" in fault for fault in verify(tmp_path, key.public).faults)
    one.write_bytes(two.read_bytes())
    assert any(f"{one.name}:1: was written as another" in fault for fault in verify(tmp_path, key.public).faults)


def test_the_whole_folder_set_back_shows_against_an_entry_that_was_kept(begin, tmp_path, key, capsys):
    log = begin()
    filled(log, 3)
    earlier = tmp_path / "earlier"
    shutil.copytree(tmp_path, earlier)
    filled(log, 6)
    log.close()
    kept, _ = latest(tmp_path, key.public)
    assert verify(tmp_path, key.public, expect=kept).faults == []
    assert verify(earlier, key.public).faults == []  # nothing in the folder itself can tell
    assert "does not hold the expected entry" in verify(earlier, key.public, expect=kept).faults[0]


def test_another_key_signs_nothing_here(begin, tmp_path, key):
    two_closed_files(begin)
    stranger = AuditKey(tmp_path / "stranger.key")
    assert f"{NAME}:1: no signature by this key" in verify(tmp_path, stranger.public).faults
    # one who signs with his own key what he changed
    victim = worker_files(tmp_path)[0]
    first = read(victim.read_bytes().splitlines()[0])
    victim.write_bytes(stranger.sign(first.body) + b"\n")
    assert f"{victim.name}:1: no signature by this key" in verify(tmp_path, key.public).faults


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.none(), max_size=4), st.data())
def test_a_signature_covers_every_byte(key, fields, data):
    fields.pop("signature", None)
    line = key.sign(encode({"seq": 0, **fields}))
    assert signed_by(read(line), key.public) and read(line).fields == {"seq": 0, **fields}
    at = data.draw(st.integers(0, len(line) - 1))
    changed = bytearray(line)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        again = read(bytes(changed))
    except ValueError:
        return
    assert not signed_by(again, key.public)


@pytest.fixture(scope="module")
def closed_folder(tmp_path_factory: pytest.TempPathFactory, key: AuditKey) -> Path:
    """Two workers' files, closed."""
    folder = tmp_path_factory.mktemp("closed")
    for _ in range(2):
        log = AuditLog(folder, key, FACTS, checkpoint_every=2, rotate_bytes=1_000_000, fsync=False, now=lambda: 1.75e9)
        filled(log, 3)
        log.close()
    return folder


@given(st.data())
def test_no_byte_of_a_closed_log_can_change_unnoticed(closed_folder, key, data):
    path = data.draw(st.sampled_from(sorted(closed_folder.iterdir())))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(
        st.one_of(
            st.integers(1, 255).map(lambda by: whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1 :]),
            st.binary(min_size=1, max_size=3).map(lambda more: whole[:at] + more + whole[at:]),
            st.just(whole[:at]),
            st.just(whole[:at] + whole[at + 1 :]),
        )
    )
    if changed == whole:
        return
    path.write_bytes(changed)
    try:
        assert verify(closed_folder, key.public, stopped=True).faults
    finally:
        path.write_bytes(whole)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(ValueError):
        read(data)


def test_a_file_grows_into_the_next(begin, tmp_path, key):
    log = begin(rotate_bytes=1_000)
    filled(log, 20)
    log.close()
    assert len(worker_files(tmp_path)) > 2
    report = verify(tmp_path, key.public, stopped=True)
    assert report.records == 20 and report.faults == []


def test_threads_do_not_mix_lines(begin, tmp_path, key):
    log = begin(fsync=True, rotate_bytes=4_000)
    threads = [threading.Thread(target=filled, args=(log, 40)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    report = verify(tmp_path, key.public, stopped=True)
    assert report.records == 160 and report.faults == []


class FullDisk:
    """os.write as on a disk with no space left: writes half a line, or none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full, self._write = False, os.write
        monkeypatch.setattr("safelight.audit.log.os.write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.full:
            return self._write(descriptor, data)
        if len(data) % 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(descriptor, data[: len(data) // 2])


def test_a_full_disk_refuses_and_the_log_says_so_afterwards(begin, tmp_path, key, monkeypatch):
    log = begin()
    filled(log, 2)
    disk = FullDisk(monkeypatch)
    disk.full = True
    for number in range(3):
        with pytest.raises(AuditUnavailable):
            log.append({"id": "x" * number})
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            log.check()
    for unrecorded in (log.checkpoint, log.mend):
        with pytest.raises(AuditUnavailable):
            unrecorded()
    assert verify(tmp_path, key.public).faults == []
    disk.full = False
    log.check()
    log.append(record(9))
    log.close()
    report = verify(tmp_path, key.public, stopped=True)
    assert report.records == 3 and report.faults == []
    gaps = [json.loads(line) for line in worker_files(tmp_path)[0].read_bytes().splitlines() if b'"gap"' in line]
    assert [gap["refused"] for gap in gaps] == [5]


def test_a_file_that_cannot_be_begun_leaves_none_behind(begin, tmp_path, key, monkeypatch):
    disk = FullDisk(monkeypatch)
    disk.full = True
    with pytest.raises(AuditUnavailable):
        begin()
    assert worker_files(tmp_path) == []
    disk.full = False
    log = begin(rotate_bytes=10)
    filled(log, 2)
    disk.full = True
    with pytest.raises(AuditUnavailable):
        log.checkpoint()
    disk.full = False
    log.append(record(1))
    log.close()
    assert verify(tmp_path, key.public, stopped=True).faults == []


def remove(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def cut_all(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [remove, replace, cut_all])
def test_a_worker_notices_what_happens_to_its_file(begin, tmp_path, change):
    log = begin()
    log.append(record(0))
    change(worker_files(tmp_path)[0])
    for _ in range(2):
        with pytest.raises(AuditUnavailable, match="audit log") as caught:
            log.checkpoint()
        assert "removed or changed" in caught.value.reason
        with pytest.raises(AuditUnavailable):
            log.append(record(1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove, "was cut or changed"),
        (lambda path: edit(path, cut(1)), "was cut or changed"),
        (lambda path: edit(path, lambda lines: lines.append(b"x")), "does not end in a line of ours"),
        (lambda path: edit(path, last_signature), "does not end in a line of ours"),
    ],
)
def test_a_worker_notices_what_happens_to_the_index(begin, tmp_path, change, reason):
    log = begin()
    filled(log, 4)
    change(tmp_path / NAME)
    with pytest.raises(AuditUnavailable) as caught:
        log.checkpoint()
    assert reason in caught.value.reason
    with pytest.raises(AuditUnavailable):
        log.append(record(1))


def test_a_closed_log_takes_nothing(begin):
    log = begin()
    log.close()
    for call in (lambda: log.append(record(0)), log.check, log.checkpoint):
        with pytest.raises(AuditUnavailable):
            call()
    log.close()


def test_the_key_is_made_once_and_kept_to_oneself(tmp_path):
    path = tmp_path / "a" / "audit.key"
    made = AuditKey(path)
    assert AuditKey(path).name == made.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_public_key(path.with_suffix(".pub")) == made.public
    assert sorted(p.name for p in path.parent.iterdir()) == ["audit.key", "audit.pub"]
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="may be read by others"):
        AuditKey(path)
    path.chmod(0o600)
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError, match="damaged"):
        AuditKey(path)
    with pytest.raises(ConfigError, match="Ed25519 public key"):
        read_public_key(path)


def test_an_index_is_not_added_to_under_another_key(begin, tmp_path, key):
    two_closed_files(begin)
    other = Index(tmp_path, AuditKey(tmp_path / "other.key"), now=lambda: 0.0, fsync=False)
    with pytest.raises(AuditUnavailable):
        other.add("opened", {})


def test_the_command_line(begin, tmp_path, key, capsys):
    two_closed_files(begin)
    public = ["--public-key", str(tmp_path / "key.pub")]
    (tmp_path / "key.pub").write_bytes(_pem(key))
    assert main(["verify", str(tmp_path), "--stopped", *public]) == 0
    assert "whole: 2 files, 14 records" in capsys.readouterr().out
    assert main(["summary", str(tmp_path)]) == 0
    assert "14  /v1/detect" in capsys.readouterr().out
    assert main(["head", str(tmp_path), *public]) == 0
    kept = capsys.readouterr().out.split()[0]
    assert main(["verify", str(tmp_path), "--expect", kept, *public]) == 0
    edit(worker_files(tmp_path)[1], cut(1))
    assert main(["verify", str(tmp_path), *public]) == 1
    out = capsys.readouterr().out
    assert "FAULT" in out and worker_files(tmp_path)[1].name in out
    assert main(["verify", str(tmp_path / "absent"), *public]) == 2
    assert main(["verify", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


def _pem(key: AuditKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
