"""The benchmark of training in its small variant, and the figures that are in the repository. None is compared with a time."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

RESULTS = ROOT / "bench/results.json"
NETWORKS = {"yolov3_tiny", "d_fine"}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch):
    """A module of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def assert_sound(measured, harness) -> None:
    """Every figure follows from the runs beside it, every way did as many blocks, and nothing says whose machine it was."""
    ratio = harness("harness.statistics").ratio
    assert set(measured["networks"]) == NETWORKS
    for found in measured["networks"].values():
        pictures = found["batch"] * found["block_steps"]
        rates = {w: [pictures / s for run in of["runs"] for s, _ in run] for w, of in found["ways"].items()}
        spent = {w: [c / pictures for run in of["runs"] for _, c in run] for w, of in found["ways"].items()}
        assert len({len(values) for values in rates.values()}) == 1
        for way, of_way in found["ways"].items():
            assert of_way["pictures_per_s"] == pytest.approx(statistics.median(rates[way]), rel=2e-3)
            assert of_way["cpu_s_per_picture"] == pytest.approx(statistics.median(spent[way]), rel=0.02, abs=1e-4)
            again = ratio(rates[way], rates["trainer"], 0.5)
            for name in ("value", "low", "high"):
                assert of_way["to_trainer"][name] == pytest.approx(getattr(again, name), rel=5e-3)
        assert found["ways"]["trainer"]["to_trainer"]["value"] == 1
    text = json.dumps(measured)
    assert str(ROOT) not in text and socket.gethostname() not in text and "/tmp" not in text


def test_the_small_variant(harness, tmp_path):
    out = tmp_path / "results.json"
    out.write_text('{"another": 1}')
    command = [sys.executable, str(ROOT / "bench/trainers.py"), "--small", "--out", str(out)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    results = json.loads(out.read_text())
    assert set(results) == {"another", "training"}  # results of other benchmarks stay
    assert results["training"]["pictures"] == "drawn"
    assert_sound(results["training"], harness)
    for found in results["training"]["networks"].values():
        assert set(found["ways"]) == {"lightning", "trainer"}
    assert harness("trainers").table(results["training"]) in ran.stdout


def test_the_figures_that_are_quoted(harness):
    """bench/results.json is sound, and docs/performance.md says what it says."""
    measured = json.loads(RESULTS.read_text())["training"]
    assert_sound(measured, harness)
    assert measured["aim"] == 1.2 and all(len(found["ways"]) == 3 for found in measured["networks"].values())
    assert harness("trainers").table(measured) in (ROOT / "docs/performance.md").read_text()


def test_the_table_takes_the_place_of_an_older_one(harness, tmp_path):
    trainers, document = harness("trainers"), tmp_path / "performance.md"
    measured = json.loads(RESULTS.read_text())["training"]
    document.write_text(f"before\n{trainers.BEGIN}\nold\n{trainers.END}\nafter\n")
    for _ in range(2):
        trainers.write_table(measured, document)
        expected = f"before\n{trainers.BEGIN}\n{trainers.table(measured)}\n{trainers.END}\nafter\n"
        assert document.read_text() == expected


def test_both_ways_are_given_the_same(harness, tmp_path):
    """The same weights, pictures and boxes, to the bit: the loss of a batch differs by nothing but rounding."""
    tasks, fits, module = harness("harness.tasks"), harness("harness.fits"), harness("trainers")
    root = tasks.scenes(tmp_path, drawn=True)
    for task in module.SMALL.values():
        samples = [task.data(root).train_dataloader().dataset[index] for index in range(2)]
        detector, learner = task.detector(), fits._Learner(task.detector())
        prefix = "network." if learner.own else ""
        of_learner = learner.model.state_dict()
        assert all(of_learner[name.removeprefix(prefix)].equal(value) for name, value in detector.state_dict().items())
        given = fits.collate(learner, False)(samples)
        assert given["pixel_values"].shape == (2, 3, task.side, task.side)
        assert sum(len(one["boxes"]) for one in given["labels"]) == sum(len(boxes) for _, boxes, _ in samples)
        assert all(one.equal(sample[0]) for one, sample in zip(given["pixel_values"], samples, strict=True))


WORKER = """
import sys, time
sys.path.insert(0, {bench!r})
from harness.turns import Turns
turns = Turns(1, 2)
print("what a library prints")
for step in range({steps}):
    time.sleep(0.02)
    turns.step()
"""


def test_a_worker_stands_still_between_its_turns(harness, tmp_path):
    turns = harness("harness.turns")
    command = [sys.executable, "-c", WORKER.format(bench=str(ROOT / "bench"), steps=100)]
    worker = turns.Worker(command, tmp_path / "log")
    try:
        deadline = time.monotonic() + 10  # a signal arrives a moment after it is sent
        while (state := process_state(worker._process.pid)) != "T":
            assert time.monotonic() < deadline, state
        blocks = [worker.turn() for _ in range(3)]
        assert all(block.seconds >= 0.04 and block.cpu_seconds >= 0 for block in blocks)
    finally:
        worker.end()
    worker.end()
    assert worker._process.returncode == -signal.SIGKILL
    assert "what a library prints" in (tmp_path / "log").read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(worker._process.pid, 0)


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_worker_that_ends_early_is_an_error_with_its_words(harness, tmp_path):
    turns = harness("harness.turns")
    command = [sys.executable, "-c", "raise SystemExit('no such network')"]
    with pytest.raises(RuntimeError, match="no such network"):
        turns.Worker(command, tmp_path / "log")
