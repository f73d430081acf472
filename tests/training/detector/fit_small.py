"""A training of a second or two, as a program of its own: it can be killed, resumed, and shared by several processes.

python -m tests.training.detector.fit_small '{"folder": ..., "splits": ..., ...}'
"""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch

from safelight.postprocess import Thresholds
from safelight.preprocess import Preprocess
from tests.training.detector.conftest import ANCHORS, SMALL
from training.detector.datamodule import SceneDataModule
from training.detector.module import DetectorModule
from training.detector.scenes import Augment
from training.detector.yolov3_tiny import YoloV3TinyDetector
from training.fitting.fitting import fit
from training.fitting.keeping import RESUME

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)
STEPS = 12


class Noisy(YoloV3TinyDetector):
    """Draws at random while it learns, as dropout and denoising queries do."""

    noise = 0.05

    def losses(self, images, boxes, classes):
        return super().losses(images + self.noise * torch.rand_like(images), boxes, classes)


class Kill(pl.Callback):
    """SIGKILL to itself at a point of the training: ["step", n], ["validation", n], ["rename", n] (a checkpoint is written
    but not yet in its place) or ["write", n] (in the middle of writing it). The last two count checkpoints."""

    def __init__(self, what, number):
        self._what, self._number, self._seen = what, number, 0

    def on_train_batch_start(self, trainer, *_):
        if self._what == "step" and trainer.global_step == self._number:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_validation_batch_start(self, trainer, *_):
        if self._what == "validation" and trainer.global_step == self._number:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_fit_start(self, trainer, *_):
        if self._what == "rename":
            sys.addaudithook(self._audited)

    def on_save_checkpoint(self, *_):
        if self._what == "write":
            self._seen += 1
            if self._seen == self._number:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel kills whoever writes past the limit
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

    def _audited(self, event, arguments):
        if event == "os.rename" and str(arguments[0]).endswith(f".{RESUME}"):
            self._seen += 1
            if self._seen == self._number:
                os.kill(os.getpid(), signal.SIGKILL)


def run(options):
    """Train as told and write what came of it to done.pt."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = Path(options["folder"])
    torch.manual_seed(0)
    detector = Noisy(["square"], ANCHORS, grid_scale=2.0, widths=SMALL)
    detector.noise = options.get("noise", 0.05)
    shape = {"steps": STEPS, "val_every": options.get("val_every", 4), "accumulate": options.get("accumulate", 1)}
    data = SceneDataModule(
        options["splits"], PREPROCESS, Augment(), batch_size=4, seed=0, workers=options.get("workers", 0), **shape
    )
    module = DetectorModule(
        detector,
        PREPROCESS,
        Thresholds(0.3, 0.45, floor=0.01),
        learning_rate=5e-3,
        weight_decay=0.02,
        warmup_steps=4,
        steps=STEPS,
        freeze_norm=options.get("freeze_norm", False),
    )
    trainer = functools.partial(
        pl.Trainer,
        accelerator="cpu",
        devices=options.get("devices", 1),
        strategy=options.get("strategy", "auto"),
        max_steps=STEPS,
        accumulate_grad_batches=shape["accumulate"],
        use_distributed_sampler=False,
        gradient_clip_val=10.0,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    checkpoint = folder / RESUME
    done = fit(
        module,
        data,
        trainer,
        folder,
        seed=0,
        ema_decay=0.9,
        patience=options.get("patience"),
        log_every=1,
        resume_from=checkpoint if options.get("resume") and checkpoint.exists() else None,
        resumable=True,
        checkpoint_every=options.get("checkpoint_every"),
        callbacks=[Kill(*options["kill"])] if options.get("kill") else [],
        progress=False,
    )
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    found = {"weights": module.state_dict(), "history": list(done.history), "best": (done.score, done.best_step)}
    torch.save(found, folder / ("done.pt" if rank == 0 else f"done-{rank}.pt"))


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
