"""The vision tower and the connector of a SmolVLM-architecture model as one function of pictures and LoRA matrices.

It calls the model's own layers in the order in which transformers does. Knows nothing of ONNX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.vlm.export.linear import Lora, apply
from training.vlm.families.views import Shift, looks, mean


class Vision(nn.Module):
    """Pictures `(B, 3, S, S)` in [-1, 1] to image features `(B, N, H)`.

    model: a SmolVLMModel. side: S. views: by which a picture is moved for each look, of which the mean is taken. A picture
    covers its square wholly, so that no patch is masked and the positions of all pictures are alike: they are asked of the
    model once, and kept.
    """

    positions: Tensor

    def __init__(self, model: Any, side: int, views: Sequence[Shift] = ((0, 0),)) -> None:
        super().__init__()
        self.views = tuple(views)
        self.tower, self.connector = model.vision_model, model.connector
        self.register_buffer("positions", _positions(model.vision_model, side), persistent=False)

    def forward(self, pixel_values: Tensor, lora: Lora) -> Tensor:
        embeddings = self.tower.embeddings
        hidden = embeddings.patch_embedding(looks(pixel_values, self.views)).flatten(2).transpose(1, 2) + self.positions
        for i, layer in enumerate(self.tower.encoder.layers):
            hidden = _layer(layer, f"vision_model.encoder.layers.{i}", hidden, lora)
        hidden = self.tower.post_layernorm(hidden)
        shuffled = self.connector.pixel_shuffle(hidden, self.connector.scale_factor)
        said = apply(self.connector.modality_projection.proj, "connector.modality_projection.proj", shuffled, lora)
        return mean(said, len(self.views))


@torch.no_grad()
def _positions(tower: Any, side: int) -> Tensor:
    """The position embeddings `(patches, E)` of a picture of this side, as the model itself picks them."""
    taken: list[Tensor] = []
    hook = tower.embeddings.position_embedding.register_forward_hook(lambda _, __, output: taken.append(output))
    weight = tower.embeddings.patch_embedding.weight
    try:
        tower.embeddings(
            weight.new_zeros(1, weight.shape[1], side, side),
            torch.ones(1, side // tower.patch_size, side // tower.patch_size, dtype=torch.bool, device=weight.device),
        )
    finally:
        hook.remove()
    return taken[0][0].clone()


def _layer(layer: Any, path: str, hidden: Tensor, lora: Lora) -> Tensor:
    hidden = hidden + _attention(layer.self_attn, f"{path}.self_attn", layer.layer_norm1(hidden), lora)
    inner = apply(layer.mlp.fc1, f"{path}.mlp.fc1", layer.layer_norm2(hidden), lora)
    return hidden + apply(layer.mlp.fc2, f"{path}.mlp.fc2", layer.mlp.activation_fn(inner), lora)


def _attention(attention: Any, path: str, x: Tensor, lora: Lora) -> Tensor:
    batch, length, width = x.shape

    def heads(name: str) -> Tensor:
        projected = apply(getattr(attention, name), f"{path}.{name}", x, lora)
        return projected.view(batch, length, attention.num_heads, attention.head_dim).transpose(1, 2)

    weights = heads("q_proj") @ heads("k_proj").transpose(2, 3) * attention.scale
    mixed = (torch.softmax(weights, dim=-1) @ heads("v_proj")).transpose(1, 2).reshape(batch, length, width)
    return apply(attention.out_proj, f"{path}.out_proj", mixed, lora)
