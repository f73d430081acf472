"""A training reports each validation to its study, and stops when the study gives it up.

Knows nothing of studies: it is handed a function.
"""

from __future__ import annotations

import pytorch_lightning as pl

from safelight.errors import ConfigError
from training.tuning.worker import Report


class ReportValidation(pl.Callback):
    """monitor: the logged figure. report: takes it with the step, and raises to end the training. Raises ConfigError when
    the figure is not logged."""

    def __init__(self, monitor: str, report: Report) -> None:
        self._monitor, self._report = monitor, report

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the figure of the validation that just ended."""
        if trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self._monitor)
        if value is None:
            raise ConfigError(f"Expected validation to log {self._monitor}, got {', '.join(trainer.callback_metrics)}.")
        self._report(trainer.global_step, float(value))
