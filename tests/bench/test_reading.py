"""The benchmark of reading in its small variant, and the figures that are in the repository. None is compared with a time."""

from __future__ import annotations

import importlib
import json
import os
import socket
import statistics
import subprocess
import sys

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "bench/results.json"
EXACT = ("generate fp32", "engine fp32", "engine fp32, JSON")
WAYS = {*EXACT, "generate bf16", "engine int8, JSON"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def assert_sound(measured, bench) -> None:
    """Every figure follows from the runs beside it, the exact ways said the same, and nothing says whose machine it was."""
    ratio = bench("harness.statistics").ratio
    assert set(measured["batches"]) == {"1", "8"}
    for found in measured["batches"].values():
        assert set(found) == WAYS
        plain = found["generate fp32"]["all_seconds"]
        for way, one in found.items():
            assert len(one["all_seconds"]) == len(plain) > 1
            assert one["seconds"] == pytest.approx(statistics.median(one["all_seconds"]), abs=1e-4)
            again = ratio(plain, one["all_seconds"], 0.5)
            assert one["speedup"]["value"] == pytest.approx(again.value, rel=0.02)
            assert one["equal_answers"] == 1 or way not in EXACT
        assert found["engine fp32, JSON"]["runs"] < found["engine fp32"]["runs"] == found["engine fp32"]["tokens"]
    text = json.dumps(measured)
    assert str(ROOT) not in text and socket.gethostname() not in text and "/tmp" not in text


def test_the_small_variant(bench, tmp_path):
    out = tmp_path / "results.json"
    out.write_text('{"another": 1}')
    command = [sys.executable, str(ROOT / "bench/reading.py"), "--small", "--threads", "1", "--out", str(out)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    results = json.loads(out.read_text())
    assert set(results) == {"another", "reading"}  # results of other benchmarks stay
    assert_sound(results["reading"], bench)
    assert bench("reading").table(results["reading"]) in ran.stdout


def test_the_figures_that_are_quoted(bench):
    """bench/results.json is sound, and docs/performance.md says what it says."""
    measured = json.loads(RESULTS.read_text())["reading"]
    assert_sound(measured, bench)
    assert bench("reading").table(measured) in (ROOT / "docs/performance.md").read_text()


def test_ways_that_calculate_alike_must_say_the_same(bench):
    """An answer that differs in one token is no figure but an error."""
    reading, ways = bench("reading"), bench("harness.reading_ways")
    runs = {way: [(1.0, [(1, 2, 3)], [3])] * 2 for way in WAYS}
    assert reading.figures(runs)[ways.HELD]["equal_answers"] == 1
    runs[ways.HELD] = [(1.0, [(1, 2, 3)], [3]), (1.0, [(1, 2, 4)], [3])]
    with pytest.raises(RuntimeError, match="does not say what plain generation says: 1 of 2"):
        reading.figures(runs)


def test_the_table_takes_the_place_of_an_older_one(bench, tmp_path):
    reading, document = bench("reading"), tmp_path / "performance.md"
    runs = {way: [(1.0, [(1, 2, 3)], [3])] * 2 for way in WAYS}
    measured = {"aim": 2.0, "batches": {batch: reading.figures(runs) for batch in ("1", "8")}}
    document.write_text(f"before\n{reading.BEGIN}\nold\n{reading.END}\nafter\n")
    for _ in range(2):
        reading.write_table(measured, document)
        expected = f"before\n{reading.BEGIN}\n{reading.table(measured)}\n{reading.END}\nafter\n"
        assert document.read_text() == expected
    assert "**does not hold**" in reading.table(measured)
