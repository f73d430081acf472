"""Killed by SIGKILL and taken up again, a reader's training ends with the same bytes as one that was left alone."""

import multiprocessing
import signal

import pytest
import torch

from tests.training.vlm import fit_tiny

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.training.vlm.fit_tiny"])


def run(folder, base, bars, kills=(), **options):
    """Train, be killed, go on, until it ends by itself. Returns what came of it."""
    folder.mkdir()
    ended = []
    for kill in (*kills, None):
        arguments = {"folder": str(folder), "base": str(base), "data": str(bars), "kill": kill, **options}
        process = FORK.Process(target=fit_tiny.run, args=(arguments,))
        process.start()
        process.join()
        ended.append(process.exitcode)
    assert ended == [-signal.SIGKILL] * len(kills) + [0]
    return torch.load(folder / "done.pt"), {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}


@pytest.mark.parametrize(
    "options",
    [{"checkpoint_every": 2}, {"cache_features": 10**6, "checkpoint_every": 1}, {"ema_decay": 0.9}],
    ids=["within a round", "with features that are kept", "with averages"],
)
def test_killed_and_resumed_is_uninterrupted_to_the_byte(tmp_path, base, bars, options):
    whole, adapter = run(tmp_path / "whole", base, bars, **options)
    assert [row["step"] for row in whole["history"] if "val_exact" in row] == [3, 6, 9]
    assert whole["history"][-1]["train_loss"] < whole["history"][0]["train_loss"]
    again, same = run(tmp_path / "killed", base, bars, [["step", 2], ["validation", 6], ["step", 8]], **options)
    assert again["history"] == whole["history"] and again["best"] == whole["best"]
    assert set(again["weights"]) == set(whole["weights"])
    assert all(torch.equal(value, whole["weights"][name]) for name, value in again["weights"].items())
    assert same == adapter and "adapter_model.safetensors" in adapter
