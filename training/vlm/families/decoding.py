"""Greedy decoding with the probability of what was chosen. Knows nothing of pictures, prompts or answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.vlm.interface import Generated


class _Chosen:
    """Notes the log-probability of the likeliest token at each step, which is the one that greedy decoding takes.

    Keeping all logits instead would take gigabytes with a vocabulary of 260,000.
    """

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores


def greedy(
    model: nn.Module,
    tokenizer: Any,
    inputs: Mapping[str, Tensor],
    *,
    max_new_tokens: int,
    end_id: int,
    pad_id: int,
) -> list[Generated]:
    """Continue a batch that is padded at the left: `input_ids`, `attention_mask` `(B, T)` and what the model wants besides.

    What the checkpoint's own generation_config.json asks for (sampling, penalties) is set aside.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    chosen = _Chosen()
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        eos_token_id=end_id,
        pad_token_id=pad_id,
        use_cache=True,
    )
    ids: Tensor = model.generate(  # type: ignore[operator]
        **inputs, generation_config=settings, logits_processor=LogitsProcessorList([chosen])
    )
    new = ids[:, inputs["input_ids"].shape[1] :].tolist()
    each = torch.stack(chosen.steps, 1).tolist()
    return [_generated(tokenizer, row, logs, end_id) for row, logs in zip(new, each, strict=True)]


def _generated(tokenizer: Any, row: list[int], logs: list[float], end_id: int) -> Generated:
    ended = end_id in row
    count = row.index(end_id) + 1 if ended else len(row)
    words = row[: count - 1] if ended else row
    text = tokenizer.decode(words, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Generated(text, tuple(row[:count]), sum(logs[:count]), tuple(logs[:count]))
