"""A vision tower and its connector learn to say what they see in words that the language model knows.

Image token k is drawn towards the word embedding of the answer's k-th word (the words stay as they are; compare Merullo et
al., "Linearly Mapping from Image to Text Space", 2023), so that a language model reads a picture as it reads text. Beside it
each patch says whether a value is to be seen in it, which, and what it is: without that the tower takes far longer to find
out where to look. These heads are dropped afterwards. The language model is not run.

Knows nothing of how pictures come about, or of configuration files.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from training.fitting.learner import Learner
from training.vlm.tower.both import Both
from training.vlm.tower.lessons import NOWHERE, Lesson
from training.vlm.tower.words import NONE, Words

MONITOR = "val/words"
"""The share of validation pictures of which every word is right."""
_EMPTY = 0.1  # what a patch without a value counts in finding values: there are many


class TowerModule(Learner):
    """tower, connector: of the model that learns. embeddings: `(vocabulary, H)` of its language model. words: that are to be
    said. learning_rate: AdamW's peak, for what is no matrix; matrix_rate: Muon's, for matrices (Jordan et al., "Muon", 2024,
    at AdamW's scale: Liu et al., 2025). Both reached after `warmup_steps`, then a cosine down to 2 % at `steps`."""

    monitor = MONITOR

    def __init__(
        self,
        tower: nn.Module,
        connector: nn.Module,
        embeddings: Tensor,
        words: Words,
        *,
        learning_rate: float,
        matrix_rate: float,
        weight_decay: float,
        warmup_steps: int,
        steps: int,
    ) -> None:
        super().__init__()
        self.tower, self.connector = tower, connector
        width = int(tower.config.hidden_size)  # type: ignore[union-attr, arg-type]  # of transformers
        self.name, self.value = nn.Linear(width, words.places + 1), nn.Linear(width, len(words))
        self.sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.register_buffer("_words", functional.normalize(embeddings[words.token_ids], dim=-1), persistent=False)
        self._rates, self._weight_decay = (learning_rate, matrix_rate), weight_decay
        self._warmup_steps, self._steps = warmup_steps, steps
        self._right: list[Tensor] = []

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, S, S)` in [-1, 1] to the patches `(B, P, width)` and each image token's likeness to each word `(B, N, W)`."""
        patches = self.tower(pixel_values=pictures).last_hidden_state
        said = functional.normalize(self.connector(patches).float(), dim=-1)
        return patches.float(), said @ self._words.T * self.sharpness.exp()  # type: ignore[operator]  # a buffer

    def training_step(self, batch: Lesson, _: int) -> dict[str, Any]:
        """The words' loss and those of the heads."""
        patches, said = self(batch.picture)
        terms = {"words": functional.cross_entropy(said.flatten(0, 1), batch.words.flatten(), ignore_index=NONE)}
        terms |= self._of_places(patches, batch)
        loss = torch.stack(list(terms.values())).sum()
        return {"loss": loss, "terms": {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}}

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._right.clear()

    def validation_step(self, batch: Lesson, _: int) -> None:
        """Which words are right."""
        _, said = self(batch.picture)
        self._right.append((said.argmax(-1) == batch.words) | (batch.words == NONE))

    def on_validation_epoch_end(self) -> None:
        """Over all pictures."""
        right = torch.cat(self._right)
        self.log("val/words", right.all(1).float().mean(), prog_bar=True, batch_size=1)
        self.log("val/word", right.float().mean(), batch_size=1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Muon on the matrices of the transformer and the connector, AdamW on the rest; one schedule for both."""
        matrices = [
            value
            for part in (self.tower, self.connector)
            for name, value in part.named_parameters()
            if value.ndim == 2 and "embedding" not in name
        ]
        ours = {id(value) for value in matrices}
        others = [value for value in self.parameters() if id(value) not in ours]
        optimiser = Both(
            torch.optim.AdamW(others, self._rates[0], betas=(0.9, 0.98), weight_decay=0.0),
            torch.optim.Muon(matrices, self._rates[1], weight_decay=self._weight_decay, adjust_lr_fn="match_rms_adamw"),
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self._warmup_steps))
        return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / self._steps))) / 2)

    def _of_places(self, patches: Tensor, batch: Lesson) -> dict[str, Tensor]:
        """Which patch shows which value, and what it is."""
        rows, places = (batch.names != NOWHERE).nonzero(as_tuple=True)
        cells = batch.cells[rows, places]
        names = torch.zeros(patches.shape[:2], dtype=torch.int64, device=patches.device)
        names[rows, cells] = batch.names[rows, places] + 1
        weights = torch.ones(self.name.out_features, device=patches.device)
        weights[0] = _EMPTY
        return {
            "name": functional.cross_entropy(self.name(patches).flatten(0, 1), names.flatten(), weight=weights),
            "value": functional.cross_entropy(self.value(patches[rows, cells]), batch.values[rows, places]),
        }
