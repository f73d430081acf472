"""Pictures with what was read from them and what stands on them, on one sheet. Knows nothing of files and models.

What is right is bluish green, what is wrong vermilion (Okabe and Ito, 2008) and followed by what is there, so that nobody
needs to tell colours apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from training.vlm.evaluation.reading import MISSING, Reading, same

_RIGHT, _WRONG, _INK, _GREY, _GROUND = "#00735B", "#D55E00", "#1A1A1A", "#6B6B6B", "#FFFFFF"
_WIDTH, _MARGIN, _LINE, _COLUMNS = 336, 14, 22, 4
_LONGEST = 40  # characters of a value that is shown
_ABSENT = "nothing"

Piece = tuple[str, str]
"""Words and their colour."""


@dataclass(frozen=True)
class Shown:
    """A picture `(H, W, 3)` uint8, what was read from it, and the confidence in that, None where there is none."""

    pixels: NDArray[np.uint8]
    reading: Reading
    confidence: float | None


def sheet(shown: Sequence[Shown], fields: Sequence[str], title: str) -> NDArray[np.uint8]:
    """`(H, W, 3)` uint8: the pictures in rows, each above its answer. fields: properties in their order."""
    columns = max(1, min(_COLUMNS, len(shown)))
    rows = -(-len(shown) // columns)
    high = _WIDTH + _LINE * (len(fields) + 1) + 2 * _MARGIN
    size = (columns * (_WIDTH + _MARGIN) + _MARGIN, rows * high + 2 * _MARGIN + _LINE)
    canvas = Image.new("RGB", size, _GROUND)
    pen = ImageDraw.Draw(canvas)
    _write(pen, (_MARGIN, _MARGIN), [(title, _INK)], _font(17))
    for number, one in enumerate(shown):
        row, column = divmod(number, columns)
        place = (_MARGIN + column * (_WIDTH + _MARGIN), 2 * _MARGIN + _LINE + row * high)
        _panel(canvas, pen, one, fields, place)
    return np.asarray(canvas)


def pieces(reading: Reading, name: str) -> list[Piece]:
    """One property in words: what was read, item by item where it is a list, and what is there where that is not the same."""
    there, read = reading.field(name)
    begin: list[Piece] = [(f"{name} ", _GREY)]
    if not reading.valid:
        return [*begin, ("no answer", _WRONG), (f" is {_text(there)}", _INK)]
    if isinstance(there, list) and isinstance(read, list) and all(map(_single, [*there, *read])):
        found = zip_longest(there, read, fillvalue=MISSING)
        said = [(f"{_text(b, '–')} ", _RIGHT if same(a, b) else _WRONG) for a, b in found] or [("[] ", _RIGHT)]
    else:
        said = [(f"{_text(read)} ", _RIGHT if same(there, read) else _WRONG)]
    return begin + said + ([] if reading.field_right(name) else [(f" is {_text(there)}", _INK)])


def _panel(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, one: Shown, fields: Sequence[str], place: tuple[int, int]
) -> None:
    picture = ImageOps.contain(Image.fromarray(np.ascontiguousarray(one.pixels)), (_WIDTH, _WIDTH))
    left, top = place
    canvas.paste(picture, (left + (_WIDTH - picture.width) // 2, top + (_WIDTH - picture.height) // 2))
    colour = _RIGHT if one.reading.right else _WRONG
    sure = "" if one.confidence is None else f", confidence {one.confidence:.2f}"
    y = top + _WIDTH + 4
    _write(pen, (left, y), [("right" if one.reading.right else "wrong", colour), (sure, _GREY)], _font(15))
    for number, name in enumerate(fields, 1):
        _write(pen, (left, y + number * _LINE), pieces(one.reading, name), _font(15))


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: Sequence[Piece], font: Any) -> None:
    x = float(place[0])
    for text, colour in words:
        pen.text((x, place[1]), text, fill=colour, font=font)
        x += pen.textlength(text, font=font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _single(value: Any) -> bool:
    return not isinstance(value, (list, dict))


def _text(value: Any, absent: str = _ABSENT) -> str:
    if value is MISSING:
        return absent
    if isinstance(value, list) and all(map(_single, value)):
        text = " ".join(map(_text, value)) or "[]"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    plain = " ".join(text.split())  # the drawing knows no second line
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
