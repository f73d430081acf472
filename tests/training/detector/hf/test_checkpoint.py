import json
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from safelight.errors import ConfigError, WeightsError
from training.detector.families import load_detector
from training.detector.hf import checkpoint as reading
from training.detector.hf import pretrained
from training.detector.hf.checkpoint import Scaling, Source

OWN = ["cat", "dog"]


def rewrite(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def answers(detector, images):
    with torch.no_grad():
        return detector.eval()(images)


@pytest.mark.parametrize("family", ["rt_detr_v2", "lw_detr"])
def test_new_classes_get_new_heads_that_expect_little(checkpoint, scene, family):
    torch.manual_seed(0)
    detector = pretrained(["a", "b", "c"], str(checkpoint(family)), keep_heads=False)
    scores = answers(detector, scene[0])[1]
    assert scores.shape[-1] == 3 and scores.mean() == pytest.approx(0.01, abs=0.01)


def test_as_many_other_classes_are_not_taken_for_the_checkpoints(checkpoint, scene):
    folder = str(checkpoint("yolos"))
    kept = pretrained(OWN, folder, keep_heads=False)
    torch.manual_seed(1)
    other = pretrained(["dog", "cat"], folder, keep_heads=False)
    same = answers(pretrained(OWN, folder, keep_heads=True), scene[0])
    assert torch.equal(answers(kept, scene[0])[1], same[1])
    assert not torch.allclose(answers(other, scene[0])[1], same[1], atol=1e-4)


def test_kept_heads_serve_some_of_their_classes_in_any_order(checkpoint, scene, tmp_path):
    folder = str(checkpoint("rt_detr_v2"))
    boxes, scores = answers(pretrained(OWN, folder, keep_heads=True), scene[0])
    detector = pretrained(["dog"], folder, keep_heads=True)
    of_dogs = answers(detector, scene[0])
    assert torch.equal(of_dogs[0], boxes) and torch.equal(of_dogs[1], scores[..., 1:])
    swapped = pretrained(["dog", "cat"], folder, keep_heads=True)
    assert torch.equal(answers(swapped, scene[0])[1], scores.flip(-1))
    detector.save(tmp_path)
    assert torch.equal(answers(load_detector(tmp_path), scene[0])[1], of_dogs[1])
    images, given, _ = scene
    as_dog = detector.losses(images, given, [torch.tensor([0])])["loss"]
    whole = pretrained(OWN, folder, keep_heads=True).eval().losses(images, given, [torch.tensor([1])])["loss"]
    assert as_dog.item() == pytest.approx(whole.item(), rel=1e-5)


def test_kept_heads_know_no_other_classes(checkpoint):
    with pytest.raises(
        ConfigError, match=r"1 of 2 are not classes of the checkpoint, 'bird' for one.*cat, dog.*fit: true"
    ):
        pretrained(["cat", "bird"], str(checkpoint("yolos")), keep_heads=True)


@pytest.mark.parametrize("model", ["no/such/folder", "/no/such/folder", "folder", "someone/no-such-model"])
def test_what_is_not_there_is_said_with_the_way_to_it(model):
    with pytest.raises(WeightsError, match=r"config.json and model.safetensors .*revision 0a0a.*copy the folder here"):
        pretrained(OWN, model, keep_heads=True, revision="0a" * 20, offline=True)


@pytest.mark.parametrize("revision", [None, "main", "0a0a0a"])
def test_a_hub_is_trusted_at_a_commit_only(revision):
    with pytest.raises(ConfigError, match="40 hex digits"):
        pretrained(OWN, "someone/no-such-model", keep_heads=True, revision=revision, offline=True)


class Bomb:
    """Unpickling it raises the alarm."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_pickled_weights_are_not_opened(checkpoint):
    folder = checkpoint("yolos")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match=r"config\.json and model\.safetensors"):
        pretrained(OWN, str(folder), keep_heads=True)


def test_code_in_a_checkpoint_is_not_run(checkpoint):
    folder = checkpoint("yolos")
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    mapped = {"AutoConfig": "evil.Config", "AutoModelForObjectDetection": "evil.Model"}
    rewrite(folder / "config.json", lambda config: {**config, "auto_map": mapped})
    assert pretrained(OWN, str(folder), keep_heads=True).labels == tuple(OWN)
    rewrite(folder / "config.json", lambda config: {**config, "model_type": "evil"})
    with pytest.raises(WeightsError):
        pretrained(OWN, str(folder), keep_heads=True)


def test_damaged_and_foreign_checkpoints_are_refused(checkpoint, tmp_path):
    folder = checkpoint("yolos")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(WeightsError):
        pretrained(OWN, str(folder), keep_heads=True)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    lost = {name: value for name, value in tensors.items() if name != "vit.layernorm.weight"}
    save_file(lost, weights, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 are missing and 0 have another shape, vit\.layernorm\.weight"):
        pretrained(OWN, str(folder), keep_heads=True)
    save_file({**tensors, "vit.layernorm.weight": torch.ones(7)}, weights, metadata={"format": "pt"})
    for keep in (True, False):
        with pytest.raises(WeightsError):
            pretrained(OWN if keep else ["a", "b", "c"], str(folder), keep_heads=keep)
    rewrite(folder / "config.json", lambda config: {"model_type": "vit"})
    with pytest.raises(WeightsError, match="not one of a detector"):
        pretrained(OWN, str(folder), keep_heads=True)


def test_a_backbone_of_timm_is_refused_by_name(checkpoint):
    folder = checkpoint("detr")
    timm = {"backbone_config": None, "backbone": "resnet50", "use_timm_backbone": True}
    rewrite(folder / "config.json", lambda config: {**config, **timm})
    with pytest.raises(WeightsError, match="timm"):
        pretrained(OWN, str(folder), keep_heads=True)


@pytest.mark.parametrize(
    ("preprocessor", "mean", "std"),
    [
        ({"do_normalize": False}, 0, 1),
        ({"image_mean": [0.5] * 3, "image_std": [0.2] * 3}, 0.5, 0.2),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [0.4] * 3}, 0.5, 0.2),
    ],
)
def test_scaling_is_read_from_the_checkpoint(tmp_path, preprocessor, mean, std):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    found = reading.scaling(Source(str(tmp_path)))
    assert found.mean == pytest.approx((mean,) * 3) and found.std == pytest.approx((std,) * 3)


def test_scaling_must_be_known(checkpoint):
    folder = checkpoint("yolos")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="give mean and std"):
        pretrained(OWN, str(folder), keep_heads=True)
    with pytest.raises(ConfigError, match="both or neither"):
        pretrained(OWN, str(folder), keep_heads=True, mean=[0.5] * 3)
    assert pretrained(OWN, str(folder), keep_heads=True, mean=[0.5] * 3, std=[0.5] * 3).mean.unique() == 0.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["do_normalize", "do_rescale", "rescale_factor", "image_mean", "image_std"])


@given(JSON | st.dictionaries(KEYS, JSON | st.lists(st.floats(), min_size=3, max_size=3), max_size=5))
def test_any_preprocessor_is_a_scaling_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("any")
    (folder / "preprocessor_config.json").write_text(json.dumps(value))
    try:
        found = reading.scaling(Source(str(folder)))
    except WeightsError:
        return
    assert isinstance(found, Scaling)
    assert torch.tensor([*found.mean, *found.std]).isfinite().all() and min(found.std) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"network": {}},
        {"network": {"model_type": "no-such"}},
        {"network": {"model_type": "bert"}},
        {"network": {"model_type": "yolos", "hidden_size": "wide"}},
        {"network": {"model_type": "detr", "use_timm_backbone": True, "backbone": "resnet50"}},
        {"network": None},
        {"mean": [0.5]},
        {"std": [0, 1, 1]},
        {"columns": [0]},
    ],
)
def test_a_description_that_does_not_fit_is_refused(checkpoint, tmp_path, change):
    pretrained(OWN, str(checkpoint("yolos")), keep_heads=True).save(tmp_path)
    path = tmp_path / "detector.json"
    rewrite(path, lambda saved: {**saved, "description": {**saved["description"], **change}})
    with pytest.raises(WeightsError, match="known detector"):
        load_detector(tmp_path)


def test_a_saved_detector_tells_neither_folder_nor_code(checkpoint, tmp_path):
    folder = checkpoint("d_fine")
    pretrained(OWN, str(folder), keep_heads=True).save(tmp_path)
    assert str(folder) not in (tmp_path / "detector.json").read_text()


@pytest.mark.parametrize(
    ("family", "side", "taken"), [("rf_detr", 48, True), ("rf_detr", 40, False), ("lw_detr", 40, False)]
)
def test_the_input_size_is_tried(checkpoint, tmp_path, family, side, taken):
    folder = str(checkpoint(family))
    if not taken:
        with pytest.raises(ConfigError, match=f"does not take {side} pixels a side"):
            pretrained(OWN, folder, keep_heads=True, input_size=side)
        return
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    fitted = pretrained(OWN, folder, keep_heads=True, input_size=side)
    resampled = pretrained(OWN, folder, keep_heads=True)  # as transformers does it, at every forward pass
    for one, other in zip(answers(fitted, images), answers(resampled, images), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    fitted.save(tmp_path)
    assert torch.equal(answers(load_detector(tmp_path), images)[1], answers(fitted, images)[1])
