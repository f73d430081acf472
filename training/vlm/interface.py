"""`Reader`: what every family of vision-language models offers to training, evaluation and export.

Knows nothing of any family, of JSON, of files of pictures, or of Lightning. Pictures come in as pixels and answers as text;
that the text is canonical JSON is the caller's affair (safelight/reader/task.py). A family is a subclass in
training/vlm/families/, and `families.open_reader`, `families.adapt` and `families.load_adapter` make readers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

IGNORED = -100
"""The label of a token that the loss does not count."""


@dataclass(frozen=True)
class Example:
    """One picture with its prompt, and with its answer where there is one, as the network takes it.

    inputs: tensors without a batch dimension, `input_ids (T,)` int64 among them. labels: `(T,)` int64, `IGNORED` everywhere
    but on the answer and its end token; a label stands at the place of its own token, not one before.
    """

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        """T, in tokens: what bucketing sorts by."""
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class Generated:
    """One greedy answer. token_ids: with the end token, where it was reached. log_probability: the sum over them, natural
    logarithm; token_log_probabilities: one for each."""

    text: str
    token_ids: tuple[int, ...]
    log_probability: float
    token_log_probabilities: tuple[float, ...]


class Reader(ABC):
    """A vision-language model with the tokenizer it was made with. It is used from one thread at a time."""

    family: ClassVar[str]
    """The name under which families knows the class."""

    model: nn.Module
    """The network of transformers, wrapped by PEFT once it is adapted. `.train()` and `.eval()` are the caller's affair;
    `generate` sets evaluation for its duration."""

    tokenizer: Any
    """transformers' tokenizer, with a chat template of its own."""

    image_side: int
    """Side of the square that pictures are brought to, in pixels."""

    @abstractmethod
    def encode(self, pixels: npt.NDArray[np.uint8], prompt: str, answer: str | None = None) -> Example:
        """pixels: `(H, W, 3)` RGB. Without an answer the example ends where the model is to go on."""

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch on the CPU: `input_ids`, `attention_mask`, `labels` `(B, T)`, padded at the right, and what else the family
        wants. Padding is masked and its labels are `IGNORED`."""

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over the answer tokens of the batch, a scalar with gradient. Moves the batch to the model's
        device."""

    @abstractmethod
    def generate(self, pictures: Sequence[npt.NDArray[np.uint8]], prompt: str, max_new_tokens: int) -> list[Generated]:
        """Greedy answers, in one batch padded at the left, unconstrained."""

    @abstractmethod
    def prompt_ids(self, prompt: str) -> list[int]:
        """The whole prompt as the network takes it, the image's tokens in it. Where their number depends on the picture's
        size: for a square of `image_side`."""

    @abstractmethod
    def save_adapter(self, folder: Path) -> None:
        """Write the adapter alone in PEFT's format, with whatever is trained beside it; `families.load_adapter` reads it.

        Raises ConfigError where there is no adapter.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model, adapters folded in, and the tokenizer: `from_pretrained` and `families.open_reader` read it."""

    @abstractmethod
    def merged(self) -> Reader:
        """A reader without adapters: with their weights folded in, in new memory. Itself where there are none."""
