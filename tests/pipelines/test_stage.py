import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from pipelines.package import pinned
from pipelines.stage import build, write_json
from safelight.errors import ConfigError
from safelight.preprocess import Preprocess


def test_only_targets_on_the_allowlist_are_built():
    node = OmegaConf.create({"_target_": "safelight.preprocess.Preprocess", "mode": "letterbox", "input_size": 64})
    assert build(node) == Preprocess("letterbox", 64)
    for target in ("os.system", "safelight.preprocess.tile_view", "builtins.eval"):
        with pytest.raises(ConfigError, match="not on the allowlist"):
            build(OmegaConf.create({"nested": [{"_target_": target}], "_target_": "safelight.preprocess.Preprocess"}))


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "a" / "b.json", {"b": 1, "a": [1, 2]})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"a": [1, 2], "b": 1}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]


def test_packages_are_pinned_by_the_lock(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "numpy==2.4.6 ; python_full_version < '3.12'\nnumpy==2.5.5 ; python_full_version >= '3.12'\nhttpx==0.28.1\n"
    )
    assert pinned(["httpx"], lock) == ["httpx==0.28.1"]
    assert len(pinned(["numpy"], lock)) == 2
    with pytest.raises(ConfigError, match=r"\['torch'\]"):
        pinned(["torch"], lock)


@pytest.mark.parametrize("override", ["trainer.max_stepps=3", "nonsense=1", "+experiment=coco", "model=none_such"])
def test_unknown_keys_fail(override):
    ran = subprocess.run(
        [sys.executable, "-m", "pipelines.prepare", override], capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert "prepare:" not in ran.stdout


def test_an_expected_error_is_one_sentence(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "pipelines.prepare", f"data.folder={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: The data cannot be used: Expected a picture YELL_528000.png")
    assert "Traceback" not in ran.stderr
