"""A checkpoint in the transformers library's format, from a folder or from the hub, and a network of its kind made anew.

Knows nothing of detectors or training. Nothing in a checkpoint is executed: weights are safetensors, and code that
comes with a model is not run.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from safelight.errors import ConfigError, WeightsError
from training.detector.hf.names import SOFTMAX, is_class_head

_PREPROCESSOR = "preprocessor_config.json"
_PRIOR = 0.01
_MOST = 1e6  # of what pictures in [0, 1] may be scaled by
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """model: a folder, or a repository on the hub (`owner/name`). revision: a commit of the latter.
    offline: take it from the local cache or fail."""

    model: str
    revision: str | None = None
    offline: bool = False

    @property
    def local(self) -> bool:
        """Whether it is a folder here."""
        return Path(self.model).is_dir()

    def missing(self) -> WeightsError:
        """The error that says what was looked for and how to come by it."""
        return WeightsError(
            f"Expected a checkpoint with config.json and model.safetensors in the folder {self.model!r}, or on the hub under "
            f"that name (revision {self.revision}) or in its local cache. Where there is no way to the hub, "
            "download it elsewhere, copy the folder here and give its path as model.detector.model."
        )

    def arguments(self) -> dict[str, Any]:
        """As transformers takes them."""
        if self.local:
            return {"local_files_only": True}
        return {"revision": self.revision, "local_files_only": self.offline}


@dataclass(frozen=True)
class Scaling:
    """What a network subtracts from and divides by, of pictures in [0, 1], for each channel."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        sane = all(abs(mean) <= _MOST for mean in self.mean) and all(1 / _MOST <= std <= _MOST for std in self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not sane:
            raise ValueError(f"expected three means and three positive deviations, got {self.mean} and {self.std}")


@dataclass(frozen=True)
class Loaded:
    """network: with the checkpoint's weights. labels: its classes, in the order of its outputs."""

    network: nn.Module
    labels: tuple[str, ...]


def load(source: Source, labels: Sequence[str] | None) -> Loaded:
    """The network of a checkpoint. labels: give it new heads for these classes, unless they are its own; None keeps them.

    Raises ConfigError when the hub's revision is not a commit. Raises WeightsError when the checkpoint is not there, is no
    detector, has weights in another format than safetensors, is damaged, lacks weights, or needs a library that the project
    does not have.
    """
    from transformers import AutoModelForObjectDetection

    with _explained(source):
        config = _config(source)
        own = tuple(config.id2label[index] for index in range(config.num_labels))
        fresh = labels is not None and tuple(labels) != own
        if fresh:
            assert labels is not None
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: index for index, label in enumerate(labels)}
        network, report = AutoModelForObjectDetection.from_pretrained(
            source.model,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=fresh,
            output_loading_info=True,
            dtype=torch.float32,
            **source.arguments(),
        )
    lacking = [name for name in report["missing_keys"] if not (fresh and is_class_head(name))]
    differing = [name for name, *_ in report["mismatched_keys"] if not is_class_head(name)]
    if lacking or differing:
        raise WeightsError(
            f"The checkpoint's weights are not those of its config.json: {len(lacking)} are missing and {len(differing)} "
            f"have another shape, {(lacking + differing)[0]} for one."
        )
    if fresh:
        _renew_class_heads(network, config)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()  # some are views of a larger tensor, which safetensors does not store
    return Loaded(network, tuple(labels) if fresh and labels is not None else own)


def scaling(source: Source) -> Scaling | None:
    """What the checkpoint's preprocessing does to a picture's values, None where it does not say."""
    from transformers.utils import cached_file

    with _explained(source):
        path = cached_file(
            source.model, _PREPROCESSOR, _raise_exceptions_for_missing_entries=False, **source.arguments()
        )
    if path is None:
        return None
    try:
        given = json.loads(Path(path).read_text())
        factor = 255 * float(given.get("rescale_factor", 1 / 255)) if given.get("do_rescale", True) else 255.0
        mean, std = (given["image_mean"], given["image_std"]) if given.get("do_normalize", True) else ([0] * 3, [1] * 3)
        # transformers normalises `255 * rescale_factor * picture`; ours is the same of the picture itself
        return Scaling(tuple(float(m) / factor for m in mean), tuple(float(s) / factor for s in std))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"The checkpoint's {_PREPROCESSOR} does not say how pictures are scaled: {error}.") from None


def describe(network: nn.Module) -> dict[str, Any]:
    """The network's configuration as plain JSON values, without where it came from."""
    config: dict[str, Any] = json.loads(network.config.to_json_string(use_diff=False))  # type: ignore[union-attr,operator]
    config.pop("_name_or_path", None)
    return config


def rebuild(description: Mapping[str, Any]) -> nn.Module:
    """The network that `describe` described, with random weights. Needs no hub. Raises ValueError."""
    from transformers import AutoConfig, AutoModelForObjectDetection

    values = copy.deepcopy(dict(description))
    kind = values.pop("model_type", None)
    if not isinstance(kind, str):
        raise ValueError(f"expected a model_type, got {kind!r}")
    if values.get("use_timm_backbone"):
        raise ValueError("expected a backbone of transformers itself, got one of timm, which the project does not have")
    network: nn.Module
    try:
        with _quiet():
            config = AutoConfig.for_model(kind, **values)
            network = AutoModelForObjectDetection.from_config(config, trust_remote_code=False, dtype=torch.float32)
    except (StrictDataclassError, AttributeError, ImportError, RuntimeError) as error:
        raise ValueError(_first_line(error)) from None
    return network


def _config(source: Source) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source.model, trust_remote_code=False, **source.arguments())
    for fixed in ("eval_size", "anchor_image_size"):
        if getattr(config, fixed, None) is not None:
            setattr(config, fixed, None)  # anchors and positions are made for each picture's size, not for one alone
    return config


@torch.no_grad()
def _renew_class_heads(network: nn.Module, config: Any) -> None:
    """Start the class heads anew: weights of other classes are of no use. Where each class is scored by itself, with a score
    of 0.01 for everything (Lin et al., "Focal Loss for Dense Object Detection", 2017, section 3.3)."""
    from transformers import AutoModelForObjectDetection

    with _quiet():
        new = AutoModelForObjectDetection.from_config(config, dtype=torch.float32).state_dict()
    for name, value in network.state_dict().items():
        if is_class_head(name):
            value.copy_(new[name])
            if name.endswith("bias") and config.model_type not in SOFTMAX:
                value.fill_(math.log(_PRIOR / (1 - _PRIOR)))


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """transformers' many errors as ours, and without its progress bars and reports."""
    if not source.local and (Path(source.model).is_absolute() or source.model.count("/") != 1):
        raise source.missing()  # not a name that the hub could know
    if not source.local and not _COMMIT.fullmatch(source.revision or ""):
        raise ConfigError(
            f"revision: expected a commit of {source.model!r} (40 hex digits), because branches move, got {source.revision!r}."
        )
    try:
        with _quiet():
            yield
    except ImportError as error:
        raise WeightsError(f"The checkpoint needs a library that is not here: {_first_line(error)}") from None
    except SafetensorError as error:
        raise WeightsError(f"The checkpoint's model.safetensors is damaged: {_first_line(error)}") from None
    except OSError:
        raise source.missing() from None
    except (StrictDataclassError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"The checkpoint is not one of a detector: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
