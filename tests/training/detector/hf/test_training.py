"""What is trained, at which rate and from when on."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file

from safelight.errors import ConfigError
from training.detector.hf import Backbone, Lora, pretrained
from training.detector.hf.names import BACKBONES, backbone_of, is_head

OWN = ["cat", "dog"]


@pytest.mark.parametrize("family", ["rt_detr", "rf_detr", "deimv2", "yolos"])
def test_groups_hold_every_trained_parameter_once(checkpoint, family):
    detector = pretrained(OWN, str(checkpoint(family)), keep_heads=True, backbone=Backbone(0.25))
    groups = detector.parameter_groups(1e-3, 0.05)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(found) == len(set(found))
    assert set(found) == {id(parameter) for parameter in detector.parameters() if parameter.requires_grad}
    assert {group["lr"] for group in groups} == {1e-3, 2.5e-4}
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            slow = name.startswith(f"network.{backbone_of(detector.network)}.") and "detection_tokens" not in name
            assert group["lr"] == (2.5e-4 if slow else 1e-3), name
            assert not (group["weight_decay"] and (parameter.ndim <= 1 or "_token" in name)), name


def test_every_family_has_a_backbone_that_is_known(lesson):
    assert backbone_of(lesson.detector.network) in BACKBONES


@pytest.mark.parametrize("family", ["d_fine", "lw_detr"])
def test_a_resting_backbone_stays_as_it_is_until_its_step(checkpoint, scene, family):
    torch.manual_seed(0)
    detector = pretrained(OWN, str(checkpoint(family)), keep_heads=True, backbone=Backbone(1.0, frozen_steps=2)).train()
    optimiser = torch.optim.AdamW(detector.parameter_groups(1e-3, 0.1))
    prefix = f"network.{backbone_of(detector.network)}."

    def state():
        values = detector.state_dict().items()
        return {name: value.clone() for name, value in values if name.startswith(prefix)}

    def step(number):
        detector.schedule(number)
        optimiser.zero_grad()
        detector.losses(*scene)["loss"].backward()
        optimiser.step()

    before = state()
    for number in (0, 1):
        step(number)
    assert before and all(torch.equal(value, before[name]) for name, value in state().items())
    step(2)
    assert not all(torch.equal(value, before[name]) for name, value in state().items())


def test_a_schedule_depends_on_the_step_alone(checkpoint):
    detector = pretrained(OWN, str(checkpoint("yolos")), keep_heads=True, backbone=Backbone(frozen_steps=5))
    held = {id(parameter) for group in detector.parameter_groups(1e-3, 0) for parameter in group["params"]}
    assert held == {id(parameter) for parameter in detector.parameters()}
    for step, frozen in ((0, True), (4, True), (5, False), (3, True), (100, False)):
        detector.schedule(step)
        assert detector.network.vit.layernorm.weight.requires_grad is not frozen
        assert detector.network.vit.embeddings.detection_tokens.requires_grad
    again = {id(parameter) for group in detector.parameter_groups(1e-3, 0) for parameter in group["params"]}
    assert again == held, "an optimiser must get what rests now and is trained later"


def test_a_backbone_frozen_for_good_is_in_no_optimiser(checkpoint):
    detector = pretrained(OWN, str(checkpoint("rf_detr")), keep_heads=True, backbone=Backbone(frozen_steps="always"))
    detector.schedule(10**6)
    names = {id(parameter): name for name, parameter in detector.named_parameters()}
    held = [names[id(p)] for group in detector.parameter_groups(1e-3, 0) for p in group["params"]]
    assert held and not any("backbone.backbone" in name for name in held)


def test_norms_that_are_not_trained_keep_their_statistics(checkpoint, scene):
    detector = pretrained(OWN, str(checkpoint("rt_detr_v2")), keep_heads=True, tuning="lora")
    norms = {name: value.clone() for name, value in detector.state_dict().items() if "running_" in name}
    detector.train()
    detector.losses(*scene)
    after = detector.state_dict()
    assert norms and all(torch.equal(value, after[name]) for name, value in norms.items())
    whole = pretrained(OWN, str(checkpoint("rt_detr_v2")), keep_heads=True).train()
    whole.losses(*scene)
    after = whole.state_dict()
    moved = [
        name for name, value in norms.items() if not torch.equal(value, after[name.replace("base_model.model.", "")])
    ]
    assert moved, "where they are trained, statistics move"


def test_adapters_go_where_they_are_wanted(checkpoint):
    folder = str(checkpoint("d_fine"))
    detector = pretrained(
        OWN, folder, keep_heads=True, tuning="lora", lora=Lora(2, targets=["q_proj", "convolution"], heads=False)
    )
    learnt = [name for name, parameter in detector.named_parameters() if parameter.requires_grad]
    assert learnt and all("lora" in name and ("q_proj" in name or "convolution" in name) for name in learnt)
    assert not any(is_head(name) for name in learnt)
    with pytest.raises(ConfigError, match="no_such"):
        pretrained(OWN, folder, keep_heads=True, tuning="lora", lora=Lora(targets=["no_such"]))
    with pytest.raises(ConfigError, match="full or lora"):
        pretrained(OWN, folder, keep_heads=True, tuning="some")


def test_heads_shared_between_modules_stay_shared(checkpoint):
    """RT-DETRv2 and D-FINE use one head in two places: a copy would be trained in one and saved from the other."""
    detector = pretrained(OWN, str(checkpoint("rt_detr_v2")), keep_heads=True, tuning="lora")
    for network in (copy.deepcopy(detector).merged().network, detector.merged().network):
        assert network.class_embed[0].weight is network.model.decoder.class_embed[0].weight
        assert network.config.tie_word_embeddings is True


@pytest.mark.parametrize(("family", "tuning"), [("d_fine", "full"), ("rt_detr_v2", "lora")])
def test_shared_weights_are_in_a_state_once_and_come_back_shared(checkpoint, scene, tmp_path, family, tuning):
    torch.manual_seed(0)
    one = torch.nn.ModuleDict({"detector": pretrained(["a"], str(checkpoint(family)), keep_heads=False, tuning=tuning)})
    other = torch.nn.ModuleDict(
        {"detector": pretrained(["a"], str(tmp_path / family), keep_heads=False, tuning=tuning)}
    )
    save_file(one.state_dict(), tmp_path / "state")
    other.load_state_dict(load_file(tmp_path / "state"))
    with torch.no_grad():
        for here, there in zip(one.eval()["detector"](scene[0]), other.eval()["detector"](scene[0]), strict=True):
            assert torch.equal(here, there)
    network = copy.deepcopy(other)["detector"].merged().network
    assert network.class_embed[1].weight is network.model.decoder.class_embed[1].weight


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Backbone(0),
        lambda: Backbone(2),
        lambda: Backbone(frozen_steps=-1),
        lambda: Backbone(frozen_steps="never"),
        lambda: Lora(0),
        lambda: Lora(alpha=0),
        lambda: Lora(dropout=1),
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        wrong()
