import json

import pytest
import torch

from safelight.errors import ConfigError
from training.detector.code import CODE
from training.fitting.keeping import RESUME
from training.fitting.resuming import NOTE, Start, Unfinished, fingerprint

SETTINGS = {"module": {"learning_rate": 0.1, "steps": 4}, "datamodule": {"workers": 2}}
DATA = {"train": "aa", "val": "bb"}


def made(detector, settings=SETTINGS, data=DATA):
    return fingerprint(settings, detector, data, CODE, frozenset({"datamodule.workers"}))


def test_the_same_training_has_the_same_fingerprint(detector):
    other = {**SETTINGS, "datamodule": {"workers": 0}}
    assert made(detector()) == made(detector(), other)


def test_whatever_decides_the_numbers_is_in_it(detector):
    base = made(detector())
    changed = detector()
    with torch.no_grad():
        changed.network.fine_head.bias[0] += 1
    for name, other in {
        "module.learning_rate": made(detector(), {**SETTINGS, "module": {"learning_rate": 0.2, "steps": 4}}),
        "data val": made(detector(), data={"train": "aa", "val": "cc"}),
        "base weights": made(changed),
    }.items():
        assert {key for key in base if base[key] != other[key]} == {name}
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    other = made(detector())
    torch.set_num_threads(threads)
    assert {key for key in base if base[key] != other[key]} == {"threads"}
    assert {"code", "libraries", "processor"} <= set(base)


def interrupted(folder, run_id="run-1", checkpoint=True, **fingerprint):
    unfinished = Unfinished(folder, {"seed": "0", **fingerprint})
    unfinished.begin(Start(), run_id)
    if checkpoint:
        (folder / RESUME).write_bytes(b"state")
        (folder / "best-4.safetensors").write_bytes(b"weights")
    return unfinished


def test_nothing_interrupted_begins(tmp_path):
    for mode in ("auto", "never"):
        assert Unfinished(tmp_path / "none", {}).start(mode) == Start()


def test_the_same_goes_on(tmp_path):
    unfinished = interrupted(tmp_path)
    start = unfinished.start("auto")
    assert (start.checkpoint, start.run_id, start.abandoned) == (tmp_path / RESUME, "run-1", None)
    assert "goes on" in start.said
    unfinished.begin(start, "run-1")
    assert (tmp_path / RESUME).exists() and (tmp_path / "best-4.safetensors").exists()


def test_another_begins_anew_and_says_why(tmp_path):
    interrupted(tmp_path)
    other = Unfinished(tmp_path, {"seed": "1", "model.x": "2"})
    start = other.start("auto")
    assert (start.checkpoint, start.run_id, start.abandoned) == (None, None, "run-1")
    assert "begins anew" in start.said and "seed" in start.said and "model.x" in start.said
    other.begin(start, "run-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [NOTE]
    assert json.loads((tmp_path / NOTE).read_text())["run_id"] == "run-2"


def test_never_begins_anew(tmp_path):
    start = interrupted(tmp_path).start("never")
    assert (start.checkpoint, start.abandoned) == (None, "run-1")


def test_killed_before_the_first_checkpoint_the_run_goes_on_from_its_beginning(tmp_path):
    start = interrupted(tmp_path, checkpoint=False).start("auto")
    assert (start.checkpoint, start.run_id) == (None, "run-1")


def test_a_checkpoint_by_name(tmp_path):
    unfinished = interrupted(tmp_path / "a")
    elsewhere = tmp_path / "kept.ckpt"
    elsewhere.write_bytes(b"state")
    assert unfinished.start(str(elsewhere)).checkpoint == elsewhere
    assert unfinished.start(str(elsewhere)).run_id is None
    assert unfinished.start(str(tmp_path / "a" / RESUME)).run_id == "run-1"
    with pytest.raises(ConfigError, match="expected auto, never or a checkpoint"):
        unfinished.start(str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize("note", ["", "{", "[1]", '"x"', "{}"])
def test_a_note_that_is_none_is_no_note(tmp_path, note):
    (tmp_path / NOTE).write_text(note)
    (tmp_path / RESUME).write_bytes(b"state")
    assert Unfinished(tmp_path, {}).start("auto").checkpoint is None


def test_when_all_is_safe_nothing_is_left(tmp_path):
    unfinished = interrupted(tmp_path)
    (tmp_path / f".{RESUME}").write_bytes(b"half")
    unfinished.finish()
    assert not list(tmp_path.iterdir())
