"""The losses of the DETR families are those of the papers: denoising queries take no part in the matching, every decoder
layer has its own terms.

transformers before 5.18 handed denoising queries, which start beside the true boxes, to the matcher together with the real
ones: https://github.com/huggingface/transformers/pull/48528
"""

import copy

import pytest
import torch
from transformers.loss.loss_d_fine import DFineForObjectDetectionLoss
from transformers.loss.loss_deimv2 import Deimv2ForObjectDetectionLoss
from transformers.loss.loss_rt_detr import RTDetrForObjectDetectionLoss

from training.detector.hf import pretrained
from training.detector.hf.outputs import targets

LOSSES = {
    "rt_detr": (RTDetrForObjectDetectionLoss, {"loss_vfl", "loss_bbox", "loss_giou"}),
    "rt_detr_v2": (RTDetrForObjectDetectionLoss, {"loss_vfl", "loss_bbox", "loss_giou"}),
    "d_fine": (DFineForObjectDetectionLoss, {"loss_vfl", "loss_bbox", "loss_giou"}),
    # DEIMv2 matches boxes over all layers at once: of its last layer alone only the classes can be told
    "deimv2": (Deimv2ForObjectDetectionLoss, {"loss_mal"}),
}


def last_layer(loss, network, logits, boxes, wanted):
    """The terms of some queries of the last layer by themselves."""
    config = copy.deepcopy(network.config)
    config.auxiliary_loss = False
    return loss(logits, wanted, logits.device, boxes, config)[1]


@pytest.mark.parametrize("family", LOSSES)
def test_denoising_queries_are_not_matched(checkpoint, scene, family):
    images, boxes, classes = scene
    detector = pretrained(["cat", "dog"], str(checkpoint(family)), keep_heads=True, input_size=32).train()
    wanted = targets(boxes, classes, images.shape[-1], images.device)
    torch.manual_seed(0)
    with torch.no_grad():
        answer = detector.network(pixel_values=(images - detector.mean) / detector.std, labels=wanted)
    torch.manual_seed(0)
    terms = detector.losses(images, boxes, classes)
    noisy, real = answer.denoising_meta_values["dn_num_split"]
    assert noisy > 0 and real == 12 and answer.logits.shape[1] == noisy + real, "nothing to tell apart"
    loss, names = LOSSES[family]
    of_real = last_layer(loss, detector.network, answer.logits[:, noisy:], answer.pred_boxes[:, noisy:], wanted)
    of_all = last_layer(loss, detector.network, answer.logits, answer.pred_boxes, wanted)
    for name in names:
        assert terms[name].item() == pytest.approx(of_real[name].item(), rel=1e-5)
        assert terms[name].item() != pytest.approx(of_all[name].item(), rel=1e-3), "this test could not fail"


@pytest.mark.parametrize("family", LOSSES)
def test_the_loss_is_the_sum_of_all_layers_terms(checkpoint, scene, family):
    detector = pretrained(["cat", "dog"], str(checkpoint(family)), keep_heads=True).train()
    terms = detector.losses(*scene)
    kinds = {name.removeprefix("loss_") for name in LOSSES[family][1]} | {"bbox", "giou"}
    # two decoder layers and the encoder's proposals, the last layer without a number; the denoising queries of both layers
    expected = {f"loss_{kind}{part}" for kind in kinds for part in ("", "_aux_0", "_aux_1", "_dn_0", "_dn_1")}
    assert expected <= set(terms)
    assert all(terms[name] > 0 for name in expected)
    total = sum(term.item() for name, term in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(total, rel=1e-5)
    assert not any("_dn_" in name for name in detector.eval().losses(*scene))


@pytest.mark.parametrize("family", ["lw_detr", "rf_detr"])
def test_grouped_queries_have_terms_for_every_layer(checkpoint, scene, family):
    detector = pretrained(["cat", "dog"], str(checkpoint(family)), keep_heads=True).train()
    terms = detector.losses(*scene)
    assert {f"loss_{kind}{part}" for kind in ("ce", "bbox", "giou") for part in ("", "_0", "_enc")} <= set(terms)
    weights = {"ce": 1, "bbox": 5, "giou": 2}
    parts = [weights[kind] * terms[f"loss_{kind}{part}"] for kind in weights for part in ("", "_0", "_enc")]
    assert terms["loss"].item() == pytest.approx(sum(part.item() for part in parts), rel=1e-5)


def test_the_loss_of_a_picture_counts_each_object_once(checkpoint, scene):
    """Normalised by the number of true boxes: the same picture twice has the loss of one."""
    images, boxes, classes = scene
    detector = pretrained(["cat", "dog"], str(checkpoint("yolos")), keep_heads=True).eval()
    one, two = (
        detector.losses(images, boxes, classes),
        detector.losses(images.repeat(2, 1, 1, 1), boxes * 2, classes * 2),
    )
    assert one["loss"].item() == pytest.approx(two["loss"].item(), rel=1e-5)
