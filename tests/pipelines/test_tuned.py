import pytest
import yaml

from pipelines.tuned import Found, check_free, given, write_experiment
from safelight.errors import ConfigError

FOUND = Found("mine", 3, 8, "val/map50", 0.5, "0" * 40)


def test_groups_are_chosen_and_values_are_nested(tmp_path):
    path = tmp_path / "experiment" / "best.yaml"
    overrides = [
        "data=photos",
        "data.path='a, b'",
        "+x.y=[1,2]",
        "trainer=gpu",
        "paths.outputs=/somewhere",
        "tune.trials=3",
    ]
    write_experiment(path, "coco", overrides, {"model": "yolov3_tiny", "module.learning_rate": 1e-5}, FOUND)
    assert yaml.safe_load(path.read_text()) == {
        "defaults": ["coco", "_self_", {"override /data": "photos"}, {"override /model": "yolov3_tiny"}],
        "data": {"path": "a, b"},
        "x": {"y": [1, 2]},
        "module": {"learning_rate": 1e-5},
    }


def test_nobody_elses_file_is_overwritten(tmp_path):
    path = tmp_path / "best.yaml"
    write_experiment(path, "coco", [], {"seed": 1}, FOUND)
    write_experiment(path, "coco", [], {"seed": 2}, FOUND)  # its own
    assert "seed: 2" in path.read_text()
    with pytest.raises(ConfigError, match="not as study other wrote it"):
        check_free(path, "other")
    path.write_text(path.read_text() + "steps: 5\n")
    with pytest.raises(ConfigError, match="is there already"):
        write_experiment(path, "coco", [], {"seed": 3}, FOUND)
    assert "steps: 5" in path.read_text()
    path.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=r"tune\.save_as"):
        check_free(path, "mine")


def test_a_deletion_cannot_be_inherited():
    with pytest.raises(ConfigError, match=r"~module\.warmup_steps cannot be searched with"):
        given(["~module.warmup_steps"])
