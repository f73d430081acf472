import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from safelight.errors import ConfigError
from training.tuning.pruning import ReportValidation
from training.tuning.worker import TrialPruned


class Counting(pl.LightningModule):
    """Validates to the number of steps done."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch, _):
        return (self.weight * batch.mean()).sum()

    def validation_step(self, batch, _):
        self.log("figure", float(self.global_step))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(callback, steps=4):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=2,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(torch.ones(8, 1))
    trainer.fit(Counting(), loader, loader)
    return trainer


def test_each_validation_is_reported_and_the_trial_check_is_not():
    heard = []
    trained(ReportValidation("figure", lambda step, value: heard.append((step, value))))
    assert heard == [(2, 2.0), (4, 4.0)]


def test_a_training_given_up_stops():
    def report(step, value):
        raise TrialPruned

    with pytest.raises(TrialPruned):
        trained(ReportValidation("figure", report))


def test_a_figure_that_is_not_logged_is_an_error():
    with pytest.raises(ConfigError, match=r"Expected validation to log other, got .*figure"):
        trained(ReportValidation("other", lambda step, value: None))
