"""Killed by SIGKILL at any moment and taken up again, a training ends with the same bits as one that was left alone."""

import multiprocessing
import signal

import pytest
import torch

from tests.training.detector import fit_small
from training.fitting.keeping import RESUME

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.training.detector.fit_small"])


def child(options):
    multiprocessing.set_start_method("fork", force=True)  # of loader processes
    fit_small.run(options)


def run(folder, splits, kills=(), **options):
    """Train, be killed, go on, until it ends by itself. Returns what came of it."""
    folder.mkdir()
    ended = []
    for kill in (*kills, None):
        arguments = {"folder": str(folder), "splits": str(splits), "kill": kill, "resume": True, **options}
        process = FORK.Process(target=child, args=(arguments,))
        process.start()
        process.join()
        ended.append(process.exitcode)
    assert all(code in (-signal.SIGKILL, -signal.SIGXFSZ) for code in ended[:-1]) and ended[-1] == 0, ended
    return torch.load(folder / "done.pt")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, splits):
    return run(tmp_path_factory.mktemp("whole") / "run", splits)


def same(one, other):
    assert one["history"] == other["history"]
    assert one["best"] == other["best"]
    assert set(one["weights"]) == set(other["weights"])
    for name, value in one["weights"].items():
        assert torch.equal(value, other["weights"][name]), name


def test_it_learns_and_says_so(whole):
    rows = whole["history"]
    assert [row["step"] for row in rows] == list(range(1, fit_small.STEPS + 1))
    assert [row["step"] for row in rows if "val_map50" in row] == [4, 8, 12]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


@pytest.mark.parametrize(
    ("kills", "options"),
    [
        ([["step", 2], ["step", 7], ["validation", 12]], {}),
        ([["validation", 8], ["rename", 1]], {}),
        ([["write", 2], ["step", 10]], {}),
        ([["step", 3], ["write", 2], ["rename", 3], ["step", 11]], {"checkpoint_every": 2}),
        ([["step", 7]], {"checkpoint_every": 3, "workers": 1}),
    ],
    ids=["steps", "validation and moving a checkpoint", "writing a checkpoint", "within rounds", "with a worker"],
)
def test_killed_and_resumed_is_uninterrupted_to_the_bit(tmp_path, splits, whole, kills, options):
    same(run(tmp_path / "run", splits, kills, **options), whole)


def test_with_accumulation_too(tmp_path, splits):
    options = {"accumulate": 2, "checkpoint_every": 1}
    left_alone = run(tmp_path / "whole", splits, **options)
    same(run(tmp_path / "run", splits, [["step", 6], ["step", 9]], **options), left_alone)


def test_a_checkpoint_half_written_is_not_in_its_place(tmp_path, splits):
    folder = tmp_path / "run"
    folder.mkdir()
    arguments = {"folder": str(folder), "splits": str(splits), "kill": ["write", 1], "resume": True}
    process = FORK.Process(target=child, args=(arguments,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGXFSZ
    assert not (folder / RESUME).exists()
    assert (folder / f".{RESUME}").stat().st_size <= 50_000
