"""A small base at random with a tokenizer trained on the spot, of the real one's structure: for rehearsals."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness import readers
from safelight.reader.task import Task
from training.vlm.offline import END, Tower, assemble

_SPECIAL = ["<|endoftext|>", "<|im_start|>", END]


def small_base(folder: Path, task: Task) -> None:
    """Put one together, save it."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(task)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    tower = Tower(image_side=task.image_side, patch=8, width=64, layers=2, heads=4, merged=4)
    model, tokenizer = assemble(LlamaForCausalLM(text), tokenizer, tower, seed=0)
    with torch.no_grad():  # large enough for a few hundred steps on the matrices alone to say anything with
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1 / math.sqrt(parameter[0].numel()))
        model.get_input_embeddings().weight.mul_(4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(task: Task) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    _, answers = readers.drawn(task, 200, 12)
    made.train_from_iterator([*answers, task.prompt, "user assistant"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token=_SPECIAL[0], eos_token=END)
