"""YOLOv3 and YOLOv3-tiny: maps as Darknet's networks end, `(B, A * (5 + C), H, W)` each, or decoded rows.

Of each anchor a map has tx, ty, tw, th, the objectness and the classes, all before their activation: cx is the sigmoid of tx
plus the cell's column, in strides; w is the anchor's times the exponential of tw; a score is objectness times class (Redmon
& Farhadi, "YOLOv3", 2018, section 2; `get_yolo_box` in pjreddie/darknet, src/yolo_layer.c). Anchors are not in the graph and
differ from training to training: the manifest has to give them. Decoded rows `(B, N, 5 + C)`, as ultralytics exports YOLOv3,
are read as YOLOv5's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ManifestInvalid
from safelight.heads import layouts, yolov5
from safelight.heads.decoding import corners, sigmoid
from safelight.heads.interface import Adapter, Anchors, Answer, Given, Output, Raw

_BOX = 5  # numbers before the classes


def fit(outputs: Sequence[Output], given: Given) -> Adapter:
    """As many square maps as the manifest has groups of anchors, or else one output of `5 + C` numbers a box."""
    maps = [output for output in outputs if layouts.is_float(output) and len(output.shape) == 4]
    if not maps:
        if given.anchors is not None:
            raise ManifestInvalid("Expected no anchors: the graph decodes its boxes itself.")
        return yolov5.fit(outputs, given)
    anchors = _checked(given.anchors, len(maps))
    finest_first = sorted(maps, key=lambda output: -(output.shape[3] or 0))
    for output, group in zip(finest_first, anchors, strict=True):
        _check_map(output, len(group), given)
    if any(finer.shape[3] == coarser.shape[3] for finer, coarser in pairwise(finest_first)):
        raise ManifestInvalid(f"Expected maps of different sizes, got {layouts.described(finest_first)}.")
    sizes = [np.array(group, np.float32) for group in anchors]
    return Adapter(tuple(output.name for output in finest_first), partial(_read, anchors=sizes, side=given.input_size))


def _checked(anchors: Anchors | None, maps: int) -> Anchors:
    if anchors is None or len(anchors) != maps:
        raise ManifestInvalid(
            f"Expected anchors for {maps} maps, the finest first, as the training's configuration has."
        )
    if any(len(size) != 2 or min(size) <= 0 or not np.isfinite(size).all() for group in anchors for size in group):
        raise ManifestInvalid("Expected a width and a height for each anchor, in input pixels.")
    return anchors


def _check_map(output: Output, anchors: int, given: Given) -> None:
    channels = anchors * (_BOX + given.classes)
    _, found, height, width = output.shape
    if found != channels or height is None or height != width or given.input_size % height:
        raise ManifestInvalid(
            f"Expected maps (B, {channels}, H, H), {anchors} anchors of 5 + {given.classes} numbers and H a divisor of "
            f"{given.input_size}; got {layouts.described([output])}."
        )


def _read(outputs: Sequence[Raw], pictures: int, *, anchors: Sequence[NDArray[np.float32]], side: int) -> Answer:
    decoded = [_decode(output, sizes, side) for output, sizes in zip(outputs, anchors, strict=True)]
    boxes, scores = zip(*decoded, strict=True)
    return np.concatenate(boxes, axis=1), np.concatenate(scores, axis=1)


def _decode(output: Raw, sizes: NDArray[np.float32], side: int) -> Answer:
    """One map's boxes `(B, A * H * W, 4)` and scores, anchor by anchor, row by row."""
    batch, channels, height, width = output.shape
    grid = output.reshape(batch, len(sizes), channels // len(sizes), height, width).transpose(0, 1, 3, 4, 2)
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    centre = (sigmoid(grid[..., :2]) + cells) * np.float32(side / width)
    size = np.exp(grid[..., 2:4]) * sizes[None, :, None, None]
    boxes = corners(np.concatenate([centre, size], axis=-1))
    scores = sigmoid(grid[..., _BOX:]) * sigmoid(grid[..., 4:5])
    return boxes.reshape(batch, -1, 4), scores.reshape(batch, boxes[0, ..., 0].size, -1)
