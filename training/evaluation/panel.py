"""One exhibit as a picture: the pixels, what is there and what was answered, and a legend that says which is which.

Knows nothing of files or of how exhibits were chosen. Colours are of Okabe & Ito (2008) and each kind of line has a style
of its own, so that nobody needs to tell colours apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from safelight.detections import Detections
from safelight.drawing import Box, Style, draw_box, draw_label, font_for, line_width
from training.detector.metrics import Truth
from training.evaluation.confusion import pair
from training.evaluation.gallery import Exhibit, Region

SIDE = 900  # pixels of a panel's longer side
KINDS: dict[str, tuple[str, Style]] = {
    "hit": ("#56B4E9", "solid"),
    "true box of a hit": ("#FFFFFF", "dotted"),
    "missed": ("#F0E442", "dashed"),
    "false alarm": ("#D55E00", "solid"),
}
_GROUND, _INK = "#FFFFFF", "#1A1A1A"


def panel(
    image: NDArray[np.uint8],
    exhibit: Exhibit,
    region: Region,
    sure: Detections,
    truth: Truth,
    labels: Sequence[str],
    match_iou: float,
) -> NDArray[np.uint8]:
    """`(H, W, 3)` uint8 of a scene to a panel that shows `region` of it. sure: the detections above their thresholds."""
    left, top, right, bottom = region
    scale = SIDE / max(right - left, bottom - top)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    part = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    canvas = part.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)
    pen, line, font = ImageDraw.Draw(canvas), line_width((SIDE, SIDE)) + 1, font_for((SIDE, SIDE))
    plates: list[tuple[Box, str, str]] = []
    for kind, values, text in _marks(sure, truth, labels, match_iou):
        low_x, low_y, high_x, high_y = (values - [left, top, left, top]) * scale
        if high_x < 0 or high_y < 0 or low_x > size[0] or low_y > size[1]:
            continue
        box: Box = (low_x, low_y, high_x, high_y)
        colour, style = KINDS[kind]
        draw_box(pen, box, colour, line if style != "dotted" else line - 1, style)
        if text:
            plates.append((box, text, colour))
    for box, text, colour in plates:  # no line crosses a label
        draw_label(pen, box, text, font, colour, size)
    return _with_legend(canvas, exhibit)


def _marks(
    sure: Detections, truth: Truth, labels: Sequence[str], match_iou: float
) -> list[tuple[str, NDArray[np.float64], str]]:
    """(kind, box, text) of everything there is to draw, the most telling last. One class needs no naming."""
    paired = pair(sure, truth, match_iou)
    several = len(labels) > 1
    marks: list[tuple[str, NDArray[np.float64], str]] = []

    def named(class_id: int) -> str:
        return f"{labels[class_id]} " if several else ""

    for index in np.flatnonzero(paired.right):
        marks.append(("true box of a hit", truth.boxes[paired.partner[index]].astype(np.float64), ""))
    for index in np.flatnonzero(paired.right)[::-1]:
        text = f"{named(int(sure.class_ids[index]))}{sure.scores[index]:.2f}"
        marks.append(("hit", sure.boxes[index].astype(np.float64), text))
    found = set(paired.partner[paired.right].tolist())
    for index in np.array([i for i in range(len(truth)) if i not in found], np.int64):
        marks.append(("missed", truth.boxes[index].astype(np.float64), named(int(truth.class_ids[index])).strip()))
    for index in np.flatnonzero(~paired.right)[::-1]:
        taken = int(paired.partner[index])
        of = f" (is {labels[int(truth.class_ids[taken])]})" if taken >= 0 else ""
        text = f"{named(int(sure.class_ids[index]))}{sure.scores[index]:.2f}{of}"
        marks.append(("false alarm", sure.boxes[index].astype(np.float64), text))
    return marks


def _with_legend(picture: Image.Image, exhibit: Exhibit) -> NDArray[np.uint8]:
    """The picture above a strip that says what the lines mean and how many there are."""
    width, font = max(picture.width, 660), font_for((SIDE, SIDE))
    counts = {"hit": exhibit.hits, "missed": exhibit.misses, "false alarm": exhibit.false_alarms}
    plural = {"hit": "hits", "false alarm": "false alarms"}
    strip = 62
    canvas = Image.new("RGB", (width, picture.height + strip), _GROUND)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    pen = ImageDraw.Draw(canvas)
    y = picture.height + 8
    pen.text((10, y), f"F1 {exhibit.f1:.2f}", fill=_INK, font=font)
    x = 10.0
    for kind, (colour, style) in KINDS.items():
        words = kind
        if kind in counts:
            words = f"{counts[kind]} {kind if counts[kind] == 1 else plural.get(kind, kind)}"
        draw_box(pen, (x, y + 24, x + 44, y + 44), colour, 3, style)
        pen.text((x + 52, y + 26), words, fill=_INK, font=font)
        x += 52 + pen.textlength(words, font=font) + 24
    return np.asarray(canvas)
