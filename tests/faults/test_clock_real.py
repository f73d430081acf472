"""A service whose clock is set hours ahead and back while it runs: clients correct themselves, and the log still holds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from safelight.audit import read_public_key, verify
from safelight.client import Client
from tests.faults.load import PICTURES, UNLIMITED, Load, workers
from tests.faults.test_killed_workers import recorded
from tests.serving.real import running

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


@pytest.mark.faketime
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_clock_set_ahead_and_back_makes_nothing_wrong(project, tmp_path):
    shift = tmp_path / "shift"
    set_clock(shift, "+0")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with running(project, tmp_path / "home", **faked, **UNLIMITED) as service:
        before = workers(service)
        with Client(service.url, attempts=1) as client, Load(service, threads=2) as load:
            load.more(10)
            for hours in ("+3h", "-5h", "+0"):
                set_clock(shift, hours)
                time.sleep(0.1)
                answer = client.detect(PICTURES["cat", (0, 0)])  # dated anew, once told what time it is
                assert answer.counts == {"cat": 1}
                load.more(20)
        assert load.wrong == [] and load.lost == 0 and not load.refused, (load.refused, load.wrong)
        assert workers(service) == before
    audit = project / ".safelight" / "audit"
    assert set(load.answered) <= recorded(audit)
    report = verify(audit, read_public_key(project / ".safelight" / "audit.pub"))
    assert report.faults == [], report


def set_clock(file: Path, shift: str) -> None:
    """All processes that look at the file see the new time at once."""
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{shift}\n")
    fresh.replace(file)
