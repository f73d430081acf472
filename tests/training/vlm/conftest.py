"""A toy task, prepared, and a tiny SmolVLM that knows nothing."""

import functools

import pytest
import pytorch_lightning as pl
import torch

from tests.training.vlm import toys
from tests.training.vlm.families import checkpoints
from tests.training.vlm.trainer import TRAINER
from training.fitting.fitting import fit
from training.vlm.datamodule import ReaderDataModule
from training.vlm.families import Adaptation, adapt, open_reader
from training.vlm.module import Rates, ReaderModule


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bars")
    toys.write(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    checkpoints.write("smolvlm", folder)
    return folder


@pytest.fixture
def made(base):
    """A fresh reader; adapted, unless told otherwise."""

    def reader(adaptation=Adaptation(rank=4, alpha=8), **options):
        torch.manual_seed(0)
        opened = open_reader(str(base), "smolvlm", image_side=32, **options)
        return adapt(opened, adaptation) if adaptation is not None else opened

    return reader


@pytest.fixture
def train(made, bars, tmp_path):
    """Fits a tiny reader: `train(reader, steps=4, val_every=2, trainer={}, data={}, module={}, **fit's)`."""

    def run(reader=None, steps=4, val_every=2, folder="fit", **options):
        reader = reader or made()
        of_trainer = {**TRAINER, "max_steps": steps, **options.pop("trainer", {})}
        of_data = {"batch_size": 8, "val_every": val_every, **options.pop("data", {})}
        of_module = {"rates": Rates(3e-2, 1e-2, 1e-2), "weight_decay": 0.0, "warmup_steps": 2, "max_new_tokens": 30}
        data = ReaderDataModule(str(bars), toys.TASK, reader, steps=steps, seed=0, **of_data)
        module = ReaderModule(reader, toys.TASK.prompt, steps=steps, **{**of_module, **options.pop("module", {})})
        of_trainer.setdefault("accumulate_grad_batches", data.rounds.accumulate)
        fixed = {"seed": 0, "log_every": 1, "progress": False}
        return module, fit(
            module, data, functools.partial(pl.Trainer, **of_trainer), tmp_path / folder, **{**fixed, **options}
        )

    return run
