"""The official YOLOv3-tiny weights (darknet's .weights format) into our network.

Knows nothing of training or of where the file comes from. Format, from darknet's parser.c: int32 major, minor, revision,
then the number of pictures seen (int64 from version 0.2 on), then little-endian float32 in the order of the layers: of a
normalised convolution bias, scale, mean, variance and weights; of a plain one bias and weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from safelight.errors import WeightsError
from training.detector.yolov3_tiny.network import ConvUnit, YoloV3Tiny

COCO_CLASSES = 80
COCO_ANCHORS = (((23, 27), (37, 58), (81, 82)), ((81, 82), (135, 169), (344, 319)))
"""Anchors of the official weights at 416 pixels, finest head first: of the six, 1, 2, 3 and 3, 4, 5. (The authors'
yolov3-tiny.cfg says 0, 1, 2 for the fine head, which halves its boxes.)"""

_HEADER_BYTES = {True: 20, False: 16}  # with a 64-bit or a 32-bit counter


def load_darknet(network: YoloV3Tiny, path: Path, *, keep_heads: bool, file_classes: int = COCO_CLASSES) -> None:
    """Fill the network from a .weights file, in place.

    keep_heads: also take the two output convolutions, which fit `file_classes` classes and as many anchors as the
    network has; otherwise they are initialised anew (`reset_heads`), to be trained on other classes or anchors.
    Raises WeightsError when the file is missing, of another version, too short, too long, holds a value that is not
    finite, or when heads to be kept do not fit. The network is not touched then.
    """
    if keep_heads and network.num_classes != file_classes:
        raise WeightsError(f"The file's heads are for {file_classes} classes, the network has {network.num_classes}.")
    values = _read(path)
    slots = list(_slots(network, file_classes, keep_heads))
    expected = sum(size for _, size in slots)
    if len(values) != expected:
        kind = "truncated" if len(values) < expected else "trailing data"
        raise WeightsError(f"Expected {expected} weights, got {len(values)} ({kind}): not this network's file.")
    if not np.isfinite(values).all():
        raise WeightsError("Expected finite weights, got some that are not: the file is damaged.")
    at = 0
    with torch.no_grad():
        for target, size in slots:
            if target is not None:
                target.copy_(torch.from_numpy(values[at : at + size]).reshape(target.shape))
            at += size
    if not keep_heads:
        network.reset_heads()


def _read(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        raise WeightsError("The weights file is missing. Run the fetch stage first.")
    raw = path.read_bytes()
    if len(raw) < min(_HEADER_BYTES.values()):
        raise WeightsError(f"Expected a darknet header, got {len(raw)} bytes (truncated).")
    major, minor = (int(v) for v in np.frombuffer(raw, "<i4", count=2))
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise WeightsError(f"Expected a darknet weights file, got version {major}.{minor}.")
    body = raw[_HEADER_BYTES[major * 10 + minor >= 2] :]
    if len(body) % 4:
        raise WeightsError(f"Expected whole 32-bit weights, got {len(body) % 4} bytes more (truncated or damaged).")
    return np.frombuffer(body, "<f4").astype(np.float32)  # a copy, writable and in native byte order


def _slots(network: YoloV3Tiny, file_classes: int, keep_heads: bool) -> Iterator[tuple[Tensor | None, int]]:
    """Where the file's values go, in its order: (tensor or None to skip, number of values)."""
    for unit in (*network.backbone, network.neck, network.coarse):
        yield from _unit(unit)
    yield from _head(network.coarse_head, network, file_classes, keep_heads)
    yield from _unit(network.lateral)
    yield from _unit(network.fine)
    yield from _head(network.fine_head, network, file_classes, keep_heads)


def _unit(unit: nn.Module) -> Iterator[tuple[Tensor, int]]:
    assert isinstance(unit, ConvUnit)
    norm = unit.norm
    for tensor in (norm.bias, norm.weight, norm.running_mean, norm.running_var, unit.conv.weight):
        assert tensor is not None
        yield tensor, tensor.numel()


def _head(head: nn.Conv2d, network: YoloV3Tiny, file_classes: int, keep: bool) -> Iterator[tuple[Tensor | None, int]]:
    assert head.bias is not None
    outputs = len(COCO_ANCHORS[0]) * (5 + file_classes)
    if keep and head.bias.numel() != outputs:
        raise WeightsError(f"The file's heads have {outputs} outputs, the network's {head.bias.numel()}.")
    yield (head.bias if keep else None), outputs
    yield (head.weight if keep else None), outputs * head.in_channels
