"""Every YAML file under conf/ composes, and what it would build takes the arguments it gives. Nothing is built."""

import inspect
from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

from pipelines.stage import CONF, TARGETS

PRIMARY = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "common")
GROUPS = {
    folder.relative_to(CONF).as_posix(): sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted({path.parent for path in CONF.rglob("*.yaml")})
    if folder not in (CONF, CONF / "serving")
}
PRIMARY_OF = {"tune": "tune", "task": "reader", "model/vlm": "reader"}
PLACE_OF = {"model/vlm": "model/vlm@model"}  # where a group's choice stands in its primary, where that has another name


def composed(primary, *overrides):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose(config_name=primary, overrides=list(overrides))


def nodes(value):
    """Every mapping with a `_target_`, at any depth."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def test_every_file_is_known():
    files = [path for path in CONF.rglob("*.yaml") if path.parent.name != "serving"]
    assert len(files) == len(PRIMARY) + 1 + sum(len(choices) for choices in GROUPS.values())
    assert len(files) == 61
    assert all(isinstance(yaml.safe_load(path.read_text()) or {}, dict) for path in files)


@pytest.mark.parametrize(("primary", "debug"), list(product(PRIMARY, GROUPS["debug"])))
def test_every_stage_composes(primary, debug):
    cfg = composed(primary, f"debug={debug}")
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert cfg.paths.outputs == ("outputs" if debug == "none" else "outputs/fast")


@pytest.mark.parametrize(("group", "choice"), [(g, c) for g, cs in GROUPS.items() for c in cs])
def test_every_choice_composes_and_binds(group, choice):
    cfg = composed(PRIMARY_OF.get(group, "train"), f"{PLACE_OF.get(group, group)}={choice}")
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    found = list(nodes(values))
    assert found or group == "task"
    for node in found:
        assert node["_target_"] in TARGETS
        arguments = {key: value for key, value in node.items() if key != "_target_"}
        inspect.signature(get_object(node["_target_"])).bind_partial(**arguments)


@pytest.mark.parametrize("experiment", GROUPS["experiment"])
def test_debug_touches_nothing_real(experiment):
    real, fast = (composed("train", f"experiment={experiment}", f"debug={d}") for d in ("none", "fast"))
    for key in ("outputs", "bundles", "metrics", "processed"):
        assert real.paths[key] != fast.paths[key]
        assert Path(fast.paths[key]).is_relative_to("outputs/fast")
    assert real.tracking.uri != fast.tracking.uri


def test_serving_settings_build_nothing():
    for path in (CONF / "serving").rglob("*.yaml"):
        assert "_target_" not in path.read_text()


@pytest.mark.parametrize("group", ["augment", "experiment", "export", "model", "model/vlm", "trainer"])
def test_files_that_dvc_changes_stand_alone(group):
    """`dvc exp run -S FILE:KEY=VALUE` resolves whatever a file refers to, and knows that file only."""
    for path in (CONF / group).glob("*.yaml"):
        assert "${" not in path.read_text(), path
