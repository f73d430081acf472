"""What one LoRA step takes in memory: estimated from a model's sizes, or measured on a checkpoint.

`python -m training.vlm.families.memory` prints the estimates; with a folder and a family after it, it measures one step on
that checkpoint in this process. Run once for each figure: a process's peak never falls.

The estimate adds up, in bytes:
- weights: 2 for each parameter; in 4 bits 0.516 for each in the language model's linear layers (NF4 with double
  quantisation: 4 + 0.127 bits; Dettmers et al., "QLoRA", 2023) and 2 for all others;
- adapters: 16 for each parameter: weight, gradient and both moments of AdamW, in float32;
- activations of the language model, by Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models",
  2022: T h (34 + 5 a T / h) for each layer; with gradient checkpointing 2 T h for each layer and one layer in full;
- the head: 10 for each logit of the answer: two of them bfloat16, float32 twice.
Activations of a frozen vision tower are not kept. What the allocator and the libraries take besides (a CUDA context is about
0.5 GB) is not in it.
"""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from training.vlm.families.adapters import Adaptation, adapt
from training.vlm.families.opening import FAMILIES, open_reader
from training.vlm.families.sizes import SIZES, Size

TEXT_TOKENS, ANSWER_TOKENS = 60, 40
_NF4 = (4 + 0.127) / 8


@dataclass(frozen=True)
class Estimate:
    """parameters: in all; adapters: that are trained. Memory in bytes, one example a step: of the weights alone and of a step,
    in bfloat16 and in 4 bits."""

    parameters: int
    adapters: int
    weights: float
    step: float
    weights_4bit: float
    step_4bit: float


def skeleton(size: Size) -> nn.Module:
    """The network without memory for its weights (torch's meta device)."""
    from transformers import AutoModel, AutoModelForImageTextToText
    from transformers.models.gemma3n.configuration_gemma3n import Gemma3nVisionConfig

    if size.outside:  # an empty module stands where a library that is not here would put its own
        AutoModel.register(Gemma3nVisionConfig, _Absent, exist_ok=True)
    with torch.device("meta"):
        network: nn.Module = AutoModelForImageTextToText.from_config(configuration(size))
    return network


def configuration(size: Size) -> Any:
    """Its configuration, as transformers has it."""
    from transformers import AutoConfig

    return AutoConfig.for_model(size.model_type, **size.config)


def estimate(size: Size, adaptation: Adaptation, image_tokens: int) -> Estimate:
    """image_tokens: of one picture; TEXT_TOKENS and ANSWER_TOKENS come beside them."""
    network = skeleton(size)
    kind = FAMILIES[size.family]
    linear = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and kind.part(name) == "text"
    }
    parameters = sum(value.numel() for value in network.parameters()) + size.outside
    adapted = [module for name, module in linear.items() if name.rpartition(".")[2] in kind.text_modules]
    adapters = sum(adaptation.rank * (module.in_features + module.out_features) for module in adapted)
    short = sum(module.weight.numel() for module in linear.values())
    besides = 16 * adapters + _activations(network, adaptation, image_tokens)
    whole, quantised = 2 * parameters, 2 * (parameters - short) + _NF4 * short
    return Estimate(parameters, adapters, whole, whole + besides, quantised, quantised + besides)


def _activations(network: nn.Module, adaptation: Adaptation, image_tokens: int) -> float:
    text = network.config.get_text_config()  # type: ignore[operator,union-attr]
    tokens, width = image_tokens + TEXT_TOKENS + ANSWER_TOKENS, text.hidden_size
    layer = tokens * width * (34 + 5 * text.num_attention_heads * tokens / width)
    kept = 2 * tokens * width * text.num_hidden_layers + layer
    layers = kept if adaptation.gradient_checkpointing else layer * text.num_hidden_layers
    return float(layers + 10 * (ANSWER_TOKENS + 1) * text.vocab_size)


class _Absent(nn.Module):
    def __init__(self, config: object) -> None:
        super().__init__()

    @classmethod
    def _from_config(cls, config: object, **_: object) -> _Absent:
        return cls(config)


def measured(folder: str, family: str, adaptation: Adaptation) -> tuple[int, int, float, float]:
    """Parameters, those that are trained, and this process's peak in bytes, before and after one step in float32 under
    bfloat16 autocast, one example."""
    reader = open_reader(folder, family)
    parameters = sum(value.numel() for value in reader.model.parameters())
    opened = _peak()
    adapt(reader, adaptation)
    trained = [value for value in reader.model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained)
    picture = np.full((336, 336, 3), 127, np.uint8)
    answer = "7" * ANSWER_TOKENS
    reader.model.train()
    for _ in range(2):  # AdamW's moments are there from the second on
        with torch.autocast("cpu", torch.bfloat16):
            loss = reader.loss(reader.collate([reader.encode(picture, "Read the key. Answer in JSON.", answer)]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
    return parameters, sum(value.numel() for value in trained), opened, _peak()


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _table() -> None:
    tokens = {"smolvlm_256m": 64, "smolvlm2_500m": 64, "lfm2_vl": 100, "qwen3_vl_2b": 100, "gemma3n_e4b": 256}
    for name, size in SIZES.items():
        adaptation = Adaptation(
            rank=32 if name == "gemma3n_e4b" else 16,
            gradient_checkpointing=name in ("qwen3_vl_2b", "gemma3n_e4b"),
        )
        found = estimate(size, adaptation, tokens[name])
        figures = (found.weights, found.step, found.weights_4bit, found.step_4bit)
        sizes = " | ".join(f"{figure / 1e9:.2f}" for figure in figures)
        print(f"| {name} | {found.parameters / 1e6:,.0f} | {found.adapters / 1e6:.1f} | {sizes} |")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _table()
    else:
        count, trained, opened, peak = measured(sys.argv[1], sys.argv[2], Adaptation())
        print(f"{count / 1e6:,.0f} M parameters, {trained / 1e6:.1f} M trained")
        print(f"{opened / 1e9:.2f} GB with the model open, {peak / 1e9:.2f} GB at the peak of a step")
