"""Which stages a changed value concerns, and that no stage can read more than it is listed for."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf.errors import ConfigAttributeError

from pipelines.slices import READS, part, watched
from pipelines.stage import CONF

ALL = set(READS)


def composed(*overrides, experiment="tree_crowns"):
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        return compose("train", [f"experiment={experiment}", *overrides])


CASES = {
    "seed=1": ALL - {"prepare"},
    "steps=350": {"train"},
    "module.learning_rate=0.1": {"train"},
    "model.learning_rate=0.1": {"train", "register"},
    "model.detector.max_ratio=4.0": {"train", "register"},
    "model.preprocess.overlap=64": {"train", "evaluate", "export", "register"},
    "model.thresholds.nms_iou=0.6": {"train", "evaluate", "export", "register"},
    "model.card.licence=MIT": {"register"},
    "datamodule.augment.scale=1.1": {"train"},
    "trainer.gradient_clip_val=5.0": {"train", "register"},
    "ema_decay=0.9": {"train"},
    "data.min_visible=0.6": {"prepare", "register"},
    "data.private=true": {"prepare", "evaluate", "register"},
    "data.card=another.md": {"prepare", "register", "promote"},
    "evaluation.match_iou=0.45": {"evaluate"},
    "bootstrap_samples=10": {"evaluate"},
    "export.int8.enabled=false": {"export"},
    "promotion.latency.picture_s=1.0": {"promote"},
    "about.summary=Other": {"register"},
    "tracking.experiment=other": set(),
    "tracking.uri=sqlite:///other.db": set(),
}


@pytest.mark.parametrize(("override", "stages"), CASES.items())
def test_a_value_concerns_the_stages_that_read_it_and_no_others(override, stages):
    before, after = composed(), composed(override)
    assert {name for name in READS if watched(before, name) != watched(after, name)} == stages


@pytest.mark.parametrize("name", sorted(READS))
def test_a_stage_cannot_read_what_it_is_not_listed_for(name):
    cfg = part(composed(), name)
    assert cfg.name == "tree-crowns" and cfg.tracking.uri
    with pytest.raises(ConfigAttributeError):
        cfg.no_such_key  # noqa: B018
    if name != "register":
        with pytest.raises(ConfigAttributeError):
            cfg.about  # noqa: B018


def test_a_stage_that_is_not_listed_reads_all():
    cfg = composed()
    assert part(cfg, "release") is cfg


@pytest.mark.parametrize("name", sorted(READS))
def test_every_listed_key_exists(name):
    known = composed()
    for key in READS[name]:
        node = known
        for step in key.split("."):
            assert step in node, key
            node = node[step]
