"""Workers killed under load: others go on, new ones take their place, and all that was answered is in the audit log."""

from __future__ import annotations

import json
from pathlib import Path

from safelight.audit import read_public_key, verify
from tests.faults.load import UNLIMITED, Load, kill, until, workers
from tests.serving.real import running


def recorded(folder: Path) -> set[str]:
    """The request ids in an audit log."""
    lines = (line for file in folder.glob("2*.jsonl") for line in file.read_text().splitlines())
    return {record["id"] for line in lines if line.endswith("}") and (record := json.loads(line)).get("id")}


def test_every_request_is_answered_rightly_or_not_at_all(project, tmp_path):
    with running(project, tmp_path / "home", SAFELIGHT_WORKERS="2", **UNLIMITED) as service:
        until(lambda: len(workers(service)) == 2)
        with Load(service) as load:
            load.more(30)
            dead = []
            for _ in range(2):
                dead.append(workers(service)[0])
                kill(dead[-1])
                until(lambda: len(workers(service)) == 2 and not set(dead) & set(workers(service)))
                load.more(30)
        assert load.wrong == [] and load.refused.keys() <= {(503, "model-unavailable")}, load.refused
        assert 0 < load.lost < 40, "requests that the killed workers had, and connections that waited for them"
    audit = project / ".safelight" / "audit"
    assert set(load.answered) <= recorded(audit)
    report = verify(audit, read_public_key(project / ".safelight" / "audit.pub"))
    cut_off = [file for file in audit.glob("2*.jsonl") if int(file.name.split("-")[1]) in dead]
    assert report.faults == [] and len(report.notes) == len(cut_off) > 0, (
        report
    )  # the killed workers' files have no end
