"""The benchmark of sealed requests in its small variant, and the figures that are in the repository.

What is checked is that figures are what they say they are. None is ever compared with a time.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "bench/results.json"
WAYS = {"plain", "ohttp", "ohttp-chunked", "aws-encryption-sdk"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    if sys.platform != "linux":
        pytest.skip("the benchmark needs Linux")
    out = tmp_path_factory.mktemp("bench") / "results.json"
    out.write_text('{"another": 1}')
    command = [sys.executable, str(ROOT / "bench/sealed.py"), "--small", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "to plain" in ran.stdout
    return json.loads(out.read_text())


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def assert_sound(measured, harness) -> None:
    """Every figure follows from the runs beside it, every way was asked equally often, and nothing says whose machine."""
    for by_picture in measured["networks"].values():
        for by_way in by_picture.values():
            assert set(by_way) >= WAYS
            runs = {way: [one[1] for run in f["runs"]["latencies"] for one in run] for way, f in by_way.items()}
            for way, figures in by_way.items():
                assert len(runs[way]) == figures["requests"] == len(runs["plain"]) > 0
                assert 0 < figures["p50_ms"] <= figures["p95_ms"]
                assert figures["p50_ms"] <= figures["with_client_p50_ms"]
                assert figures["requests_per_s"] > 0 and figures["service_cpu_ms"] >= 0
                found = harness("harness.statistics").ratio(runs[way], runs["plain"], 0.5)
                said = figures["to_plain"]["p50"]
                assert (said["value"], said["low"], said["high"]) == (found.value, found.low, found.high)
                assert said["low"] <= said["value"] <= said["high"]
            plain = by_way["plain"]["to_plain"]
            assert plain["p50"]["value"] == plain["p95"]["value"] == 1 and plain["added_ms"] == 0
    for picture, wanted in zip(measured["pictures"].values(), (20_000, 200_000, 2_000_000, 10_000_000), strict=False):
        assert abs(picture["bytes"] / wanted - 1) < 0.1
        assert picture["pixels"][0] * picture["pixels"][1] < 40_000_000
    for by_picture in measured["parts"]["processor_ms"].values():
        assert all(value > 0 for costs in by_picture.values() for value in costs.values())
    assert measured["parts"]["replay_store_ms"]["sqlite"]["p50_ms"] > 0
    text = json.dumps(measured)
    assert str(ROOT) not in text and socket.gethostname() not in text and "/tmp" not in text


def test_the_small_variant(small, harness):
    assert set(small) == {"another", "sealed"}  # results of other benchmarks stay
    measured = small["sealed"]
    assert set(measured["networks"]) == {"tiny"}
    assert set(measured["networks"]["tiny"]) == set(measured["pictures"]) == {"20 kB", "200 kB"}
    assert_sound(measured, harness)
    if len(os.sched_getaffinity(0)) > 1:
        assert not measured["machine"]["shared"]


def test_the_figures_that_are_quoted(harness):
    """bench/results.json is sound, and docs/performance.md says what it says."""
    measured = json.loads(RESULTS.read_text())["sealed"]
    assert_sound(measured, harness)
    assert set(measured["pictures"]) == {"20 kB", "200 kB", "2 MB", "10 MB"}
    document = (ROOT / "docs/performance.md").read_text()
    assert all(table in document for table in harness("sealed").tables(measured).values())


def test_tables_take_the_place_of_older_ones(small, harness, tmp_path):
    sealed, document = harness("sealed"), tmp_path / "performance.md"
    marks = [f"<!-- sealed, {name}: written by make bench -->" for name in ("latency", "parts")]
    document.write_text(
        "\n".join(["before", marks[0], "old", "<!-- end -->", "between", marks[1], "<!-- end -->", "after\n"])
    )
    for _ in range(2):
        sealed.write_tables(small["sealed"], document)
        latency, parts = sealed.tables(small["sealed"]).values()
        expected = ["before", marks[0], latency, "<!-- end -->", "between", marks[1], parts, "<!-- end -->", "after\n"]
        assert document.read_text() == "\n".join(expected)


def test_pictures_come_from_their_seed(harness):
    picture = harness("harness.pictures").picture
    assert picture(20_000, 1) == picture(20_000, 1) != picture(20_000, 2)


def test_a_ratio_is_that_of_the_quantiles_and_its_interval_holds_it(harness):
    ratio = harness("harness.statistics").ratio
    plain = [float(n) for n in range(50, 150)]
    double = ratio([2 * n for n in plain], plain, 0.5)
    assert (double.value, double.low, double.high) == (2, 2, 2)  # what both have in common cancels out
    noisy = ratio([2 * n for n in reversed(plain)], plain, 0.5)
    assert noisy.low < noisy.value == 2 < noisy.high
