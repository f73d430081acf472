"""Transformers in the training loop: averages, a backbone that rests, noise on denoising queries, and an interruption."""

import functools

import pytest
import pytorch_lightning as pl
import torch

from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.detector.datamodule import SceneDataModule
from training.detector.hf import Backbone, pretrained
from training.detector.module import DetectorModule
from training.detector.scenes import Augment
from training.fitting.fitting import fit
from training.fitting.keeping import RESUME

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)


class Interrupted(Exception):
    pass


class Interrupt(pl.Callback):
    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 3:
            raise Interrupted


@pytest.mark.parametrize(("family", "tuning"), [("rt_detr_v2", "full"), ("d_fine", "lora")])
def test_interrupted_and_resumed_is_uninterrupted_to_the_bit(tmp_path, splits, checkpoint, family, tuning):
    base = checkpoint(family)

    def run(folder, callbacks=(), resume=None):
        torch.manual_seed(0)
        rest = Backbone(0.1, frozen_steps=1 if tuning == "full" else "always")
        detector = pretrained(["square"], str(base), keep_heads=False, tuning=tuning, backbone=rest)
        data = SceneDataModule(str(splits), PREPROCESS, Augment(), batch_size=2, steps=4, seed=0, val_every=2)
        module = DetectorModule(detector, PREPROCESS, Thresholds(0.3, 0.9, floor=0.01), 1e-3, 1e-4, 1, 4)
        trainer = functools.partial(
            pl.Trainer, accelerator="cpu", max_steps=4, num_sanity_val_steps=0, enable_model_summary=False
        )
        options = {"seed": 0, "ema_decay": 0.5, "log_every": 1, "resumable": True, "progress": False}
        done = fit(module, data, trainer, folder, callbacks=callbacks, resume_from=resume, **options)
        return done.history, module.state_dict()

    whole, weights = run(tmp_path / "whole")
    assert len(whole) == 4 and "train_loss" in whole[0]
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", [Interrupt()])
    resumed, same = run(tmp_path / "cut", resume=tmp_path / "cut" / RESUME)
    assert resumed == whole
    for name, value in weights.items():
        assert torch.equal(value, same[name]), name
