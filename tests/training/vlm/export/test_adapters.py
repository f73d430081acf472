"""From PEFT's adapters to the matrices that graphs take."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from safelight.errors import ConfigError, WeightsError
from tests.training.vlm.export.taught import opened
from training.vlm.export.adapters import lora_matrices, write_adapter
from training.vlm.export.linear import adaptable
from training.vlm.families import Adaptation, adapt


@pytest.fixture
def saved(exported, tmp_path):
    """A fresh adapter with matrices at random, saved, and the reader that has it."""

    def save(**adaptation):
        reader = opened(exported.folder.parent / "base")
        torch.manual_seed(1)
        adapt(reader, Adaptation(rank=4, alpha=8, **adaptation))
        with torch.no_grad():
            for name, parameter in reader.model.named_parameters():
                if "lora_" in name:
                    parameter.normal_()
        reader.save_adapter(tmp_path / "adapter")
        return reader, tmp_path / "adapter"

    return save


@pytest.mark.parametrize("kind", ["lora", "rslora"])
def test_what_is_added_is_what_peft_adds(exported, saved, kind):
    reader, folder = saved(kind=kind, modules=["q_proj", "down_proj"], connector="lora")
    made = lora_matrices(folder, exported.adapted)
    merged = dict(reader.merged().model.model.named_parameters())
    base = dict(exported.base.model.model.named_parameters())
    trained = 0
    for path in exported.adapted:
        added = made[f"lora.{path}.B"] @ made[f"lora.{path}.A"]
        expected = (merged[f"{path}.weight"] - base[f"{path}.weight"]).detach().numpy()
        np.testing.assert_allclose(added, expected, atol=1e-4)
        trained += bool(added.any())
    assert trained == 5  # two of each of two layers, and the connector
    assert {len(value) for name, value in made.items() if name.endswith(".A")} == {4}


def test_smaller_ranks_are_filled_up(exported, saved):
    _, folder = saved(modules=["q_proj"])
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["rank_pattern"] == {}
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file

    weights = load(str(folder / "adapter_model.safetensors"))
    small = next(name for name in weights if "layers.0" in name and "lora_A" in name)
    weights[small] = weights[small][:2].contiguous()
    other = small.replace("lora_A", "lora_B")
    weights[other] = weights[other][:, :2].contiguous()
    save_file(weights, str(folder / "adapter_model.safetensors"))
    made = lora_matrices(folder, exported.adapted)
    a, b = (made[f"lora.text_model.layers.0.self_attn.q_proj.{side}"] for side in "AB")
    assert a.shape[0] == b.shape[1] == 4 and not a[2:].any() and not b[:, 2:].any()
    np.testing.assert_allclose(b[:, :2], weights[other].numpy() * 8 / 2)  # alpha / its own rank


def test_the_file_holds_the_names_that_the_graphs_take(exported, tmp_path):
    assert write_adapter(exported.matrices, tmp_path / "adapter.safetensors") == 4
    found = load_file(tmp_path / "adapter.safetensors")
    assert set(found) == {f"lora.{path}.{side}" for path in exported.adapted for side in "AB"}
    inputs = {node.name for g in (exported.graphs.vision, exported.graphs.decoder) for node in g.get_inputs()}
    assert set(found) == {name for name in inputs if name.startswith("lora.")}
    assert all(value.dtype == np.float32 for value in found.values())


@pytest.mark.parametrize(
    ("adaptation", "message"),
    [({"kind": "dora"}, "DoRA.*Merge it"), ({"connector": "full"}, "trained whole.*Merge it")],
)
def test_what_two_matrices_cannot_say_is_refused(exported, saved, adaptation, message):
    _, folder = saved(**adaptation)
    with pytest.raises(ConfigError, match=message):
        lora_matrices(folder, exported.adapted)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("alpha_pattern", {"q_proj": 2}), ("bias", "all"), ("fan_in_fan_out", True), ("lora_bias", True)],
)
def test_settings_that_change_the_sum_are_refused(exported, saved, setting, value):
    _, folder = saved()
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {setting: value}))
    with pytest.raises(ConfigError, match=f"sets {setting}"):
        lora_matrices(folder, exported.adapted)


def test_layers_whose_matrices_the_graphs_do_not_take_are_refused(exported, saved):
    _, folder = saved(vision="lora")
    with pytest.raises(ConfigError, match="vision_model"):
        lora_matrices(folder, {p: s for p, s in exported.adapted.items() if p.startswith("text_model.")})


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_damaged_adapter_is_refused(exported, saved, name):
    _, folder = saved()
    (folder / name).write_bytes(b"{")
    with pytest.raises(WeightsError):
        lora_matrices(folder, exported.adapted)


def test_layers_are_chosen_by_the_ends_of_their_paths(exported):
    model = exported.base.model.model
    assert list(adaptable(model, ["layers.1.mlp.up_proj"])) == ["text_model.layers.1.mlp.up_proj"]
    assert adaptable(model, ["connector.modality_projection.proj"]) == {"connector.modality_projection.proj": (128, 32)}
    assert "lm_head" not in " ".join(adaptable(model))
    with pytest.raises(ConfigError, match="none called proj_q"):
        adaptable(model, ["proj_q"])
