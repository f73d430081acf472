"""Two processes (gloo) on the same global batch learn what one process learns."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.training.detector import fit_small

PROGRAM = [sys.executable, "-m", "tests.training.detector.fit_small"]
SAME = {
    "freeze_norm": True,
    "noise": 0.0,
}  # statistics of half a batch are others, and each process draws its own noise


@pytest.fixture(scope="module")
def both(tmp_path_factory, splits):
    """What came of one process, of the first of two, and of the second."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    one, two = ({"folder": str(folder), "splits": str(splits), **SAME} for folder in folders)
    fit_small.run(one)
    shared = json.dumps({**two, "devices": 2, "strategy": "ddp"})
    subprocess.run([*PROGRAM, shared], check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    ended = [
        torch.load(path) for folder in folders for path in sorted(folder.glob("done*.pt"), key=lambda p: len(p.name))
    ]
    assert len(ended) == 3
    return ended


def test_the_loss_curve_is_that_of_one_process(both):
    one, two, _ = both
    assert len(one["history"]) == fit_small.STEPS
    for row, other in zip(one["history"], two["history"], strict=True):
        assert set(row) == set(other)
        assert other == pytest.approx(row, rel=1e-5, abs=1e-6)


def test_the_weights_are_those_of_one_process(both):
    one, two, other = both
    assert two["best"][1] == one["best"][1]
    for name, value in one["weights"].items():
        assert torch.allclose(two["weights"][name], value, atol=1e-5), name
        assert torch.equal(two["weights"][name], other["weights"][name]), name


def test_and_they_have_moved_by_far_more_than_they_may_differ(both):
    torch.manual_seed(0)
    fresh = fit_small.Noisy(["square"], fit_small.ANCHORS, grid_scale=2.0, widths=fit_small.SMALL).state_dict()
    moved = [(both[0]["weights"][f"detector.{n}"] - v).abs().max() for n, v in fresh.items() if v.ndim > 1]
    assert min(moved) > 1e-3
