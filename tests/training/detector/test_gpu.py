"""What a GPU must not change: bf16 training, pinned memory, and the same figures as the CPU to float tolerance."""

import functools

import pytest
import pytorch_lightning as pl
import torch

from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from training.detector.datamodule import SceneDataModule
from training.detector.module import DetectorModule
from training.detector.scenes import Augment
from training.fitting.fitting import fit

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def data(splits, **values):
    return SceneDataModule(str(splits), PREPROCESS, Augment(), **{"batch_size": 4, "steps": 6, "seed": 0, **values})


def test_losses_and_boxes_are_those_of_the_cpu(splits, detector):
    images, boxes, classes = next(iter(data(splits).train_dataloader()))
    on_cpu, on_gpu = detector(), detector().cuda()
    wanted = on_cpu.losses(images, boxes, classes)
    found = on_gpu.losses(images.cuda(), [b.cuda() for b in boxes], [c.cuda() for c in classes])
    for name, value in wanted.items():
        assert torch.allclose(found[name].cpu(), value, rtol=1e-3), name
    with torch.no_grad():
        pairs = zip(on_gpu.eval()(images.cuda()), on_cpu.eval()(images), strict=True)
    for got, want in pairs:
        assert torch.allclose(got.cpu(), want, rtol=1e-2, atol=1e-2)


def test_it_trains_in_bf16(tmp_path, splits, detector):
    learner = DetectorModule(detector(), PREPROCESS, Thresholds(0.3, 0.45, floor=0.01), 5e-3, 0.02, 2, 6)
    trainer = functools.partial(
        pl.Trainer,
        accelerator="gpu",
        devices=1,
        precision="bf16-mixed",
        max_steps=6,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    loaded = data(splits, val_every=3, pin_memory=True, workers=1)
    done = fit(learner, loaded, trainer, tmp_path, seed=0, ema_decay=0.9, log_every=1, progress=False)
    assert done.steps == 6
    assert all(torch.isfinite(torch.tensor(row["train_loss"])) for row in done.history)
