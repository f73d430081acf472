"""The head `yolov3` decodes Darknet's maps as our own YOLOv3-tiny does, whose decoding has tests of its own."""

from __future__ import annotations

import numpy as np
import torch

from safelight.heads import Given, Output, adapter_of
from training.detector.yolov3_tiny import YoloV3Tiny
from training.detector.yolov3_tiny.network import decode

ANCHORS = (((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)), ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)))
CLASSES, SIDE = 3, 96


def test_maps_mean_what_our_network_says():
    torch.manual_seed(0)
    network = YoloV3Tiny(CLASSES, [[list(size) for size in group] for group in ANCHORS], 1.0).eval()
    with torch.inference_mode():
        split = [torch.randn_like(head).clamp(-3, 3) for head in network(torch.rand(2, 3, SIDE, SIDE))]
        boxes, scores = decode(network, split)
    maps = {
        f"map{number}": head.permute(0, 1, 4, 2, 3).flatten(1, 2).contiguous().numpy()
        for number, head in enumerate(split)
    }
    outputs = [Output(name, "float32", (None, *array.shape[1:])) for name, array in reversed(maps.items())]
    adapter = adapter_of("yolov3", outputs, Given(CLASSES, SIDE, ANCHORS))
    found = adapter([maps[name].copy() for name in adapter.names], 2)
    np.testing.assert_allclose(found[0], boxes.numpy(), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found[1], scores.numpy(), atol=1e-6)
