"""What every family must do, each tried on a tiny checkpoint."""

import copy

import numpy as np
import pytest
import torch

from training.detector.families import load_detector
from training.detector.hf import Lora, pretrained
from training.export.onnx import export_onnx, onnx_run, tensors, torch_run
from training.export.parity import Tolerance, tensor_parity

POSTPROCESSED = {
    "rt_detr_v2": "rt_detr.image_processing_pil_rt_detr.RTDetrImageProcessorPil",
    "d_fine": "rt_detr.image_processing_pil_rt_detr.RTDetrImageProcessorPil",
    "deimv2": "rt_detr.image_processing_pil_rt_detr.RTDetrImageProcessorPil",
    "lw_detr": "deformable_detr.image_processing_pil_deformable_detr.DeformableDetrImageProcessorPil",
    "rf_detr": "deformable_detr.image_processing_pil_deformable_detr.DeformableDetrImageProcessorPil",
    "yolos": "yolos.image_processing_pil_yolos.YolosImageProcessorPil",
    "detr": "detr.image_processing_pil_detr.DetrImageProcessorPil",
}

# torch.export takes up to half a minute: one of each kind here, all of them in bench/export_families.py
EXPORTERS = {
    "rt_detr_v2": "dynamo",
    "d_fine": "traced",
    "deimv2": "traced",
    "rf_detr": "dynamo",
    "lw_detr": "traced",
    "yolos": "dynamo",
    "detr": None,
}


def answers(detector, images):
    with torch.no_grad():
        return detector.eval()(images)


def same(one, other, tolerance=0.0):
    return all(torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(one, other, strict=True))


def test_training_lowers_the_loss_with_finite_gradients(lesson):
    assert np.isfinite(lesson.losses).all() and np.isfinite(lesson.gradients).all()
    assert min(lesson.gradients) > 0
    assert np.mean(lesson.losses[-5:]) < np.mean(lesson.losses[:5])


def test_one_picture_is_learnt(lesson):
    assert lesson.found(), lesson.best()


def test_the_answer_keeps_the_contract(lesson):
    boxes, scores = answers(lesson.detector, lesson.images.repeat(3, 1, 1, 1))
    assert boxes.shape == (3, 12, 4) and scores.shape == (3, 12, 3)
    assert boxes.dtype == scores.dtype == torch.float32
    assert (scores >= 0).all() and (scores <= 1).all() and (boxes[..., 2:] >= boxes[..., :2]).all()


def test_scores_and_boxes_are_those_of_the_librarys_own_postprocessing(lesson):
    from importlib import import_module

    module, name = POSTPROCESSED[lesson.family].rsplit(".", 1)
    processor = getattr(import_module(f"transformers.models.{module}"), name)()
    detector, side = lesson.detector, lesson.images.shape[-1]
    with torch.no_grad():
        raw = detector.network(pixel_values=(lesson.images - 0.5) / 0.25)
    theirs = processor.post_process_object_detection(raw, threshold=0.0, target_sizes=[(side, side)])[0]
    boxes, scores = answers(detector, lesson.images)
    best = theirs["scores"].argmax()
    query, kind = divmod(int(scores[0].flatten().argmax()), scores.shape[-1])
    assert theirs["scores"][best].item() == pytest.approx(scores.max().item(), abs=1e-6)
    assert theirs["labels"][best] == kind
    assert torch.allclose(theirs["boxes"][best], boxes[0, query], atol=1e-4)


def test_saved_and_loaded_it_answers_the_same(lesson, tmp_path):
    lesson.detector.save(tmp_path)
    loaded = load_detector(tmp_path)
    assert loaded.labels == lesson.detector.labels and not loaded.training
    assert same(answers(loaded, lesson.images), answers(lesson.detector, lesson.images))


def test_pictures_without_objects_can_be_learnt_from(lesson):
    detector = copy.deepcopy(lesson.detector).train()
    nothing = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
    for boxes, classes in (nothing, (lesson.boxes + nothing[0], lesson.classes + nothing[1])):
        terms = detector.losses(lesson.images.repeat(len(boxes), 1, 1, 1), boxes, classes)
        terms["loss"].backward()
        assert torch.isfinite(terms["loss"])
        assert all(not term.requires_grad for name, term in terms.items() if name != "loss")
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())


def test_adapters_learn_alone_and_fold_into_the_weights(lesson, tmp_path):
    dora = lesson.family == "lw_detr"
    torch.manual_seed(0)
    detector = pretrained(
        ["cat", "dog"], str(lesson.checkpoint), keep_heads=True, tuning="lora", lora=Lora(4, dora=dora)
    )
    before = {name: value.clone() for name, value in detector.named_parameters() if not value.requires_grad}
    plain = answers(detector, lesson.images)
    assert same(
        plain, answers(pretrained(["cat", "dog"], str(lesson.checkpoint), keep_heads=True), lesson.images), 1e-5
    )
    optimiser = torch.optim.AdamW(detector.parameter_groups(1e-2, 1e-4))
    detector.train()
    for _ in range(3):
        optimiser.zero_grad()
        detector.losses(lesson.images, lesson.boxes, lesson.classes)["loss"].backward()
        optimiser.step()
    detector.eval()
    frozen = dict(detector.named_parameters())
    assert before and all(torch.equal(value, frozen[name]) for name, value in before.items())
    adapted, whole = answers(detector, lesson.images), detector.merged()
    assert not same(adapted, plain, 1e-3)
    assert same(answers(whole, lesson.images), adapted, 1e-4 if dora else 1e-5)
    assert not any("lora" in name for name in whole.state_dict()) and whole.merged() is whole
    assert any("lora" in name for name in detector.state_dict()), "merging must leave the detector that is trained"
    detector.save(tmp_path)
    assert same(answers(load_detector(tmp_path), lesson.images), answers(whole, lesson.images))


def test_the_exported_graph_answers_alike_at_every_batch_size(lesson, tmp_path):
    exporter = EXPORTERS[lesson.family]
    if exporter is None:
        pytest.skip("an elder of families that are exported")
    side = lesson.images.shape[-1]
    path = tmp_path / "model.onnx"
    assert export_onnx(lesson.detector, side, path, exporter=exporter).exporter == exporter
    assert tensors(path)[0].shape == ("batch", 3, side, side)
    noise = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(1)) * 0.02
    inputs = (lesson.images + noise).numpy()
    found = tensor_parity(torch_run(lesson.detector), onnx_run(path, 1), inputs, Tolerance())
    assert set(found) == {"1", "2", "8"}
