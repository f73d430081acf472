"""Every family on a tiny checkpoint: prompt, loss, LoRA steps, adapter saved and loaded, merged, saved whole, generation."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.vlm.families.checkpoints import ANSWERS, KINDS, PROMPT, logits, trained
from training.vlm.families import Adaptation, adapt, load_adapter, open_reader
from training.vlm.interface import IGNORED

NAMES = sorted(KINDS)
SHARP = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("name", NAMES)
def test_prompt_has_its_text_before_the_picture_and_one_token_for_each_feature(opened, pictures, name):
    reader, kind = opened(name)
    ids = reader.prompt_ids(PROMPT)
    image = reader.tokenizer.convert_tokens_to_ids(kind.image)
    words = reader.tokenizer.decode(ids)
    assert ids.count(image) == kind.image_tokens
    assert words.index(PROMPT) < words.index(kind.image)
    assert reader.encode(pictures[0], PROMPT).inputs["input_ids"].tolist() == ids


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_the_answer_and_its_end_alone(opened, pictures, name):
    reader, kind = opened(name)
    example = reader.encode(pictures[0], PROMPT, ANSWERS[0])
    answered = example.labels != IGNORED
    ids = example.inputs["input_ids"]
    assert reader.tokenizer.decode(example.labels[answered]) == ANSWERS[0] + kind.end
    assert ids[answered].equal(example.labels[answered])
    assert ids[~answered].tolist() == reader.prompt_ids(PROMPT)
    assert len(example) == len(ids)


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_cross_entropy_of_the_answers_whatever_the_padding(opened, batch, pictures, name):
    reader, _ = opened(name)
    both = batch(reader)
    given = functional.log_softmax(logits(reader, both)[:, :-1], -1)
    wanted = both["labels"][:, 1:]
    chosen = given.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    expected = -chosen[wanted != IGNORED].mean()
    torch.testing.assert_close(reader.loss(both), expected, **SHARP)
    shorter = reader.collate([reader.encode(pictures[1], PROMPT, ANSWERS[1])])
    alone = -chosen[1][wanted[1] != IGNORED].mean()
    torch.testing.assert_close(reader.loss(shorter), alone, **SHARP)


@pytest.mark.parametrize("name", NAMES)
def test_other_pictures_give_other_logits(opened, pictures, name):
    reader, _ = opened(name)
    first, second = (reader.collate([reader.encode(picture, PROMPT, ANSWERS[0])]) for picture in pictures[:2])
    assert not torch.allclose(logits(reader, first)[0, -1], logits(reader, second)[0, -1], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_lora_learns_and_comes_back(opened, batch, pictures, tmp_path, name):
    reader, _ = opened(name)
    untouched = logits(reader, batch(reader))
    adapt(reader, Adaptation(rank=4, alpha=8))
    torch.testing.assert_close(logits(reader, batch(reader)), untouched, **SHARP)  # B starts at zero
    losses = trained(reader, batch(reader))
    assert losses[-1] < 0.7 * losses[0]

    reader.save_adapter(tmp_path / "adapter")
    fresh, _ = opened(name)
    load_adapter(fresh, tmp_path / "adapter")
    expected = logits(reader, batch(reader))
    assert logits(fresh, batch(fresh)).equal(expected)
    assert not any(value.requires_grad for value in fresh.model.parameters())

    merged = reader.merged()
    assert not [key for key, _ in merged.model.named_parameters() if "lora" in key]
    torch.testing.assert_close(logits(merged, batch(merged)), expected, **SHARP)
    apart = reader.generate(pictures, PROMPT, 12)
    assert [each.token_ids for each in merged.generate(pictures, PROMPT, 12)] == [each.token_ids for each in apart]
    assert logits(reader, batch(reader)).equal(expected)  # merging left the adapters where they were


@pytest.mark.parametrize("name", NAMES)
def test_saved_whole_it_opens_as_any_checkpoint(opened, batch, tmp_path, name):
    reader, kind = opened(name)
    adapt(reader, Adaptation(rank=4, alpha=8))
    trained(reader, batch(reader), steps=2)
    reader.save(tmp_path)
    again = open_reader(str(tmp_path), kind.family, image_side=kind.side)
    torch.testing.assert_close(logits(again, batch(again)), logits(reader, batch(reader)), **SHARP)
    assert again.prompt_ids(PROMPT) == reader.prompt_ids(PROMPT)


@pytest.mark.parametrize("name", NAMES)
def test_generation_in_a_batch_is_generation_one_by_one(opened, pictures, name):
    reader, _ = opened(name)
    prompts = (PROMPT, "Read.", PROMPT * 2)
    examples = [reader.encode(picture, prompt) for picture, prompt in zip(pictures, prompts, strict=True)]
    assert len({len(example) for example in examples}) == 3
    together = reader.generate_from(examples, 12)
    apart = [reader.generate_from([example], 12)[0] for example in examples]
    assert [each.token_ids for each in together] == [each.token_ids for each in apart]
    np.testing.assert_allclose(
        [each.log_probability for each in together], [each.log_probability for each in apart], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_log_probabilities_are_those_of_one_pass_over_the_answer(opened, pictures, name):
    reader, _ = opened(name)
    example = reader.encode(pictures[0], PROMPT)
    found = reader.generate_from([example], 6)[0]
    whole = torch.tensor([*example.inputs["input_ids"].tolist(), *found.token_ids])
    extended = {**example.inputs, "input_ids": whole}
    if "mm_token_type_ids" in extended:
        extended["mm_token_type_ids"] = functional.pad(extended["mm_token_type_ids"], (0, len(found.token_ids)))
    given = logits(reader, reader.collate([type(example)(extended, torch.full_like(whole, IGNORED))]))
    steps = given[0, len(example) - 1 : -1].log_softmax(-1)
    expected = steps[range(len(found.token_ids)), list(found.token_ids)]
    np.testing.assert_allclose(found.token_log_probabilities, expected, rtol=1e-3, atol=1e-4)
    assert found.log_probability == pytest.approx(sum(found.token_log_probabilities))


@pytest.mark.parametrize("name", NAMES)
def test_a_learnt_answer_ends_and_reads_back(opened, pictures, name):
    reader, _ = opened(name)
    adapt(reader, Adaptation(rank=8, alpha=16))
    learnt = reader.collate([reader.encode(pictures[0], PROMPT, ANSWERS[1])])
    loss = trained(reader, learnt, steps=100)[-1]
    assert loss < 0.4
    reader.model.train()
    answer = reader.generate(pictures[:1], PROMPT, 60)[0]
    assert answer.text == ANSWERS[1]
    assert answer.token_ids[-1] == reader.eos_id
    assert -answer.log_probability / len(answer.token_ids) == pytest.approx(loss, abs=0.02)
    assert reader.model.training  # as it was found


@pytest.mark.parametrize("name", NAMES)
def test_vision_and_connector_are_trained_as_asked(opened, batch, tmp_path, name):
    reader, kind = opened(name)
    vision = "full" if kind.family == "gemma3n" else "lora"  # its tower is made of convolutions
    before = {key: value.clone() for key, value in reader.base.named_parameters()}
    adapt(reader, Adaptation(rank=4, alpha=8, vision=vision, connector="full"))
    trained(reader, batch(reader), steps=3)
    changed = {key for key, value in reader.base.named_parameters() if key in before and not value.equal(before[key])}
    assert changed
    assert {reader.part(key) for key in changed} == ({"vision", "connector"} if vision == "full" else {"connector"})
    assert not [key for key, _ in reader.base.named_parameters() if reader.part(key) == "unused" and "lora" in key]
    assert any("lora_A" in key for key, _ in reader.base.named_parameters() if reader.part(key) == "vision") == (
        vision == "lora"
    )

    reader.save_adapter(tmp_path)
    fresh, _ = opened(name)
    load_adapter(fresh, tmp_path)
    assert logits(fresh, batch(fresh)).equal(logits(reader, batch(reader)))
    torch.testing.assert_close(logits(reader.merged(), batch(reader)), logits(reader, batch(reader)), **SHARP)
