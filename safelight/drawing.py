"""Boxes and labels drawn on a picture. Knows nothing of where the picture or the boxes come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from safelight.detections import Detections

# Okabe & Ito (2008): eight colours that colour-blind readers tell apart; black is left out, it drowns in photographs.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_MIN_LABELLED_SIDE = 60  # pixels; labels on smaller boxes hide the picture


def draw(image: NDArray[np.uint8], detections: Detections, labels: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of `(H, W, 3)` uint8 RGB with a box per detection, and label and score on boxes large enough for them.

    Raises ValueError when the detections belong to a picture of another size.
    """
    size = (image.shape[1], image.shape[0])
    if detections.image_size != size:
        raise ValueError(f"detections: expected boxes on a picture of {size}, got {detections.image_size}")
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    line = max(2, round(max(size) / 500))
    font = ImageFont.load_default(size=max(12, round(max(size) / 70)))
    for box, score, class_id in zip(detections.boxes, detections.scores, detections.class_ids, strict=True):
        colour = PALETTE[int(class_id) % len(PALETTE)]
        x_min, y_min, x_max, y_max = (float(v) for v in box)
        pen.rectangle((x_min, y_min, x_max, y_max), outline=colour, width=line)
        if min(x_max - x_min, y_max - y_min) >= _MIN_LABELLED_SIDE:
            _label(pen, (x_min, y_min), f"{labels[int(class_id)]} {score:.2f}", font, colour)
    return np.asarray(canvas)


def _label(
    pen: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: str,
) -> None:
    """Text on a plate, above the corner when there is room, else below it."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    height = bottom - top + 6
    x, y = corner[0], corner[1] - height if corner[1] >= height else corner[1]
    pen.rectangle((x, y, x + right - left + 6, y + height), fill=colour)
    pen.text((x + 3 - left, y + 3 - top), text, fill="black", font=font)
