"""A detection transformer as a `Detector`.

Knows nothing of files: checkpoint.py reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safelight.errors import ConfigError
from training.detector.hf import checkpoint
from training.detector.hf.adapters import Lora, adapt, fold
from training.detector.hf.backbone import Backbone, freeze, rest_frozen_norms
from training.detector.hf.checkpoint import Scaling, Source
from training.detector.hf.names import SOFTMAX, backbone_of, backbone_parameters
from training.detector.hf.outputs import class_scores, corners, targets
from training.detector.hf.positions import fit_positions
from training.detector.interface import Detector

_TOKENS = ("_token", "position_embedding")  # in names of parameters that decay would only pull to the origin


class HfDetector(Detector):
    """network: a detection model of transformers. scaling: what it wants done to a picture's values. columns: which of its
    classes are the labels, None when all are, in their order. lora: adapters to train instead of the network. backbone: how
    the feature extractor is trained, without adapters. base: where the weights came from, to be remembered."""

    family = "hf"

    def __init__(
        self,
        labels: Sequence[str],
        network: nn.Module,
        scaling: Scaling,
        columns: Sequence[int] | None = None,
        lora: Lora | None = None,
        backbone: Backbone | None = None,
        base: str | None = None,
    ) -> None:
        super().__init__(labels)
        config: Any = network.config
        width = config.num_labels if columns is None else len(columns)
        if width != len(self.labels):
            raise ValueError(f"labels: expected one for each of {width} classes, got {len(self.labels)}")
        self._softmax = config.model_type in SOFTMAX
        self._columns = None if columns is None else tuple(int(column) for column in columns)
        self._scaling, self._base, self._backbone = scaling, base, backbone or Backbone()
        self.network = network if lora is None else adapt(network, lora)
        self._adapted = lora is not None
        slow = set() if self._adapted else {id(p) for p in backbone_parameters(network) if p.requires_grad}
        self._slow = frozenset(name for name, p in self.named_parameters() if id(p) in slow)
        if self._backbone.frozen_steps == "always":
            freeze(self._extractor(), True)
        self._learning = [name for name, p in self.named_parameters() if p.requires_grad]
        first: dict[int, str] = {}
        names = self.named_parameters(remove_duplicate=False)
        self._doubles = {name: first[id(p)] for name, p in names if first.setdefault(id(p), name) != name}
        self.register_state_dict_post_hook(_store_once)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_restore_doubles)  # type: ignore[no-untyped-call]
        for name, values in {"mean": scaling.mean, "std": scaling.std}.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Detector`. One box for each of the network's queries; every class of a box has a score of its own."""
        answer = self.network(pixel_values=(images - self.mean) / self.std)
        scores = class_scores(answer.logits.float(), self._softmax)
        if self._columns is not None:
            scores = scores[..., list(self._columns)]
        return corners(answer.pred_boxes.float(), images.shape[-1]), scores

    def losses(self, images: Tensor, boxes: Sequence[Tensor], classes: Sequence[Tensor]) -> dict[str, Tensor]:
        """See `Detector`. Terms: as the family names them; `_aux_0` or `_0` of the first decoder layer and so on, `_enc` of the
        encoder, `_dn_0` of denoising queries."""
        if self._columns is not None:
            places = torch.tensor(self._columns)
            classes = [places[kinds.cpu()] for kinds in classes]
        wanted = targets(boxes, classes, images.shape[-1], images.device)
        answer = self.network(pixel_values=(images - self.mean) / self.std, labels=wanted)
        terms = {name: torch.as_tensor(term).detach() for name, term in answer.loss_dict.items()}
        return {"loss": answer.loss, **terms}

    def train(self, mode: bool = True) -> Self:
        """As of any module; batch normalisations that are not trained keep their statistics."""
        super().train(mode)
        rest_frozen_norms(self.network, mode)
        return self

    def schedule(self, step: int) -> None:
        """See `Detector`: the backbone rests until its step has come."""
        if self._slow:
            freeze(self._extractor(), self._backbone.frozen_at(step))
            rest_frozen_norms(self.network, self.training)

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """See `Detector`. The backbone, also while it rests, at its share of the learning rate; no decay on biases,
        normalisation, positions and tokens."""
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        named = dict(self.named_parameters())
        for name in self._learning:
            parameter = named[name]
            decays = parameter.ndim > 1 and not any(part in name for part in _TOKENS)
            groups.setdefault((name in self._slow, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * (self._backbone.learning_rate_factor if slowly else 1.0),
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (slowly, decays), parameters in sorted(groups.items())
        ]

    def _extractor(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if name in self._slow]

    def merged(self) -> Detector:
        """See `Detector`: a copy with folded adapters, itself where there are none."""
        if not self._adapted:
            return self
        whole = HfDetector(self.labels, fold(self.network), self._scaling, self._columns, base=self._base)
        return whole.train(self.training)

    def describe(self) -> dict[str, Any]:
        """The network's configuration, scaling, columns and base."""
        return {
            "network": checkpoint.describe(self.network),
            "mean": list(self._scaling.mean),
            "std": list(self._scaling.std),
            "columns": None if self._columns is None else list(self._columns),
            "base": self._base,
        }

    @classmethod
    def rebuild(cls, labels: Sequence[str], description: Mapping[str, Any]) -> Self:
        """See `Detector`."""
        scaling = Scaling(tuple(description["mean"]), tuple(description["std"]))
        network = checkpoint.rebuild(description["network"])
        return cls(labels, network, scaling, description["columns"], base=description["base"])


def _store_once(detector: HfDetector, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Some families use a head in two places, under two names; safetensors stores no tensor twice."""
    for double in detector._doubles:
        state.pop(prefix + double, None)


def _restore_doubles(detector: HfDetector, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for double, first in detector._doubles.items():
        if prefix + first in state:
            state[prefix + double] = state[prefix + first]


def pretrained(
    labels: Sequence[str],
    model: str,
    *,
    keep_heads: bool,
    revision: str | None = None,
    offline: bool = False,
    input_size: int | None = None,
    box_sizes: NDArray[np.float32] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    tuning: Literal["full", "lora"] = "full",
    lora: Lora | None = None,
    backbone: Backbone | None = None,
) -> HfDetector:
    """The detector of a checkpoint. model: a folder or a repository on the hub, of which `revision` is taken.

    keep_heads: use it as it is; `labels` are then some or all of its classes. Otherwise it gets new class heads, unless the
    labels are its own in its order. input_size: pixels a side, to be tried once. box_sizes: not needed by this family.
    mean, std: of each channel of pictures in [0, 1], where the checkpoint does not say. tuning: `lora` trains adapters.
    Raises WeightsError as `checkpoint.load` does, ConfigError when labels, scaling or size do not fit.
    """
    source = Source(model, revision, offline)
    if tuning not in ("full", "lora"):
        raise ConfigError(f"tuning: expected full or lora, got {tuning!r}.")
    loaded = checkpoint.load(source, None if keep_heads else labels)
    if input_size is not None:
        _try(loaded.network, input_size)
    detector = HfDetector(
        labels,
        loaded.network,
        _scaling(source, mean, std),
        _columns(labels, loaded.labels),
        (lora or Lora()) if tuning == "lora" else None,
        backbone,
        None if source.local else f"{model}@{revision}",
    )
    if backbone is not None and backbone.frozen_steps != 0 and backbone_of(loaded.network) is None:
        raise ConfigError(
            "backbone: this network has no part that is known to be its backbone, so it cannot be frozen."
        )
    return detector.train()


def _columns(labels: Sequence[str], own: tuple[str, ...]) -> list[int] | None:
    if tuple(labels) == own:
        return None
    if unknown := [label for label in labels if label not in own]:
        raise ConfigError(
            f"labels: {len(unknown)} of {len(labels)} are not classes of the checkpoint, {unknown[0]!r} for one. Its classes "
            f"begin with {', '.join(own[:5])}. Other classes need heads of their own: fit: true."
        )
    return [own.index(label) for label in labels]


def _scaling(source: Source, mean: Sequence[float] | None, std: Sequence[float] | None) -> Scaling:
    if (mean is None) != (std is None):
        raise ConfigError("mean and std: expected both or neither.")
    if mean is not None and std is not None:
        return Scaling(tuple(mean), tuple(std))
    found = checkpoint.scaling(source)
    if found is None:
        raise ConfigError("The checkpoint has no preprocessor_config.json: give mean and std of each channel.")
    return found


@torch.no_grad()
def _try(network: nn.Module, side: int) -> None:
    """Make the network take pictures of this size; raises ConfigError when it does not."""
    try:
        fit_positions(network, side)
        network.eval()(pixel_values=torch.zeros(1, 3, side, side))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"preprocess.input_size: the network does not take {side} pixels a side: {reason}.") from None
