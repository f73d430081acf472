"""Boxes and labels drawn on a picture. Knows nothing of where the picture or the boxes come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from safelight.detections import Detections

# Okabe & Ito (2008): eight colours that colour-blind readers tell apart; black is left out, it drowns in photographs.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
HALO = "#1A1A1A"  # a thin dark rim on both sides of a line, so that it is seen on bright ground too
_WIDEST = 1.2  # a label may be this much wider than its box; wider ones hide the neighbours

Style = Literal["solid", "dashed", "dotted"]
Box = tuple[float, float, float, float]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw(image: NDArray[np.uint8], detections: Detections, labels: Sequence[str]) -> NDArray[np.uint8]:
    """A copy of `(H, W, 3)` uint8 RGB with a box per detection, and label and score on boxes large enough for them.

    The strongest are drawn last, on top. Raises ValueError when the detections belong to a picture of another size.
    """
    size = (image.shape[1], image.shape[0])
    if detections.image_size != size:
        raise ValueError(f"detections: expected boxes on a picture of {size}, got {detections.image_size}")
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    line, font = line_width(size), font_for(size)
    order = np.argsort(detections.scores, kind="stable")
    colours = [PALETTE[int(class_id) % len(PALETTE)] for class_id in detections.class_ids]
    for index in order:
        draw_box(pen, as_box(detections.boxes[index]), colours[index], line)
    for index in order:  # no line crosses a label
        text = f"{labels[int(detections.class_ids[index])]} {detections.scores[index]:.2f}"
        draw_label(pen, as_box(detections.boxes[index]), text, font, colours[index], size)
    return np.asarray(canvas)


def line_width(size: tuple[int, int]) -> int:
    """Pixels that a line is wide on a picture of (width, height)."""
    return max(2, round(max(size) / 500))


def font_for(size: tuple[int, int]) -> Font:
    """A font that is legible on a picture of (width, height)."""
    return ImageFont.load_default(size=max(12, round(max(size) / 70)))


def as_box(values: NDArray[np.float32]) -> Box:
    """`(4,)` as four numbers."""
    x_min, y_min, x_max, y_max = (float(v) for v in values)
    return x_min, y_min, x_max, y_max


def draw_box(pen: ImageDraw.ImageDraw, box: Box, colour: str, line: int, style: Style = "solid") -> None:
    """A box's outline, inside it, with a dark rim."""
    x_min, y_min, x_max, y_max = box
    if style == "solid":
        pen.rectangle((x_min - 1, y_min - 1, x_max + 1, y_max + 1), outline=HALO, width=line + 2)
        pen.rectangle(box, outline=colour, width=line)
        return
    dash, gap = (5 * line, 3 * line) if style == "dashed" else (line, 2 * line)
    half = line / 2
    low_x, low_y, high_x, high_y = x_min + half, y_min + half, x_max - half, y_max - half
    for width, ink in ((line + 2, HALO), (line, colour)):
        for start, end in (
            ((low_x, low_y), (high_x, low_y)),
            ((low_x, high_y), (high_x, high_y)),
            ((low_x, low_y), (low_x, high_y)),
            ((high_x, low_y), (high_x, high_y)),
        ):
            _dashes(pen, start, end, ink, width, dash, gap)


def draw_label(pen: ImageDraw.ImageDraw, box: Box, text: str, font: Font, colour: str, size: tuple[int, int]) -> bool:
    """Text on a plate above the box when there is room, else in its corner, within a picture of (width, height).

    Nothing where the box is too small for it; returns whether it was drawn.
    """
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x_min, y_min, x_max, y_max = box
    if width > _WIDEST * (x_max - x_min) or 2 * height > y_max - y_min:
        return False
    x = max(0.0, min(x_min, size[0] - width))
    y = y_min - height if y_min >= height else y_min
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    pen.text((x + 3 - left, y + 3 - top), text, fill=ink_on(colour), font=font)
    return True


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on `colour` (relative luminance of WCAG 2.2)."""
    channels = np.array(ImageColor.getrgb(colour)[:3]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def _dashes(
    pen: ImageDraw.ImageDraw,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: int,
    dash: float,
    gap: float,
) -> None:
    along = np.array(end) - np.array(start)
    length = float(np.hypot(*along))
    for begun in np.arange(0, length, dash + gap):
        near, far = (np.array(start) + along * min(1.0, at / length) for at in (begun, begun + dash))
        pen.line((*near.tolist(), *far.tolist()), fill=colour, width=width)
