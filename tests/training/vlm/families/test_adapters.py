"""Kinds of adapters, what is refused, and what an adapter's folder holds."""

import json
from dataclasses import replace

import pytest
import torch

from safelight.errors import ConfigError, WeightsError
from tests.training.vlm.families.checkpoints import logits, trained
from training.vlm.families import Adaptation, adapt, load_adapter

LORA = Adaptation(rank=4, alpha=8)


@pytest.mark.parametrize("name", ["smolvlm", "lfm2_vl"])
@pytest.mark.parametrize("kind", ["dora", "rslora"])
def test_kinds(opened, batch, tmp_path, name, kind):
    reader, _ = opened(name)
    adapt(reader, replace(LORA, kind=kind, dropout=0.1))
    losses = trained(reader, batch(reader))
    assert losses[-1] < 0.7 * losses[0]
    reader.save_adapter(tmp_path)
    fresh, _ = opened(name)
    load_adapter(fresh, tmp_path)
    expected = logits(reader, batch(reader))
    assert logits(fresh, batch(fresh)).equal(expected)
    torch.testing.assert_close(logits(reader.merged(), batch(reader)), expected, rtol=1e-4, atol=1e-5)


def test_the_kinds_differ(opened):
    scales, magnitudes = {}, {}
    for kind in ("lora", "dora", "rslora"):
        reader, _ = opened("smolvlm")
        adapt(reader, replace(LORA, kind=kind))
        layer = reader.base.get_submodule("model.text_model.layers.0.self_attn.q_proj")
        scales[kind] = layer.scaling["default"]
        magnitudes[kind] = len(layer.lora_magnitude_vector)
    assert scales == {"lora": 2.0, "dora": 2.0, "rslora": 4.0}
    assert magnitudes == {"lora": 0, "dora": 1, "rslora": 0}


def test_chosen_modules_alone_are_adapted(opened):
    reader, _ = opened("smolvlm")
    adapt(reader, replace(LORA, modules=["q_proj"], vision="lora", connector="lora"))
    adapted = {key.partition(".lora_A")[0] for key, _ in reader.base.named_parameters() if "lora_A" in key}
    blocks = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"]
    assert adapted == {
        *(f"model.text_model.layers.{index}.self_attn.q_proj" for index in range(2)),
        *(f"model.vision_model.encoder.layers.{index}.{block}" for index in range(2) for block in blocks),
        "model.connector.modality_projection.proj",
    }


def test_gradient_checkpointing_changes_no_gradient(opened, batch):
    found = []
    for checkpointing in (False, True):
        reader, _ = opened("smolvlm")
        torch.manual_seed(0)
        adapt(reader, replace(LORA, vision="lora", gradient_checkpointing=checkpointing))
        assert reader.base.is_activation_checkpointing is checkpointing
        reader.model.train()
        reader.loss(batch(reader)).backward()
        found.append({key: value.grad for key, value in reader.model.named_parameters() if value.requires_grad})
    assert found[0]
    torch.testing.assert_close(found[0], found[1])


def test_bfloat16_trains_and_its_adapters_are_float32(opened, batch):
    reader, _ = opened("smolvlm", dtype="bfloat16")
    adapt(reader, LORA)
    kept = {value.dtype for value in reader.model.parameters() if not value.requires_grad}
    learnt = {value.dtype for value in reader.model.parameters() if value.requires_grad}
    assert (kept, learnt) == ({torch.bfloat16}, {torch.float32})
    losses = trained(reader, batch(reader))
    assert losses[-1] < 0.7 * losses[0]


def test_a_folder_names_no_path(opened, tmp_path):
    reader, _ = opened("smolvlm")
    adapt(reader, LORA)
    reader.save_adapter(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "adaptation.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] is None


def test_loaded_to_train_on(opened, batch, tmp_path):
    reader, _ = opened("smolvlm")
    adapt(reader, replace(LORA, connector="full"))
    wanted = {key for key, value in reader.model.named_parameters() if value.requires_grad}
    reader.save_adapter(tmp_path)
    fresh, _ = opened("smolvlm")
    load_adapter(fresh, tmp_path, trainable=True)
    assert {key for key, value in fresh.model.named_parameters() if value.requires_grad} == wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "ia3"},
        {"rank": 0},
        {"alpha": 0},
        {"dropout": 1.0},
        {"vision": "half"},
        {"connector": True},
    ],
)
def test_refused_at_once(wrong):
    with pytest.raises(ConfigError):
        Adaptation(**wrong)


def test_refused_on_a_network(opened):
    reader, _ = opened("smolvlm")
    with pytest.raises(ConfigError, match="none called"):
        adapt(reader, replace(LORA, modules=["q_proj", "qkv"]))
    with pytest.raises(ConfigError, match="at least one layer"):
        adapt(reader, replace(LORA, modules=[]))
    with pytest.raises(ConfigError, match="has none"):
        reader.save_adapter(None)
    adapt(reader, LORA)
    with pytest.raises(ConfigError, match="without adapters"):
        adapt(reader, LORA)
    short, _ = opened("smolvlm", dtype="bfloat16")
    with pytest.raises(ConfigError, match="float32"):
        adapt(short, replace(LORA, vision="full"))
    convolutions, _ = opened("gemma3n")
    with pytest.raises(ConfigError, match="vision"):
        adapt(convolutions, replace(LORA, vision="lora"))


def test_adapters_that_do_not_fit(opened, folders, tmp_path):
    reader, _ = opened("smolvlm")
    adapt(reader, LORA)
    reader.save_adapter(tmp_path)
    other, _ = opened("qwen3_vl")
    with pytest.raises(ConfigError, match="smolvlm"):
        load_adapter(other, tmp_path)
    described = json.loads((tmp_path / "adaptation.json").read_text())
    described["adaptation"]["rank"] = 8
    (tmp_path / "adaptation.json").write_text(json.dumps(described))
    fresh, _ = opened("smolvlm")
    with pytest.raises(WeightsError, match="fit"):
        load_adapter(fresh, tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 20)
    again, _ = opened("smolvlm")
    with pytest.raises(WeightsError, match="damaged"):
        load_adapter(again, tmp_path)
