"""Linear layers to which LoRA matrices are inputs: which ones there are, and how their sum is written.

Knows nothing of ONNX and of how matrices were trained. Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language
Models", 2021.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from safelight.errors import ConfigError

Lora = Mapping[str, tuple[Tensor, Tensor]]
"""Path of a layer to its (A `(r, inputs)`, B `(outputs, r)`), the scale folded into B."""

TEXT = "text_model."
"""How the paths begin that belong to the decoder; all others belong to the vision graph."""
_PARTS = (TEXT, "vision_model.", "connector.")


def adaptable(model: nn.Module, wanted: Iterable[str] | None = None) -> dict[str, tuple[int, int]]:
    """Path to (inputs, outputs) of each linear layer of a SmolVLMModel, in the model's order.

    wanted: names that a path ends with, such as `q_proj`, or whole paths; all when None. Raises ConfigError when a wanted
    one is in no path.
    """
    found = {
        path: (module.in_features, module.out_features)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and path.startswith(_PARTS)
    }
    if wanted is None:
        return found
    ends = tuple(wanted)
    for end in ends:
        if not any(_ends(path, end) for path in found):
            raise ConfigError(f"Expected linear layers of the model, it has none called {end}.")
    return {path: sizes for path, sizes in found.items() if any(_ends(path, end) for end in ends)}


def apply(linear: nn.Module, path: str, x: Tensor, lora: Lora) -> Tensor:
    """`Wx + B(Ax)`, or `Wx` where the layer takes no matrices. x: `(..., inputs)`."""
    y: Tensor = linear(x)
    if path not in lora:
        return y
    a, b = lora[path]
    return y + (x @ a.transpose(0, 1)) @ b.transpose(0, 1)


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f".{end}")
