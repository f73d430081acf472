"""The front of a meter, flat: housing, display, the plate with the unit, and print that is not to be read.

Knows nothing of light, lenses or of where the meter hangs.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.drawings.interface import Place
from training.drawings.meters.segments import digits

SIZE = (560, 400)
"""Width and height of the drawing, pixels."""

Colour = tuple[int, int, int]
_HOUSINGS: tuple[Colour, ...] = (
    (228, 228, 222),
    (196, 200, 204),
    (62, 66, 72),
    (236, 226, 204),
    (40, 60, 92),
    (120, 126, 128),
)
_DISPLAYS: tuple[tuple[Colour, Colour], ...] = (  # ground, lit segment
    ((168, 180, 158), (26, 32, 28)),
    ((196, 202, 198), (34, 36, 44)),
    ((20, 12, 14), (248, 52, 40)),
    ((10, 18, 14), (70, 240, 110)),
    ((24, 44, 120), (220, 236, 255)),
    ((206, 176, 96), (44, 34, 20)),
)
_MAKERS = ("Nordmess", "Calorix", "Hydrela", "Volteq", "Tellmar", "Ohmstad", "Messina & Co", "Aquilon")
_PRINT = ("3x230V", "50 Hz", "Cl. 1", "IP54", "Qn 2.5", "PN 16", "imp/l", "2014", "2019", "T 5-90")
_PLATE = (132, 62)


def face(rng: np.random.Generator, reading: str, unit: str, contrast: float) -> tuple[Image.Image, dict[str, Place]]:
    """RGBA of `SIZE`: what lies outside the housing is transparent; and where on it digits and unit are, by JSON Pointer.
    contrast: of lit segments with the display, share."""
    housing = _shaded(rng, _HOUSINGS[rng.integers(len(_HOUSINGS))], 10)
    drawing = Image.new("RGBA", SIZE)
    pen = ImageDraw.Draw(drawing)
    whole, edge = (2, 2, SIZE[0] - 3, SIZE[1] - 3), _mixed(housing, (0, 0, 0), 0.4)
    pen.rounded_rectangle(whole, radius=int(rng.integers(4, 46)), fill=housing, outline=edge, width=4)
    high = bool(rng.random() < 0.7)  # the display above the plates, or below
    top = int(rng.integers(58, 92)) if high else int(rng.integers(200, 224))
    places = _display(pen, rng, reading, top, contrast)
    places["/unit"] = _plates(drawing, rng, unit, (top + 160, SIZE[1] - 24) if high else (26, top - 20), housing)
    _small_print(pen, rng, top, high, housing)
    return drawing, places


def _display(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, reading: str, top: int, contrast: float
) -> dict[str, Place]:
    """The window and its digits, unlit segments faintly."""
    ground, lit = _DISPLAYS[rng.integers(len(_DISPLAYS))]
    ground = _shaded(rng, ground, 8)
    ink = _mixed(ground, lit, contrast)
    ghost = _mixed(ground, lit, float(rng.uniform(0.0, 0.1)))
    left, right, bottom = 34, SIZE[0] - 34, top + 132
    pen.rectangle((left - 8, top - 8, right + 8, bottom + 8), fill=(24, 24, 26))
    pen.rectangle((left, top, right, bottom), fill=ground)
    count = len(reading.replace(".", ""))
    height, slant = float(rng.uniform(84, 102)), float(rng.uniform(0, 0.14))
    pitch = min((right - left - 36 - height * slant) / count, height * 0.78)
    size = (pitch * float(rng.uniform(0.56, 0.63)), height)
    room = right - left - 24 - height * slant - pitch * count
    start = np.array([left + 18 + rng.uniform(0.2, 1) * max(0.0, room), top + (132 - height) / 2])
    for shape, on in digits(reading, size, pitch, height * float(rng.uniform(0.105, 0.14)), slant):
        pen.polygon([(float(x), float(y)) for x, y in shape + start], fill=ink if on else ghost)
    middles = (float(start[0]) + (i + 0.4) * pitch for i in range(count))
    y = float(start[1]) + height / 2
    return {f"/reading/{i}": (next(middles), y) for i, character in enumerate(reading) if character != "."}


def _plates(drawing: Image.Image, rng: np.random.Generator, unit: str, rows: tuple[int, int], housing: Colour) -> Place:
    """The unit's plate, somewhere between these rows, and beside it the maker's name. Where its middle is."""
    pen = ImageDraw.Draw(drawing)
    room = rows[1] - rows[0] - _PLATE[1]
    x, y = int(rng.integers(30, SIZE[0] - 30 - _PLATE[0])), rows[0] + int(rng.uniform(0.1, 0.9) * max(0, room))
    dark = bool(rng.random() < 0.4)
    paper, ink = ((30, 30, 34), (236, 236, 230)) if dark else ((240, 240, 234), (24, 24, 28))
    pen.rectangle((x, y, x + _PLATE[0], y + _PLATE[1]), fill=paper, outline=_mixed(paper, ink, 0.4), width=2)
    word = _unit(unit)
    place = (x + (_PLATE[0] - word.width) // 2, y + (_PLATE[1] - word.height) // 2)
    drawing.paste(Image.new("RGBA", word.size, (*ink, 255)), place, word)
    maker = _MAKERS[rng.integers(len(_MAKERS))]
    elsewhere = 34 if x > 225 else 375  # beside the plate, wherever that is
    pen.text((elsewhere, y + 6), maker, fill=_readable(housing), font=_font(26))
    return x + _PLATE[0] / 2, y + _PLATE[1] / 2


def _small_print(pen: ImageDraw.ImageDraw, rng: np.random.Generator, top: int, high: bool, housing: Colour) -> None:
    """A serial number and technical data, which nobody asks for."""
    ink = _mixed(housing, _readable(housing), 0.8)
    y = 20 if high else SIZE[1] - 36
    pen.text((int(rng.integers(40, 90)), y), f"No {int(rng.integers(10**7)):08d}", fill=ink, font=_font(15))
    words = "  ".join(_PRINT[i] for i in rng.permutation(len(_PRINT))[:3])
    pen.text((int(rng.integers(270, 330)), y), words, fill=ink, font=_font(15))
    if rng.random() < 0.6:  # a lamp that blinks with consumption
        x = int(rng.integers(SIZE[0] // 2 - 60, SIZE[0] // 2 + 60))
        pen.ellipse((x, top - 28, x + 11, top - 17), fill=(200, 40, 30), outline=(40, 10, 10))


@cache
def _unit(unit: str) -> Image.Image:
    """The unit as print; m3 as m with a raised 3."""
    word = Image.new("L", (130, 60))
    pen = ImageDraw.Draw(word)
    if unit == "m3":
        pen.text((4, 4), "m", fill=255, font=_font(46))
        pen.text((6 + int(pen.textlength("m", _font(46))), 2), "3", fill=255, font=_font(28))
    else:
        pen.text((4, 4), unit, fill=255, font=_font(46))
    return word.crop(word.getbbox())


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, so that no machine draws another."""
    return ImageFont.load_default(size)


def _readable(ground: Colour) -> Colour:
    return (24, 24, 28) if sum(ground) > 380 else (232, 232, 228)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _shaded(rng: np.random.Generator, colour: Colour, most: int) -> Colour:
    red, green, blue = (int(np.clip(c + rng.integers(-most, most + 1), 0, 255)) for c in colour)
    return red, green, blue
