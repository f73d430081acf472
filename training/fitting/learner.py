"""`Learner`: what `fit` wants to know of a Lightning module.

Knows nothing of what is learnt.
"""

from __future__ import annotations

from typing import ClassVar

import pytorch_lightning as pl


class Learner(pl.LightningModule):
    """A Lightning module whose `training_step` returns `loss` and `terms` (detached scalars by name, for the history).

    Its `state_dict` is what is kept on disk of it: a learner that trains a small part of a large network gives that part.
    """

    monitor: ClassVar[str]
    """The logged figure by which the best weights are chosen, the greater the better."""

    advice: ClassVar[str] = "look at the data"
    """What to do about numbers that are none, after settings have been tried: the end of a sentence."""
