import pytest
from omegaconf import OmegaConf

from pipelines import train
from pipelines.training import looking_into, said
from safelight.errors import ConfigError
from tests.pipelines.test_configs import composed
from training.detector.module import MONITOR
from training.fitting.fitting import Fitted


def test_what_decides_and_what_does_not_is_named_as_in_the_configuration():
    cfg = composed("train")
    for name in (*train.DECIDING, *train.DECIDING_TOO):
        assert name in cfg
    for name in train.NOT_DECIDING:
        parent, _, leaf = name.rpartition(".")
        assert leaf in OmegaConf.select(cfg, parent), name


def test_resume_and_warm_start_exclude_each_other():
    with pytest.raises(ConfigError, match="exclude each other"):
        train.beginning(composed("train", "warm_start=outputs/train/a", "resume=some.ckpt"), None)


def test_an_import_has_nothing_to_warm():
    with pytest.raises(ConfigError, match="nothing is trained"):
        train.beginning(composed("train", "experiment=coco", "warm_start=outputs/train/a"), None)


def test_debugging_adds_its_callbacks():
    names = [type(callback).__name__ for callback in looking_into(composed("train", "debug=overfit").debugging)]
    assert names == ["LearnsByHeart"]
    assert not looking_into(composed("train").debugging)


def test_it_says_how_it_went():
    done = Fitted(score=0.5, best_step=50, steps=100, history=(), seconds=20.0, loader_wait=0.013)
    assert said(done, MONITOR) == "best val/map50 0.500 at step 50 of 100 (20 s, of which 1.3% waiting for the loader)"
