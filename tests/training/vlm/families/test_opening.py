"""Checkpoints that are refused, pictures as other libraries prepare them, and settings that must not leak in."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from safelight.errors import ConfigError, WeightsError
from safelight.reader.picture import to_input
from tests.training.vlm.families.checkpoints import PROMPT
from training.vlm.families import open_reader


@pytest.fixture
def copied(folders, tmp_path):
    return lambda name: shutil.copytree(folders(name), tmp_path / name)


def test_smolvlm_takes_the_picture_that_export_and_serving_take(opened, pictures):
    reader, kind = opened("smolvlm")
    values = reader.encode(pictures[0], PROMPT).inputs["pixel_values"]
    assert values.shape == (1, 3, kind.side, kind.side)
    np.testing.assert_array_equal(values[0].numpy(), to_input(pictures[0], kind.side))


def test_qwen_patches_are_those_of_transformers(opened, pictures):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    reader, kind = opened("qwen3_vl")
    square = np.ascontiguousarray(pictures[0][:, :24]).repeat(2, 0).repeat(2, 1)[: kind.side, : kind.side]
    theirs = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, do_resize=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )(square, return_tensors="pt")
    ours = reader.encode(square, PROMPT).inputs
    torch.testing.assert_close(ours["pixel_values"], theirs["pixel_values"])
    assert ours["image_grid_thw"].equal(theirs["image_grid_thw"])


def test_lfm2_patches_rebuild_the_picture(opened, pictures):
    reader, kind = opened("lfm2_vl")
    patches = reader.encode(pictures[0], PROMPT).inputs["pixel_values"].reshape(4, 4, 8, 8, 3)
    rebuilt = patches.permute(4, 0, 2, 1, 3).reshape(3, kind.side, kind.side)
    torch.testing.assert_close(rebuilt, torch.from_numpy(to_input(pictures[0], kind.side)))


def test_gemma_pictures_are_in_0_to_1_unless_the_checkpoint_says_otherwise(copied, pictures):
    folder = copied("gemma3n")
    plain = open_reader(str(folder), "gemma3n", image_side=32).encode(pictures[0], PROMPT).inputs["pixel_values"]
    assert plain.min() >= 0
    settings = {"do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    scaled = open_reader(str(folder), "gemma3n", image_side=32).encode(pictures[0], PROMPT).inputs["pixel_values"]
    expected = (plain - 0.5) / torch.tensor([0.25, 0.5, 0.5])[:, None, None]
    torch.testing.assert_close(scaled, expected)


def test_the_checkpoint_s_own_wish_for_decoding_is_set_aside(opened, pictures):
    reader, _ = opened("smolvlm")
    expected = reader.generate(pictures, PROMPT, 12)
    own = reader.model.generation_config
    own.do_sample, own.temperature, own.repetition_penalty, own.no_repeat_ngram_size = True, 5.0, 9.0, 1
    assert reader.generate(pictures, PROMPT, 12) == expected
    assert reader.generate([], PROMPT, 12) == []


def test_every_weight_is_frozen_at_first(opened):
    reader, _ = opened("smolvlm")
    assert not any(value.requires_grad for value in reader.model.parameters())


@pytest.mark.parametrize(
    ("name", "side"), [("smolvlm", 24), ("smolvlm", 64), ("qwen3_vl", 24), ("lfm2_vl", 8), ("gemma3n", 24)]
)
def test_sides_that_a_network_does_not_take(folders, name, side):
    with pytest.raises(ConfigError, match="image_side"):
        open_reader(str(folders(name)), name, image_side=side)


def test_smolvlm_s_own_side(folders):
    assert open_reader(str(folders("smolvlm")), "smolvlm").image_side == 32


def test_refused_options(folders):
    folder = str(folders("smolvlm"))
    with pytest.raises(ConfigError, match="family"):
        open_reader(folder, "llava")
    with pytest.raises(ConfigError, match="dtype"):
        open_reader(folder, "smolvlm", dtype="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_four_bits_say_what_is_missing(folders):
    with pytest.raises(ConfigError, match="a CUDA device"):
        open_reader(str(folders("smolvlm")), "smolvlm", four_bit=True, dtype="bfloat16")


def test_checkpoints_that_cannot_be_read(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"config\.json"):
        open_reader(str(tmp_path / "empty"), "smolvlm")
    wordless = copied("smolvlm")
    (wordless / "chat_template.jinja").unlink()
    with pytest.raises(WeightsError, match="chat template"):
        open_reader(str(wordless), "smolvlm")
    (wordless / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(WeightsError, match="damaged"):
        open_reader(str(wordless), "smolvlm")


def test_template_beside_the_processor(copied):
    folder = copied("smolvlm")
    template = (folder / "chat_template.jinja").read_text()
    expected = open_reader(str(folder), "smolvlm").prompt_ids(PROMPT)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert open_reader(str(folder), "smolvlm").prompt_ids(PROMPT) == expected


def test_a_prompt_must_not_place_pictures_of_its_own(opened):
    reader, _ = opened("smolvlm")
    with pytest.raises(ConfigError, match="one picture"):
        reader.prompt_ids("Read <image>.")


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_gemma_without_timm_says_so(folders, monkeypatch):
    from transformers import AutoModel
    from transformers.models.gemma3n.configuration_gemma3n import Gemma3nVisionConfig

    folder = folders("gemma3n")
    monkeypatch.delitem(AutoModel._model_mapping._extra_content, Gemma3nVisionConfig)
    with pytest.raises(WeightsError, match="timm"):
        open_reader(str(folder), "gemma3n", image_side=32)
