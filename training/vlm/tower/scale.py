"""The last step of teaching a tower: image tokens as long as words. Knows nothing of how they were learnt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def as_long_as_words(model: Any, pictures: Tensor) -> float:
    """Scale the connector of a SmolVLM, in place, so that the image tokens of `(B, 3, S, S)` pictures are as long as its
    word embeddings are, at the median. Returns the factor. What they point at does not change."""
    with torch.no_grad():
        seen = model.model.connector(model.model.vision_model(pixel_values=pictures).last_hidden_state)
        words = model.get_input_embeddings().weight
        factor = float(words.norm(dim=-1).median() / seen.norm(dim=-1).median())
        model.model.connector.modality_projection.proj.weight.mul_(factor)
    return factor
