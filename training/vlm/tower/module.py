"""A vision tower and its connector learn to say what they see in words that the language model knows.

Image token k is drawn towards the word embedding of the answer's k-th word (the words stay as they are; compare Merullo et
al., "Linearly Mapping from Image to Text Space", 2023), so that a language model reads a picture as it reads text. Beside it
each patch says what is known of it: whether a value is to be seen in it, which and what, how far the thing covers it, and
where on the thing it lies. Without that the tower takes far longer to find out where to look and how to measure. These heads
are dropped afterwards, and the language model is not run.

Most steps look at the rows of patches alone in which there is something to read or a word to be said (as Li et al., "Scaling
Language-Image Pre-training via Masking", 2023, look at a part of each picture); the last ones at whole pictures.

Knows nothing of how pictures come about, or of configuration files.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional

from training.drawings.interface import CELL
from training.fitting.learner import Learner
from training.vlm.tower.both import Both
from training.vlm.tower.lessons import NOWHERE, Lesson
from training.vlm.tower.words import NONE, Words

MONITOR = "val/words"
"""The share of validation pictures of which every word is right."""
_WEIGHTS = {"words": 1.0, "name": 1.0, "value": 1.0, "covered": 2.0, "frame": 5.0}
_BETA = 0.1  # from where on an error in a place counts linearly
_NEWTON_SCHULZ = 4  # iterations of Muon; the fifth costs time and was not seen to help
_EMPTY = 0.1  # what a patch without a value counts in finding values: there are many


class TowerModule(Learner):
    """tower, connector: of the model that learns. embeddings: `(vocabulary, H)` of its language model. words: that are to be
    said. learning_rate: AdamW's peak, for what is no matrix; matrix_rate: Muon's, for matrices (Jordan et al., "Muon", 2024,
    at AdamW's scale: Liu et al., 2025). Both reached after `warmup_steps`, then a cosine down to 2 % at `steps`. whole: share
    of the steps, the last ones, that look at whole pictures."""

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
        whole: float,
    ) -> None:
        super().__init__()
        self.tower, self.connector = tower, connector
        config: Any = tower.config
        width, patch = config.hidden_size, config.patch_size
        self._side = config.image_size // patch
        self._merged = self._side // math.isqrt(words.image_tokens)
        self.name, self.value = nn.Linear(width, words.places + 1), nn.Linear(width, len(words))
        self.covered, self.frame = nn.Linear(width, (patch // CELL) ** 2), nn.Linear(width, 2)
        self.sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.register_buffer("_words", functional.normalize(embeddings[words.token_ids], dim=-1), persistent=False)
        self._rates, self._weight_decay = (learning_rate, matrix_rate), weight_decay
        self._warmup_steps, self._steps, self._whole = warmup_steps, steps, whole
        self._right: list[Tensor] = []

    def forward(self, pictures: Tensor, rows: slice | None = None) -> tuple[Tensor, Tensor]:
        """`(B, 3, S, S)` in [-1, 1] to the patches `(B, P, width)` and each image token's likeness to each word `(B, N, W)`.
        rows: of patches, that are looked at; the others are zeros. None: all of them."""
        patches = self._patches(pictures, rows)
        said = functional.normalize(self.connector(patches).float(), dim=-1)
        return patches.float(), said @ self._words.T * self.sharpness.exp()  # type: ignore[operator]  # a buffer

    def training_step(self, batch: Lesson, _: int) -> dict[str, Any]:
        """The words' loss and those of the heads."""
        rows = self._rows(batch) if self.trainer.global_step < (1 - self._whole) * self._steps else None
        patches, said = self(batch.picture, rows)
        terms = {"words": functional.cross_entropy(said.flatten(0, 1), batch.words.flatten(), ignore_index=NONE)}
        terms |= self._of_patches(patches, batch, rows)
        loss = torch.stack([_WEIGHTS[name] * term for name, term in terms.items()]).sum()
        return {"loss": loss, "terms": {"loss": loss.detach(), **{name: term.detach() for name, term in terms.items()}}}

    def on_fit_start(self) -> None:
        """On a CPU, torch's fused attention takes longer than plain matrix products for a hundred patches."""
        config: Any = self.tower.config
        self._attention = config._attn_implementation
        if self.device.type == "cpu":
            self.tower.set_attn_implementation("eager")  # type: ignore[operator]  # a method of transformers' models

    def on_fit_end(self) -> None:
        """As it was."""
        self.tower.set_attn_implementation(self._attention)  # type: ignore[operator]

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
        """Muon on the tower's matrices, AdamW on the rest; one schedule for both."""
        matrices = [
            value for name, value in self.tower.named_parameters() if value.ndim == 2 and "embedding" not in name
        ]
        ours = {id(value) for value in matrices}
        others = [value for value in self.parameters() if id(value) not in ours]
        optimiser = Both(
            torch.optim.AdamW(others, self._rates[0], betas=(0.9, 0.98), weight_decay=0.0),
            torch.optim.Muon(
                matrices,
                self._rates[1],
                weight_decay=self._weight_decay,
                ns_steps=_NEWTON_SCHULZ,
                adjust_lr_fn="match_rms_adamw",
            ),
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def learning_rate_factor(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self._warmup_steps))
        return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, step / self._steps))) / 2)

    def _rows(self, batch: Lesson) -> slice:
        """Where in the pictures of a batch there is something to read, with a row about it, or a word to be said."""
        there = (batch.cells[batch.names != NOWHERE] // self._side).unique()
        said = (batch.words != NONE).any(0).nonzero().flatten() // (self._side // self._merged)
        first, last = int(said.min()) * self._merged, int(said.max() + 1) * self._merged - 1
        return slice(max(0, min(first, int(there.min()) - 1)), min(self._side, max(last, int(there.max()) + 1) + 1))

    def _patches(self, pictures: Tensor, rows: slice | None) -> Tensor:
        tower: Any = self.tower
        if rows is None:
            whole: Tensor = tower(pixel_values=pictures).last_hidden_state
            return whole
        within, patch = slice(rows.start * self._side, rows.stop * self._side), tower.config.patch_size
        band = tower.embeddings.patch_embedding(pictures[:, :, rows.start * patch : rows.stop * patch])
        seen = band.flatten(2).transpose(1, 2) + tower.embeddings.position_embedding.weight[within]
        seen = tower.post_layernorm(tower.encoder(inputs_embeds=seen, attention_mask=None).last_hidden_state)
        return functional.pad(seen, (0, 0, within.start, self._side**2 - within.stop))

    def _of_patches(self, patches: Tensor, batch: Lesson, rows: slice | None) -> dict[str, Tensor]:
        """What the patches that were looked at show."""
        pictures, places = (batch.names != NOWHERE).nonzero(as_tuple=True)
        cells = batch.cells[pictures, places]
        names = torch.zeros(patches.shape[:2], dtype=torch.int64, device=patches.device)
        names[pictures, cells] = batch.names[pictures, places] + 1
        weights = torch.ones(self.name.out_features, device=patches.device)
        weights[0] = _EMPTY
        looked = slice(None) if rows is None else slice(rows.start * self._side, rows.stop * self._side)
        seen, covered = patches[:, looked], batch.covered[:, looked]
        near = covered.amax(-1) > 0
        values = self.value(patches[pictures, cells])
        return {
            "name": functional.cross_entropy(self.name(seen).flatten(0, 1), names[:, looked].flatten(), weight=weights),
            "value": functional.cross_entropy(values, batch.values[pictures, places]),
            "covered": functional.binary_cross_entropy_with_logits(self.covered(seen), covered),
            "frame": functional.smooth_l1_loss(self.frame(seen)[near], batch.frame[:, looked][near], beta=_BETA),
        }
