"""Warm start: the weights of another training as the beginning of this one. Weights only; a resumed training is resuming.py's.

Knows nothing of families.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from safelight.errors import WeightsError
from training.detector.interface import WEIGHTS, Detector


def warm_start(detector: Detector, folder: Path) -> list[str]:
    """Give `detector` the weights that `Detector.save` wrote to `folder`, by name. Returns the names of those it keeps as
    they were, because theirs have another shape: the heads, where the classes differ.

    Raises WeightsError when there are none, or they are another network's.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise WeightsError(f"warm_start: expected {WEIGHTS} in {folder}, the output folder of a training.")
    try:
        given = load_file(path)
    except SafetensorError:
        raise WeightsError(f"warm_start: {WEIGHTS} in {folder} is damaged.") from None
    own = detector.state_dict()
    if set(given) != set(own):
        strange = sorted(set(given) ^ set(own))
        raise WeightsError(
            f"warm_start: the weights in {folder} are another network's: {len(strange)} of {len(own)} names differ, "
            f"such as {strange[0]}. Adapters (LoRA) begin from whole weights: name them as the model's base instead."
        )
    fitting = {name: value for name, value in given.items() if value.shape == own[name].shape}
    if not any(value.ndim > 1 for value in fitting.values()):
        raise WeightsError(f"warm_start: no weights in {folder} have the shapes of this network's.")
    with torch.no_grad():
        detector.load_state_dict({**own, **fitting})
    return sorted(set(own) - set(fitting))
