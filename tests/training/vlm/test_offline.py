"""offline_135m: the language model stays what it was, and the whole is loaded like any model of the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from safelight.errors import ConfigError, WeightsError
from training.vlm.families import open_reader
from training.vlm.offline import AROUND, IMAGE, Tower, assemble, language_model
from training.vlm.tower.scale import as_long_as_words

GGUF = Path("data/language_models/SmolLM2-135M-Instruct.Q4_1.gguf")
TOWER = Tower(image_side=56, patch=14, width=32, layers=2, heads=2, merged=2)


def small() -> tuple[LlamaForCausalLM, Any]:
    """A language model as SmolLM2 is one, with a tokenizer made on the spot."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["What is it?"], trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), fast


def test_the_language_model_says_what_it_said() -> None:
    language, tokenizer = small()
    ids = torch.tensor([tokenizer.encode("What is it?")])
    before = language(ids).logits
    model, _ = assemble(language, tokenizer, TOWER, seed=0)
    after = model.eval()(input_ids=ids).logits
    torch.testing.assert_close(after[..., : before.shape[-1]], before, atol=1e-5, rtol=1e-5)
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_it_is_loaded_like_any_other(tmp_path: Path) -> None:
    model, tokenizer = assemble(*small(), TOWER, seed=0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reader = open_reader(str(tmp_path), "smolvlm")
    prompt = tokenizer.decode(reader.prompt_ids("What?"))
    picture = AROUND + IMAGE * TOWER.image_tokens + AROUND
    assert prompt == f"<|im_start|>user\nWhat?{picture}<|im_end|>\n<|im_start|>assistant\n"
    pixels = np.random.default_rng(0).integers(0, 256, (56, 56, 3), np.uint8)
    (said,) = reader.generate([pixels], "What?", 4)
    assert 1 <= len(said.token_ids) <= 4


def test_a_seed_is_a_tower() -> None:
    one, same, other = (assemble(*small(), TOWER, seed=seed)[0].state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(*(state["model.connector.modality_projection.proj.weight"] for state in (one, other)))


def test_image_tokens_become_as_long_as_words() -> None:
    model, _ = assemble(*small(), TOWER, seed=0)
    pictures = torch.rand(3, 3, 56, 56) * 2 - 1

    def length() -> torch.Tensor:
        with torch.no_grad():
            seen = model.model.vision_model(pixel_values=pictures).last_hidden_state
            return model.model.connector(seen).norm(dim=-1).median()

    before, words = length(), model.get_input_embeddings().weight.detach().norm(dim=-1).median()
    factor = as_long_as_words(model, pictures)
    assert factor == pytest.approx(float(words / before))
    torch.testing.assert_close(length(), words)


@pytest.mark.parametrize("wrong", [{"image_side": 60}, {"heads": 3}, {"merged": 3}])
def test_a_tower_that_does_not_fit_together_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="tower"):
        Tower(**(vars(TOWER) | wrong))


def test_a_file_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"pipelines\.reader\.fetch"):
        language_model(tmp_path / "none.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(WeightsError, match="no GGUF file"):
        language_model(tmp_path / "broken.gguf")


@pytest.mark.skipif(not GGUF.is_file(), reason="the language model was not fetched (python -m pipelines.reader.fetch)")
def test_the_real_language_model_answers() -> None:
    language, tokenizer = language_model(GGUF)
    model, tokenizer = assemble(language, tokenizer, Tower(336, 28, 192, 6, 3, 2), seed=0)
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = torch.tensor([tokenizer.encode(asked, add_special_tokens=False)])
    said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, ids.shape[1] :])
