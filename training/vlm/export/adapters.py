"""A trained LoRA adapter as the matrices that the graphs take, and as the one file that a reader's bundle holds.

Knows nothing of graphs. Sources: Hu et al., "LoRA", 2021; Kalajdzievski, "A Rank Stabilization Scaling Factor for
Fine-Tuning with LoRA", 2023 (rsLoRA); the format is PEFT's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from safelight.errors import ConfigError, WeightsError

PEFT_SETTINGS, PEFT_WEIGHTS, TRAINED = "adapter_config.json", "adapter_model.safetensors", "trained.safetensors"
_PREFIXES = ("base_model.model.model.", "base_model.model.")
_MERGE = "Merge it into a base of its own (`Reader.merged`) and export that."
_OF_NO_CONSEQUENCE = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "peft_version",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Settings of PEFT's that the weights or the scale say already, or that only training looks at."""

Matrices = dict[str, NDArray[np.float32]]


def lora_matrices(folder: Path, adapted: Mapping[str, tuple[int, int]]) -> Matrices:
    """`lora.PATH.A (r, inputs)` and `lora.PATH.B (outputs, r)` float32 of every adapted layer, the scale folded into B.

    folder: as `Reader.save_adapter` or PEFT wrote it. adapted: the layers whose matrices the graphs take, with their (inputs,
    outputs). All have one rank: smaller ones are filled up with zeros, and layers that were not trained are zeros. Raises
    ConfigError when the adapter is more than LoRA matrices on these layers, WeightsError when it is damaged.
    """
    alpha, rslora = _settings(folder)
    pairs = _pairs(folder)
    if unknown := sorted(set(pairs) - set(adapted)):
        raise ConfigError(
            f"Expected an adapter of layers whose matrices the graphs take, {len(unknown)} are not: {unknown[0]}, ..."
        )
    rank = max(len(a) for a, _ in pairs.values())
    made: Matrices = {}
    for path, (inputs, outputs) in adapted.items():
        whole_a, whole_b = np.zeros((rank, inputs), np.float32), np.zeros((outputs, rank), np.float32)
        if path in pairs:
            a, b = pairs[path]
            own = len(a)
            if a.shape != (own, inputs) or b.shape != (outputs, own):
                raise WeightsError(
                    f"Expected matrices for ({inputs}, {outputs}) at {path}, got {a.shape} and {b.shape}."
                )
            whole_a[:own] = a
            whole_b[:, :own] = b * np.float32(alpha / (math.sqrt(own) if rslora else own))
        made[f"lora.{path}.A"], made[f"lora.{path}.B"] = whole_a, whole_b
    return made


def write_adapter(matrices: Matrices, path: Path) -> int:
    """Write `adapter.safetensors`; returns the rank."""
    from safetensors.numpy import save_file

    save_file(dict(sorted(matrices.items())), str(path))
    return next(len(value) for name, value in matrices.items() if name.endswith(".A"))


def _settings(folder: Path) -> tuple[float, bool]:
    """(alpha, whether it is scaled by the root of the rank). Raises ConfigError on what two matrices cannot say."""
    from peft import LoraConfig

    if (folder / TRAINED).is_file():
        raise ConfigError(
            f"Expected LoRA matrices alone, this adapter comes with layers that were trained whole. {_MERGE}"
        )
    try:
        found: dict[str, Any] = vars(LoraConfig.from_pretrained(str(folder)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected an adapter's {PEFT_SETTINGS}, it cannot be read ({type(error).__name__})."
        ) from None
    if found["use_dora"]:
        raise ConfigError(
            f"DoRA scales the rows of the weights, which two matrices that are added cannot say. {_MERGE}"
        )
    plain = vars(LoraConfig())
    odd = sorted(name for name in plain if name not in _OF_NO_CONSEQUENCE and found[name] != plain[name])
    if odd:
        raise ConfigError(f"Expected a plain LoRA adapter, this one sets {', '.join(odd)}. {_MERGE}")
    return float(found["lora_alpha"]), bool(found["use_rslora"])


def _pairs(folder: Path) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Path to (A, B) as they were trained. Raises WeightsError, or ConfigError on weights of another kind."""
    try:
        weights = load_file(str(folder / PEFT_WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"Expected an adapter's {PEFT_WEIGHTS}, it cannot be read ({type(error).__name__})."
        ) from None
    sides: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, value in weights.items():
        path, dot, side = name.removesuffix(".weight").rpartition(".lora_")
        if not dot or side not in ("A", "B"):
            raise ConfigError(f"Expected LoRA matrices alone, the adapter holds other weights too. {_MERGE}")
        sides.setdefault(_path(path), {})[side] = value.float().numpy()
    if not sides or any(set(found) != {"A", "B"} for found in sides.values()):
        raise WeightsError("Expected an A and a B for each adapted layer.")
    return {path: (found["A"], found["B"]) for path, found in sides.items()}


def _path(name: str) -> str:
    """The layer's path in the SmolVLMModel, from PEFT's name in what wraps it."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
