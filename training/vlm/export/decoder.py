"""The language model of a SmolVLM-architecture model as a function of embeddings, an explicit KV cache and LoRA matrices.

It calls the model's own layers in the order in which transformers does. Knows nothing of ONNX, sampling and pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from training.vlm.export.linear import TEXT, Lora, apply

Cache = Sequence[Tensor]
"""Keys and values `(B, KV, P, D)` of each layer in turn: key 0, value 0, key 1, ..."""


class Decoder(nn.Module):
    """T new rows after P old ones to the logits at one place of each sequence, and to the cache of all P + T.

    model: a SmolVLMForConditionalGeneration around a Llama. Causal among the new rows; a column that the mask says 0 of is
    never attended, wherever it stands.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.head = model.model.text_model, model.lm_head

    def forward(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        logit_positions: Tensor,
        past: Cache,
        lora: Lora,
    ) -> tuple[Tensor, ...]:
        """(logits `(B, V)`, and the new cache). inputs_embeds: `(B, T, H)`. attention_mask: `(B, P + T)`. position_ids:
        `(B, T)`. logit_positions: `(B,)`, which of the T."""
        rotation = self.text.rotary_emb(inputs_embeds, position_ids=position_ids)
        bias = _bias(attention_mask, past[0].shape[2], inputs_embeds)
        hidden, present = inputs_embeds, []
        for i, layer in enumerate(self.text.layers):
            path = f"{TEXT}layers.{i}"
            mixed, key, value = _attention(
                layer.self_attn,
                f"{path}.self_attn",
                _normal(layer.input_layernorm, hidden),
                (past[2 * i], past[2 * i + 1]),
                rotation,
                bias,
                lora,
            )
            present += [key, value]
            hidden = hidden + mixed
            hidden = hidden + _mlp(layer.mlp, f"{path}.mlp", _normal(layer.post_attention_layernorm, hidden), lora)
        wanted = logit_positions[:, None, None].expand(-1, 1, hidden.shape[2])
        last = _normal(self.text.norm, hidden.gather(1, wanted))
        return self.head(last).squeeze(1), *present  # a product of three dimensions: what quantisers look for


def _normal(norm: Any, x: Tensor) -> Tensor:
    """The model's RMS norm, with a root and a quotient in place of a reciprocal root: so ONNX Runtime makes it one operator.
    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019."""
    scaled: Tensor = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    weight: Tensor = norm.weight
    return scaled * weight


def _bias(attention_mask: Tensor, old: int, x: Tensor) -> Tensor:
    """What is added to attention weights, `(B, 1, 1, T, P + T)`: 0 where a row may look, and the least finite number
    elsewhere, so that a row which may look nowhere (padding) comes out finite."""
    new = x.shape[1]
    rows = torch.arange(new, device=x.device)[:, None] + old
    columns = torch.arange(attention_mask.shape[1], device=x.device)[None, :]
    allowed = (columns <= rows)[None] & (attention_mask > 0)[:, None, :]
    least = torch.full((), torch.finfo(x.dtype).min, dtype=x.dtype)
    return torch.where(allowed, torch.zeros((), dtype=x.dtype), least)[:, None, None]


def _attention(
    attention: Any,
    path: str,
    x: Tensor,
    past: tuple[Tensor, Tensor],
    rotation: tuple[Tensor, Tensor],
    bias: Tensor,
    lora: Lora,
) -> tuple[Tensor, Tensor, Tensor]:
    """Grouped-query attention: the queries that share a key lie beside each other, so that no key is repeated. Source:
    Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models", 2023."""
    batch, length, _ = x.shape
    width, group = attention.head_dim, attention.num_key_value_groups

    def heads(name: str) -> Tensor:
        projected = apply(getattr(attention, name), f"{path}.{name}", x, lora)
        return projected.view(batch, length, -1, width).transpose(1, 2)

    query, key = apply_rotary_pos_emb(heads("q_proj"), heads("k_proj"), *rotation)
    key = torch.cat([past[0], key], dim=2)
    value = torch.cat([past[1], heads("v_proj")], dim=2)
    shared = key.shape[1]
    asked = query.reshape(batch, shared, group * length, width)
    weights = (asked @ key.transpose(2, 3) * attention.scaling).view(batch, shared, group, length, -1) + bias
    mixed = torch.softmax(weights, dim=-1).view(batch, shared, group * length, -1) @ value
    merged = mixed.view(batch, shared * group, length, width).transpose(1, 2).reshape(batch, length, -1)
    return apply(attention.o_proj, f"{path}.o_proj", merged, lora), key, value


def _mlp(mlp: Any, path: str, x: Tensor, lora: Lora) -> Tensor:
    gate = apply(mlp.gate_proj, f"{path}.gate_proj", x, lora)
    up = apply(mlp.up_proj, f"{path}.up_proj", x, lora)
    return apply(mlp.down_proj, f"{path}.down_proj", mlp.act_fn(gate) * up, lora)
