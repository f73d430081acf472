"""The soak in seconds, and that it can fail."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("uvloop")
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("soak")


def test_a_few_seconds(tmp_path):
    if sys.platform != "linux":
        pytest.skip("the soak needs Linux")
    out = tmp_path / "results.json"
    out.write_text('{"another": 1}')
    command = [sys.executable, str(ROOT / "bench/soak.py"), "--small", "--seconds", "6", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode in (0, 1), ran.stderr[-3000:]  # 1: so short, memory may not have settled
    results = json.loads(out.read_text())
    measured = results["soak"]
    assert results["another"] == 1 and ran.returncode == (0 if measured["holds"] else 1)
    assert measured["errors"] == 0 < measured["requests"]
    assert len(measured["memory"]) > 10
    assert measured["asked_per_s"] == pytest.approx(0.8 * measured["saturation_per_s"], rel=0.01)


def test_growth_is_from_the_second_minute_to_the_last(soak):
    samples = [{"s": s, "worker_bytes": 100 + s // 10} for s in range(5, 600, 5)]
    assert soak._growth(samples, 600)["memory_growth"] == pytest.approx(157 / 109 - 1, abs=0.02)
    samples = [{"s": s, "worker_bytes": 500 if s < 60 else 100} for s in range(5, 600, 5)]
    assert soak._growth(samples, 600)["memory_growth"] == 0


@pytest.mark.parametrize(("errors", "late", "holds"), [(0, 104, True), (1, 100, False), (0, 106, False)])
def test_it_holds_without_errors_and_with_settled_memory_only(soak, errors, late, holds):
    samples = [{"s": s, "worker_bytes": 100 if s < 300 else late} for s in range(5, 600, 5)]
    said = soak._said("2 ms", 600, 10.0, 8.0, samples, {"errors": errors})
    assert said["holds"] == holds
