"""A reader's training of some seconds, as a program of its own: it can be killed and resumed."""

import functools
import os
import signal
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch

from tests.training.vlm import toys
from tests.training.vlm.trainer import TRAINER
from training.fitting.fitting import fit
from training.fitting.keeping import RESUME
from training.vlm.datamodule import ReaderDataModule
from training.vlm.families import Adaptation, adapt, open_reader
from training.vlm.module import Rates, ReaderModule
from training.vlm.photometry import Photometry

STEPS = 9


class Kill(pl.Callback):
    """SIGKILL to itself before a step, or in a validation after it: ["step", n] or ["validation", n]."""

    def __init__(self, what, step):
        self._what, self._step = what, step

    def on_train_batch_start(self, trainer, *_):
        self._perhaps("step", trainer.global_step)

    def on_validation_batch_start(self, trainer, *_):
        self._perhaps("validation", trainer.global_step)

    def _perhaps(self, what, step):
        if (what, step) == (self._what, self._step):
            os.kill(os.getpid(), signal.SIGKILL)


def run(options):
    """Train as told, from the checkpoint where there is one, and leave done.pt and adapter/."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = Path(options["folder"])
    torch.manual_seed(0)
    reader = open_reader(options["base"], "smolvlm", image_side=32)
    features = options.get("cache_features", 0)
    connector = "frozen" if features else "full"
    adapt(reader, Adaptation(rank=4, alpha=8, dropout=0.1, connector=connector))
    data = ReaderDataModule(
        options["data"],
        toys.TASK,
        reader,
        batch_size=10,
        steps=STEPS,
        seed=0,
        augment=None if features else Photometry(),
        val_every=3,
        accumulate=2,
    )
    module = ReaderModule(reader, toys.TASK.prompt, Rates(3e-2, 1e-2, 0), 0.01, 3, STEPS, 30, features)
    steps = {"max_steps": STEPS, "accumulate_grad_batches": 2}
    trainer = functools.partial(pl.Trainer, **TRAINER, **steps, precision=options.get("precision", "bf16-mixed"))
    checkpoint = folder / RESUME
    done = fit(
        module,
        data,
        trainer,
        folder,
        seed=0,
        ema_decay=options.get("ema_decay"),
        log_every=1,
        resume_from=checkpoint if checkpoint.exists() else None,
        resumable=True,
        checkpoint_every=options.get("checkpoint_every"),
        callbacks=[Kill(*options["kill"])] if options.get("kill") else [],
        progress=False,
    )
    reader.save_adapter(folder / "adapter")
    found = {"weights": module.state_dict(), "history": list(done.history), "best": (done.score, done.best_step)}
    torch.save(found, folder / "done.pt")
