"""`Detector`: what every family of detectors offers to training, evaluation and export.

Knows nothing of any family, of files of pictures, or of Lightning. A family is a subclass in a folder or file of its own,
listed in training/detector/families.py.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from safetensors.torch import save_model
from torch import Tensor, nn

WEIGHTS = "model.safetensors"
DESCRIPTION = "detector.json"


class Detector(nn.Module, ABC):
    """A network that finds boxes of `labels`. Pictures are `(B, 3, S, S)` float32 in [0, 1]; whatever else a family wants
    done to them (mean, standard deviation) is inside."""

    family: ClassVar[str]
    """The name under which families.py knows the class."""

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        if not labels:
            raise ValueError("labels: expected at least one class name, got none")
        self.labels = tuple(str(label) for label in labels)

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures to boxes `(B, A, 4)` xyxy input pixels, unclipped, and scores `(B, A, C)` in [0, 1]. This is what is
        evaluated, exported and served."""

    @abstractmethod
    def losses(self, images: Tensor, boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> dict[str, Tensor]:
        """`loss`, a scalar with gradient, and its terms by name, detached scalars.

        boxes: for each picture `(M, 4)` xyxy input pixels, M may be 0. classes: for each `(M,)` int64.
        """

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """What is trained, as optimisers take it: no decay on biases and normalisation (Loshchilov & Hutter, 2019)."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        kernels = [parameter for parameter in trained if parameter.ndim > 1]
        others = [parameter for parameter in trained if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": kernels, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def schedule(self, step: int) -> None:  # most families have nothing to do
        """Called before each optimiser step, counted from 0: a family may freeze or free parts of itself. It depends on `step`
        alone, so that a resumed run goes on as it would have. Optimisers hold from the start what is ever trained."""

    def merged(self) -> Detector:
        """The detector without adapters: with their weights folded in. Itself where there are none."""
        return self

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What `rebuild` needs to make the same network with other weights: plain JSON values."""

    @classmethod
    @abstractmethod
    def rebuild(cls, labels: Sequence[str], description: Mapping[str, Any]) -> Self:
        """The network that `describe` described; its weights are not yet those. Needs no network connection."""

    def save(self, folder: Path) -> None:
        """Write weights and description, adapters folded in; `families.load_detector` reads them."""
        whole = self.merged()
        folder.mkdir(parents=True, exist_ok=True)
        save_model(whole, str(folder / WEIGHTS))  # stores weights that two modules share once
        described = {"family": whole.family, "labels": whole.labels, "description": whole.describe()}
        (folder / DESCRIPTION).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
