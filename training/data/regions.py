"""Parts of scenes: a region cut out, with the boxes that are still to be seen in it.

Knows nothing of files, splits or learners.
"""

from __future__ import annotations

from dataclasses import replace

from safelight.errors import DataError
from training.data.records import Box, Scene

Region = tuple[int, int, int, int]
"""xyxy, whole pixels."""


def crop_scene(scene: Scene, region: Region, min_visible: float) -> Scene:
    """The part of a scene inside `region`, boxes clipped and moved to its corner.

    A box stays when at least `min_visible` of its area is inside. Raises DataError when the region leaves the picture.
    """
    x0, y0, x1, y1 = region
    if not (0 <= x0 < x1 <= scene.size[0] and 0 <= y0 < y1 <= scene.size[1]):
        raise DataError(f"{scene.image_id}: expected a region inside {scene.size}, got {list(region)}.")
    boxes: list[Box] = []
    classes: list[int] = []
    for (left, top, right, bottom), class_id in zip(scene.boxes, scene.classes, strict=True):
        inside = (max(left, x0), max(top, y0), min(right, x1), min(bottom, y1))
        width, height = max(0.0, inside[2] - inside[0]), max(0.0, inside[3] - inside[1])
        if width * height >= min_visible * (right - left) * (bottom - top) and width and height:
            boxes.append((inside[0] - x0, inside[1] - y0, inside[2] - x0, inside[3] - y0))
            classes.append(class_id)
    return replace(scene, size=(x1 - x0, y1 - y0), boxes=boxes, classes=classes)
