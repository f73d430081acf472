"""The benchmark of the gateway against its limit and its peers in its small variant, and the figures in the repository.

What is checked is that figures are what they say they are. None is ever compared with a time.
"""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "bench/results.json"
OWN = {"limit", "Safelight, sealed", "Safelight, plain"}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    if sys.platform != "linux":
        pytest.skip("the benchmark needs Linux")
    out = tmp_path_factory.mktemp("bench") / "results.json"
    out.write_text('{"another": 1}')
    command = [sys.executable, str(ROOT / "bench/speed.py"), "--small", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "to the limit" in ran.stdout
    return json.loads(out.read_text())


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def assert_sound(measured, harness) -> None:
    """Every figure follows from the runs beside it, every server was asked as often as the limit was run, each had the
    boxes of the limit, and nothing says whose machine."""
    verdict = harness("harness.verdict")
    for of_model in measured["models"].values():
        for part in of_model["pictures"].values():
            assert part["boxes"] >= 0 and part["bytes"] > 0
            assert len({len(runs) for runs in part["runs"].values()}) == 1
            for runs in part["runs"].values():
                assert all(run["requests_per_s"] > 0 and run["cpu_ms"] >= 0 and run["count"] > 0 for run in runs)
            assert part["figures"] == json.loads(json.dumps(verdict.figures(part)))
            assert part["figures"]["servers"]["limit"]["to_limit"]["value"] == 1
        for one in of_model["memory"].values():
            assert 0 < one["worker_loaded_bytes"] <= one["worker_peak_bytes"]
    assert measured["goals"] == json.loads(json.dumps(verdict.goals(measured)))
    start = measured["start"]
    assert start == verdict.start_figures(start["runs_s"], start["models"])
    for label, of_model in measured["models"].items():
        most = max(
            run["requests_per_s"] for p in of_model["pictures"].values() for runs in p["runs"].values() for run in runs
        )
        assert min(one["requests_per_s"] for one in measured["generator"].values()) > 2 * most, label
    text = json.dumps(measured)
    assert str(ROOT) not in text and socket.gethostname() not in text and "/tmp" not in text


def test_the_small_variant(small, harness):
    assert set(small) == {"another", "serving"}  # results of other benchmarks stay
    measured = small["serving"]
    assert_sound(measured, harness)
    (of_model,) = measured["models"].values()
    peers = harness("harness.peers").PEERS
    expected = {name for name, peer in peers.items() if peer.installed()}
    assert set(of_model["peers_missing"]) == set(peers) - expected
    (part,) = of_model["pictures"].values()
    assert set(part["runs"]) == OWN | expected
    assert part["boxes"] > 5


def test_the_figures_that_are_quoted(harness):
    """bench/results.json is sound, and docs/performance.md says what it says."""
    measured = json.loads(RESULTS.read_text())["serving"]
    assert_sound(measured, harness)
    assert "2 ms" in measured["models"]
    document = (ROOT / "docs/performance.md").read_text()
    assert all(table in document for table in harness("harness.tables").tables(measured).values())


def test_tables_take_the_place_of_older_ones(small, harness, tmp_path):
    tables, document = harness("harness.tables"), tmp_path / "performance.md"
    mark = "<!-- serving, goals: written by make bench -->"
    document.write_text("\n".join(["before", mark, "old", "<!-- end -->", "after\n"]))
    for _ in range(2):
        tables.write_tables(small["serving"], document)
        goals = tables.tables(small["serving"])["goals"]
        assert document.read_text() == "\n".join(["before", mark, goals, "<!-- end -->", "after\n"])


def test_the_picture_is_drawn(small, harness, tmp_path):
    harness("harness.serving_figure").draw(small["serving"], tmp_path / "serving.png")
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_a_goal_says_whether_it_holds(small, harness):
    verdict, measured = harness("harness.verdict"), json.loads(json.dumps(small["serving"]))
    sealed, limit = "Safelight, sealed", "limit"
    (part,) = next(iter(measured["models"].values()))["pictures"].values()
    for slow, holds in ((1.0, True), (2.0, False)):
        part["runs"][sealed] = [
            run | {"requests_per_s": 1.1 * run["requests_per_s"] / slow} for run in part["runs"][limit]
        ]
        part["runs"]["FastAPI"] = [dict(run) for run in part["runs"][limit]]
        for other in set(part["runs"]) - {sealed, "FastAPI", limit}:
            part["runs"][other] = [run | {"requests_per_s": 1.0} for run in part["runs"][limit]]
        part["figures"] = verdict.figures(part)
        (goal,) = [one for one in verdict.goals(measured) if one["what"] == "images per second, to FastAPI's"]
        assert goal["holds"] == holds
        assert goal["value"] == pytest.approx(1.1 / slow, abs=1e-3)


def test_the_generated_network_sees_about_a_dozen_boxes(harness):
    graphs, pictures = harness("harness.graphs"), harness("harness.pictures")
    graph = graphs.two_ms_graph()
    assert graph == graphs.two_ms_graph() != graphs.two_ms_graph(seed=1)
    session = ort.InferenceSession(graph)
    noise = np.random.default_rng(0).random((2, 3, graphs.SIDE, graphs.SIDE), np.float32)
    boxes, scores = session.run(["boxes", "scores"], {"images": noise})
    assert boxes.shape == (2, 400, 4) and scores.shape == (2, 400, 2)
    assert scores.min() >= 0 and scores.max() <= 1
    assert 2 < (scores[0] > 0.5).sum() < 60
    assert not np.allclose(scores[0], scores[1])  # they are those of the picture
    assert pictures.picture(20_000, 0).data


def test_a_quotient_of_samples_apart_holds_its_value(harness):
    quotient = harness("harness.statistics").quotient
    alone = [float(n) for n in range(50, 150)]
    found = quotient([3 * one for one in alone], 0.5, alone, 0.5)
    assert found.low < found.value == 3 < found.high
    assert quotient([5.0] * 9, 0.99, [2.0] * 4, 0.5) == harness("harness.statistics").Ratio(2.5, 2.5, 2.5)
