"""Low-rank adapters in a reader, through PEFT: made, saved, loaded.

Sources: Hu et al., "LoRA", 2021; Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024; Kalajdzievski, "A Rank
Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023. Knows nothing of checkpoints, pictures or training.

An adapter's folder holds PEFT's two files (adapter_config.json, adapter_model.safetensors), what it takes to make the same
adapters again (adaptation.json), and the weights that were trained whole beside them, where there are any
(trained.safetensors).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from safelight.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from training.vlm.families.reader import HfReader
    from training.vlm.interface import Reader

DESCRIPTION = "adaptation.json"
SETTINGS = "adapter_config.json"
ADAPTER = "adapter_model.safetensors"
TRAINED = "trained.safetensors"
Tuning = Literal["frozen", "lora", "full"]


@dataclass(frozen=True)
class Adaptation:
    """What of a reader is trained, and how.

    kind: `lora`; `dora` also learns the length of each weight's columns; `rslora` scales by alpha / sqrt(rank) instead of
    alpha / rank. dropout: of the adapters' input. modules: last names of the linear layers in the language model that are
    adapted; None for those of attention and MLP. vision, connector: `lora` adapts the linear layers of the tower's blocks, or
    of what stands between tower and language model; `full` trains these parts whole. gradient_checkpointing: compute
    activations again in the backward pass instead of keeping them, for about a third more time.
    """

    kind: Literal["lora", "dora", "rslora"] = "lora"
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    modules: Sequence[str] | None = None
    vision: Tuning = "frozen"
    connector: Tuning = "frozen"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("lora", "dora", "rslora"):
            raise ConfigError(f"kind: expected lora, dora or rslora, got {self.kind!r}.")
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"Expected rank >= 1, alpha > 0 and 0 <= dropout < 1, got {self.rank}, {self.alpha} and {self.dropout}."
            )
        for name, tuning in (("vision", self.vision), ("connector", self.connector)):
            if tuning not in ("frozen", "lora", "full"):
                raise ConfigError(f"{name}: expected frozen, lora or full, got {tuning!r}.")
        if self.modules is not None:
            object.__setattr__(self, "modules", tuple(self.modules))


def adapt(reader: Reader, adaptation: Adaptation) -> Reader:
    """The reader with adapters, which alone are trained, with the parts that are trained whole. Changes `reader`.

    Raises ConfigError when the reader has adapters already, no layer is called as the adaptation says, or a part that is to
    be trained whole is held in fewer bits than its updates need.
    """
    from peft import LoraConfig, get_peft_model

    own = _own(reader)
    if own.adaptation is not None:
        raise ConfigError("adapt: expected a reader without adapters, and it has some already.")
    targets = target_names(own, adaptation)
    _check_whole(own, adaptation)
    config = LoraConfig(
        r=adaptation.rank,
        lora_alpha=adaptation.alpha,
        lora_dropout=adaptation.dropout,
        use_dora=adaptation.kind == "dora",
        use_rslora=adaptation.kind == "rslora",
        target_modules=targets,
    )
    if own.four_bit:
        from peft import prepare_model_for_kbit_training

        own.model = prepare_model_for_kbit_training(own.model, use_gradient_checkpointing=False)
    training = own.model.training
    own.model = get_peft_model(own.model, config)
    own.model.train(training)  # PEFT's own modules come in training mode, with their dropout at work
    own.adaptation = adaptation
    for name, parameter in own.base.named_parameters():
        if _trained_whole(own, adaptation, name):
            parameter.requires_grad_(True)
    if adaptation.gradient_checkpointing:
        own.base.activation_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    return own


def target_names(reader: HfReader, adaptation: Adaptation) -> list[str]:
    """The linear layers that the adaptation adapts, by their names in the unwrapped network.

    Raises ConfigError when a part that is to be adapted has none, or the language model none of a given name.
    """
    named = reader.text_modules if adaptation.modules is None else tuple(adaptation.modules)
    wanted: dict[str, list[str]] = {"text": [], "vision": [], "connector": []}
    for name, module in reader.base.named_modules():
        part = reader.part(name)
        if not isinstance(module, nn.Linear):
            continue
        if part == "text" and name.rpartition(".")[2] in named:
            wanted["text"].append(name)
        elif part == "vision" and adaptation.vision == "lora" and _in_block(name):
            wanted["vision"].append(name)
        elif part == "connector" and adaptation.connector == "lora":
            wanted["connector"].append(name)
    lasts = {name.rpartition(".")[2] for name in wanted["text"]}
    lacking = [name for name in named if name not in lasts] if adaptation.modules is not None else []
    if lacking:
        raise ConfigError(
            f"modules: expected linear layers of the language model, and there are none called {lacking}."
        )
    for side, tuning in (("vision", adaptation.vision), ("connector", adaptation.connector)):
        if tuning == "lora" and not wanted[side]:
            raise ConfigError(f"{side}: expected linear layers to adapt, and this family has none there.")
    targets = [name for names in wanted.values() for name in names]
    if not targets:
        raise ConfigError("Expected at least one layer to adapt: modules is empty, and neither part is set to lora.")
    return targets


def save_adapter(reader: HfReader, folder: Path) -> None:
    """Write the adapter alone. Raises ConfigError where there is none."""
    if reader.adaptation is None:
        raise ConfigError("save_adapter: expected a reader with adapters, and it has none.")
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = reader.model
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    settings = json.loads((folder / SETTINGS).read_text())
    settings["base_model_name_or_path"] = None  # PEFT writes the base's path, which means nothing elsewhere
    settings["target_modules"] = sorted(settings["target_modules"])  # from a set, whose order changes from run to run
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    description = {"family": reader.family, "image_side": reader.image_side, "adaptation": asdict(reader.adaptation)}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    whole = {
        name: parameter.detach().contiguous()
        for name, parameter in reader.base.named_parameters()
        if _trained_whole(reader, reader.adaptation, name)
    }
    (folder / TRAINED).unlink(missing_ok=True)
    if whole:
        save_file(whole, str(folder / TRAINED))


def load_adapter(reader: Reader, folder: Path, *, trainable: bool = False) -> Reader:
    """The reader with an adapter that `save_adapter` wrote, frozen unless `trainable`. Changes `reader`.

    Raises ConfigError when the adapter is of another family or image side, WeightsError when it is damaged or does not fit.
    """
    own = _own(reader)
    try:
        described = json.loads((folder / DESCRIPTION).read_text())
        adaptation = Adaptation(**described["adaptation"])
        weights = load_file(str(folder / ADAPTER))
        whole = load_file(str(folder / TRAINED)) if (folder / TRAINED).is_file() else {}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"Expected an adapter's {DESCRIPTION} and {ADAPTER}, and they are missing or damaged ({type(error).__name__})."
        ) from error
    if (described["family"], described["image_side"]) != (own.family, own.image_side):
        raise ConfigError(
            f"Expected an adapter for {own.family} at {own.image_side} pixels, "
            f"got one for {described['family']} at {described['image_side']}."
        )
    adapt(own, adaptation)
    _fill(own, adaptation, weights, whole)
    if not trainable:
        own.model.requires_grad_(False)
    return own


def _fill(reader: HfReader, adaptation: Adaptation, weights: dict[str, Tensor], whole: dict[str, Tensor]) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    expected = get_peft_model_state_dict(reader.model, save_embedding_layers=False)
    parameters = {
        name: value for name, value in reader.base.named_parameters() if _trained_whole(reader, adaptation, name)
    }
    if _shapes(expected) != _shapes(weights) or _shapes(parameters) != _shapes(whole):
        raise WeightsError("Expected the weights of an adapter that was made on this network, and they do not fit it.")
    set_peft_model_state_dict(reader.model, weights)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(whole[name])


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _trained_whole(reader: HfReader, adaptation: Adaptation, name: str) -> bool:
    part = reader.part(name)
    return (part == "vision" and adaptation.vision == "full") or (
        part == "connector" and adaptation.connector == "full"
    )


def _check_whole(reader: HfReader, adaptation: Adaptation) -> None:
    if "full" in (adaptation.vision, adaptation.connector) and reader.dtype != torch.float32:
        raise ConfigError(
            "full: expected weights in float32, because shorter ones swallow small updates. Open the reader in float32 and "
            "train under bfloat16 autocast."
        )


def _in_block(name: str) -> bool:
    """Whether a layer of a vision tower is in one of its numbered blocks, and not in its embedding or pooling."""
    return any(piece.isdigit() for piece in name.split("."))


def _own(reader: Reader) -> HfReader:
    from training.vlm.families.reader import HfReader

    if not isinstance(reader, HfReader):
        raise ConfigError(f"Expected a reader of training.vlm.families, got {type(reader).__name__}.")
    return reader
