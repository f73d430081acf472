"""The head `detr` reads the logits and boxes of transformers' networks as our detectors do, which read them as the library."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safelight.heads import Given, Output, adapter_of
from tests.training.detector.hf.conftest import FAMILIES, SIDE, picture
from training.detector.hf import pretrained


@pytest.mark.parametrize("family", FAMILIES)
def test_raw_outputs_mean_what_our_detectors_say(checkpoint, family):
    from transformers import AutoModelForObjectDetection

    folder = checkpoint(family)
    images, _, _ = picture()
    detector = pretrained(("cat", "dog"), str(folder), keep_heads=True, input_size=SIDE).eval()
    network = AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        boxes, scores = detector(images)
        answer = network(pixel_values=(images - 0.5) / 0.25)
    raw = {"logits": answer.logits.numpy(), "pred_boxes": answer.pred_boxes.numpy()}
    outputs = [Output(name, "float32", (None, *array.shape[1:])) for name, array in raw.items()]
    adapter = adapter_of("detr", outputs, Given(2, SIDE))
    found = adapter([raw[name].copy() for name in adapter.names], 1)
    np.testing.assert_allclose(found[0], boxes.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], scores.numpy(), atol=1e-6)
