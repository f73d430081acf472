"""A disk that is full: nothing is answered that cannot be recorded, and all is well again once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from safelight.audit import read_public_key, verify
from tests.faults.load import PICTURES, UNLIMITED, Load, assert_problem, until, workers
from tests.faults.test_killed_workers import recorded
from tests.serving.real import running

BYTES = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={BYTES},mode=700", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Write until there is no room for another byte. Returns the file."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


def test_a_full_disk_refuses_and_an_emptied_one_answers(project, small_disk, tmp_path):
    where = {
        "SAFELIGHT_AUDIT__FOLDER": str(small_disk / "audit"),
        "SAFELIGHT_SEALING__REPLAY": str(small_disk / "replay.db"),
    }
    with running(project, tmp_path / "home", SAFELIGHT_ALLOW_PLAINTEXT="1", **where, **UNLIMITED) as service:
        before = workers(service)
        with Load(service) as load:
            load.more(30)
            filler = fill(small_disk)
            until(lambda: httpx.get(f"{service.url}/v1/models").status_code == 503)
            for _ in range(5):
                answer = httpx.post(f"{service.url}/v1/detect", content=PICTURES["cat", (0, 0)])
                assert_problem(answer, 503, "audit-unavailable")
            ready = httpx.get(f"{service.url}/readyz")
            assert_problem(ready, 503, ready.json()["type"].rpartition("#")[2])
            filler.unlink()
            load.more(30)
            until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
        assert load.wrong == [] and workers(service) == before
        assert load.refused.keys() <= {(503, "audit-unavailable"), (503, "replay-store-down")} and load.refused
        assert load.lost <= 8, "answers that had begun when their record could not be kept"
    assert set(load.answered) <= recorded(small_disk / "audit")
    report = verify(small_disk / "audit", read_public_key(project / ".safelight" / "audit.pub"))
    assert report.faults == [], report
