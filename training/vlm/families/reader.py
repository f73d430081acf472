"""What the families have in common: a network of transformers with its tokenizer, as a `Reader`.

Knows nothing of how any family takes a picture (the subclasses do) and nothing of Lightning.
"""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from safelight.errors import ConfigError
from training.vlm.families.chat import Chat
from training.vlm.families.checkpoint import PREPROCESSOR
from training.vlm.families.decoding import greedy
from training.vlm.families.views import Shift
from training.vlm.interface import IGNORED, Example, Generated, Reader

if TYPE_CHECKING:
    from training.vlm.families.adapters import Adaptation

Part = Literal["text", "vision", "connector", "unused"]
IMAGE_FEATURES = "image_features"
"""An input of `loss` in place of pixels: `(B, N, H)`, what `SmolVlm.features` made of the pictures."""


class HfReader(Reader):
    """model: of transformers, as `AutoModelForImageTextToText` opens it. scaling: the checkpoint's preprocessor_config.json,
    empty where it has none. dtype: of the weights, and of the pictures that reach them."""

    parts: ClassVar[Mapping[str, Part]]
    """Beginnings of module names, the longer before the shorter, and what they belong to. `unused` is never adapted."""

    text_modules: ClassVar[tuple[str, ...]]
    """Last names of the linear layers of attention and MLP in the language model: what is adapted unless told otherwise."""

    joined: ClassVar[frozenset[str]] = frozenset()
    """Inputs of which the rows of a batch follow one another, instead of being stacked."""

    def __init__(
        self, model: nn.Module, tokenizer: Any, image_side: int, scaling: Mapping[str, Any], dtype: torch.dtype
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_side = image_side
        self.scaling = dict(scaling)
        self.dtype = dtype
        self.adaptation: Adaptation | None = None
        self.views: tuple[Shift, ...] = ((0, 0),)
        self.four_bit = bool(getattr(model, "is_loaded_in_4bit", False))
        self.config: Any = model.config
        self.chat = self._chat()
        self.eos_id = self.chat.end_id

    @classmethod
    @abstractmethod
    def default_side(cls, config: Any) -> int:
        """The side pictures are brought to unless told otherwise, in pixels."""

    @classmethod
    @abstractmethod
    def check_side(cls, config: Any, side: int) -> None:
        """Raises ConfigError when the network does not take pictures of `side` pixels."""

    @abstractmethod
    def _chat(self) -> Chat: ...

    @abstractmethod
    def _picture(self, pixels: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the network takes of a picture, without a batch dimension."""

    @property
    def base(self) -> nn.Module:
        """The network of transformers, under whatever PEFT has put around it."""
        inner = getattr(self.model, "base_model", None)
        return inner.model if self.adaptation is not None and inner is not None else self.model

    @classmethod
    def part(cls, name: str) -> Part | None:
        """What a module of the unwrapped network belongs to; None for what is no part's (the head)."""
        return next((part for begin, part in cls.parts.items() if f"{name}.".startswith(f"{begin}.")), None)

    def encode(self, pixels: npt.NDArray[np.uint8], prompt: str, answer: str | None = None) -> Example:
        before = self.chat.prompt_ids(prompt)
        after = [] if answer is None else self.chat.answer_ids(answer)
        ids = torch.tensor(before + after, dtype=torch.int64)
        inputs = {"input_ids": ids, **self._sequence(ids), **self._picture(pixels)}
        return Example(inputs, torch.tensor([IGNORED] * len(before) + after, dtype=torch.int64))

    def prompt_ids(self, prompt: str) -> list[int]:
        return self.chat.prompt_ids(prompt)

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return self._collate(examples, left=False)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch["labels"]
        answered = (labels != IGNORED).any(0).nonzero()
        if not len(answered):
            raise ValueError("labels: expected answers in the batch, and there are none")
        # The head is the costliest layer of a small model, so it runs only from the token before the first answer on.
        kept = labels.shape[1] - int(answered[0]) + 1
        inputs = self._placed({name: value for name, value in batch.items() if name != "labels"})
        features = inputs.pop(IMAGE_FEATURES, None)
        if features is not None:
            inputs["mm_encoder_outputs"] = self._seen(features)
        logits: Tensor = self.model(**inputs, use_cache=False, logits_to_keep=kept).logits
        wanted = labels[:, 1 - kept :].to(logits.device)
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED)

    def generate(self, pictures: Sequence[npt.NDArray[np.uint8]], prompt: str, max_new_tokens: int) -> list[Generated]:
        return self.generate_from([self.encode(pixels, prompt) for pixels in pictures], max_new_tokens)

    def generate_from(self, examples: Sequence[Example], max_new_tokens: int) -> list[Generated]:
        """As `generate`, from examples without answers, which may differ in length."""
        if not examples:
            return []
        batch = self._collate(examples, left=True)
        del batch["labels"]
        with self._evaluating():
            return greedy(
                self.model,
                self.tokenizer,
                self._placed(batch),
                max_new_tokens=max_new_tokens,
                end_id=self.eos_id,
                pad_id=self.chat.pad_id,
            )

    def save_adapter(self, folder: Path) -> None:
        from training.vlm.families.adapters import save_adapter

        save_adapter(self, folder)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        whole = self.merged()
        assert isinstance(whole, HfReader)
        whole.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        if self.scaling:
            (folder / PREPROCESSOR).write_text(json.dumps(self.scaling, indent=2, sort_keys=True) + "\n")

    def merged(self) -> Reader:
        """Raises ConfigError for a network in 4 bits: folding would round the adapters away."""
        if self.adaptation is None:
            return self
        if self.four_bit:
            raise ConfigError(
                "merged: expected a network that is not in 4 bits. Open the base whole, load the adapter, merge."
            )
        whole = copy.copy(self)
        whole.model = copy.deepcopy(self.model).merge_and_unload(safe_merge=True)  # type: ignore[operator]
        whole.model.requires_grad_(False)
        whole.adaptation = None
        return whole

    def look_around(self, views: tuple[Shift, ...]) -> None:
        """Look at every picture so often (views.py). Raises ConfigError where the family does not offer it."""
        raise ConfigError(f"views: expected the family smolvlm, got {self.family}.")

    def features(self, example: Example) -> Example:
        """The example with what tower and connector make of its picture in place of the pixels: for networks of which
        neither changes. Raises ConfigError where the family does not offer it."""
        raise ConfigError(f"features: expected the family smolvlm, got {self.family}.")

    def _seen(self, features: Tensor) -> Any:
        """Such features as the network takes them. Raises ConfigError where the family does not offer it."""
        raise ConfigError(f"features: expected the family smolvlm, got {self.family}.")

    def _sequence(self, ids: Tensor) -> dict[str, Tensor]:
        """What else the network takes for each token."""
        return {}

    def _collate(self, examples: Sequence[Example], *, left: bool) -> dict[str, Tensor]:
        length = max(len(example) for example in examples)
        per_token = {"input_ids", *self._sequence(examples[0].inputs["input_ids"])}

        def padded(rows: Sequence[Tensor], value: int) -> Tensor:
            gaps = [length - len(row) for row in rows]
            ends = [(gap, 0) if left else (0, gap) for gap in gaps]
            return torch.stack([functional.pad(row, end, value=value) for row, end in zip(rows, ends, strict=True)])

        batch = {
            "attention_mask": padded([torch.ones_like(example.labels) for example in examples], 0),
            "labels": padded([example.labels for example in examples], IGNORED),
        }
        for name in examples[0].inputs:
            rows = [example.inputs[name] for example in examples]
            if name in per_token:
                batch[name] = padded(rows, self.chat.pad_id if name == "input_ids" else 0)
            else:
                batch[name] = torch.cat(rows) if name in self.joined else torch.stack(rows)
        return batch

    def _placed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        device = next(self.model.parameters()).device
        moved = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in moved.items()}

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)
