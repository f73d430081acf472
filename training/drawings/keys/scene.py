"""A picture of a key: outline, warding, stamp, ground and clutter under a light, as a camera would see them.

Knows nothing of systems' numbers or of what makes a picture hard beyond the ranges it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from training.drawings import optics
from training.drawings.interface import Drawn, Place, covered
from training.drawings.keys import outline
from training.drawings.keys.difficulty import Difficulty
from training.drawings.keys.systems import System

SIDE = 336
_FINE = 2  # how much finer outlines are drawn than they are seen
_METALS = ((196, 162, 88), (186, 190, 194), (168, 172, 178), (150, 118, 70), (208, 196, 160))
_GROUNDS = (
    (92, 70, 52),
    (60, 64, 70),
    (150, 140, 128),
    (188, 184, 178),
    (38, 40, 44),
    (104, 112, 96),
    (124, 40, 44),
    (58, 78, 110),
)
Array = NDArray[np.float32]


_UNITS = np.array([[1 / 700, 0, -300 / 700], [0, 1 / 170, -1], [0, 0, 1]])
"""From thousandths of an inch to coordinates from about -1 to 1."""


class View:
    """From thousandths of an inch to pixels: size, rotation, shift, and a perspective that draws the corners about."""

    def __init__(self, rng: np.random.Generator, difficulty: Difficulty, system: System) -> None:
        angle = np.deg2rad(rng.uniform(-difficulty.rotation, difficulty.rotation))
        zoom = rng.uniform(*difficulty.fill) * SIDE / (system.length + outline.BOW)
        middle = np.array([(system.length - outline.BOW) / 2, system.blade / 2])
        shift = SIDE / 2 + rng.uniform(-difficulty.shift, difficulty.shift, 2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        flip = np.diag([1.0, -1.0])  # y grows downwards in pictures
        self.linear = zoom * turn @ flip
        self.offset = shift - self.linear @ middle
        self.tilt = rng.uniform(-1, 1, 2) * difficulty.perspective / (SIDE / 2)

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(P, 2)` to `(P, 2)`."""
        flat = np.asarray(points) @ self.linear.T + self.offset - SIDE / 2
        seen: NDArray[np.float64] = flat / (1 + flat @ self.tilt)[:, None] + SIDE / 2
        return seen

    def frame(self) -> NDArray[np.float64]:
        """See `Drawn.frame`: x from the middle of what is seen of a key, y from the middle of a blade."""
        half = SIDE / 2
        flat = np.eye(3)
        flat[:2, :2], flat[:2, 2] = self.linear, self.offset - half
        seen = np.array([[1.0, 0.0, half], [0.0, 1.0, half], [0.0, 0.0, 1.0]])
        seen[:2, :2] += half * self.tilt
        seen[2, :2] = self.tilt
        whole: NDArray[np.float64] = _UNITS @ np.linalg.inv(seen @ flat)
        return whole


def picture(
    rng: np.random.Generator, system: System, depths: Sequence[int], brand: str, difficulty: Difficulty
) -> Drawn:
    """The key, with a place for the warding, the stamp and each cut."""
    view = View(rng, difficulty, system)
    edge = outline.profile(system, depths, rng.uniform(0, difficulty.wear))
    shapes = [outline.bow(system, int(rng.integers(3))), outline.blade(system, edge)]
    key = _mask([view(shape) for shape in shapes])
    canvas = _ground(rng, difficulty)
    canvas *= 1 - _shadow(rng, key)[..., None]
    metal = _metal(rng, view)
    _warding(metal, rng, system, view)
    _stamp(metal, rng, brand, system, view)
    metal -= (70 * (np.roll(key, 1, 0) - np.roll(key, -1, 0)))[..., None]  # the rim: lighter above, darker below
    metal -= canvas
    metal *= key[..., None]
    canvas += metal
    coverage = covered(np.rint(key * 255).astype(np.uint8))
    pixels = _camera(canvas, rng, difficulty, view, system)
    return Drawn(pixels, _places(system, depths, view), coverage, view.frame())


def _places(system: System, depths: Sequence[int], view: View) -> dict[str, Place]:
    """The middle of the warding, the stamp, and the floors of the cuts."""
    points = {"/keyway": (system.length / 2, 0.3 * system.blade), "/brand": (-200.0, system.blade / 2)}
    for i, depth in enumerate(depths):
        points[f"/bittings/{i}"] = (system.first + i * system.spacing, system.root(depth))
    seen = view(np.array(list(points.values())))
    return {name: (float(x), float(y)) for name, (x, y) in zip(points, seen, strict=True)}


def _mask(shapes: list[NDArray[np.float64]], width: int | None = None) -> Array:
    """How far each pixel is covered, `(336, 336)` in [0, 1]. width: of open lines, in pixels; None for filled shapes."""
    fine = Image.new("L", (SIDE * _FINE, SIDE * _FINE))
    pen = ImageDraw.Draw(fine)
    for shape in shapes:
        points = [(float(x), float(y)) for x, y in shape * _FINE]
        if width is None:
            pen.polygon(points, fill=255)
        else:
            pen.line(points, fill=255, width=width, joint="curve")
    return np.asarray(fine.reduce(_FINE), np.float32) / np.float32(255)


def _ground(rng: np.random.Generator, difficulty: Difficulty) -> Array:
    base = np.array(_GROUNDS[rng.integers(len(_GROUNDS))], np.float32) + rng.uniform(-14, 14, 3).astype(np.float32)
    rough = Image.fromarray(rng.integers(0, 255, (int(rng.integers(6, 60)), int(rng.integers(6, 60))), dtype=np.uint8))
    texture = np.asarray(rough.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) - 127
    ground = Image.fromarray(np.clip(base + texture[..., None] * rng.uniform(0.02, 0.14), 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(ground)
    for _ in range(int(rng.integers(0, difficulty.clutter + 1))):
        x, y = rng.uniform(0, SIDE, 2)
        size = rng.uniform(10, 70)
        colour = tuple(int(c) for c in rng.integers(20, 230, 3))
        kind = int(rng.integers(3))
        if kind == 0:
            pen.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), fill=colour, outline=(30, 30, 30))
        elif kind == 1:
            pen.line([(x, y), tuple(rng.uniform(0, SIDE, 2))], fill=colour, width=int(rng.integers(1, 9)))
        else:
            corners = [(x + dx * size, y + dy * size) for dx, dy in rng.uniform(-0.6, 0.6, (4, 2))]
            pen.polygon(corners, fill=colour)
    return np.asarray(ground, np.float32).copy()


def _shadow(rng: np.random.Generator, key: Array) -> Array:
    blurred = Image.fromarray((key * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(float(rng.uniform(2, 6))))
    dx, dy = rng.integers(-7, 8, 2)
    return np.roll(np.asarray(blurred, np.float32) / np.float32(255), (int(dy), int(dx)), (0, 1)) * np.float32(
        rng.uniform(0.15, 0.55)
    )


def _metal(rng: np.random.Generator, view: View) -> Array:
    """A metal face that was brushed across the blade."""
    base = np.array(_METALS[rng.integers(len(_METALS))], np.float32) + rng.uniform(-10, 10, 3).astype(np.float32)
    streaks = Image.fromarray(rng.integers(0, 255, (12, SIDE), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR
    )
    face = base + (np.asarray(streaks, np.float32)[..., None] - 127) * np.float32(rng.uniform(0.02, 0.12))
    return face


def _warding(metal: Array, rng: np.random.Generator, system: System, view: View) -> None:
    """Grooves along the blade: dark, and bright on the side that faces the light."""
    depth = np.float32(rng.uniform(0.3, 0.65))
    long = np.array([-30.0, system.length])
    edges = [
        [np.stack([long, np.full(2, y)], axis=1) for y in (low, low + width)] for low, width in system.invented.grooves
    ]
    metal *= (1 - depth * _mask([view(np.concatenate([lower, upper[::-1]])) for lower, upper in edges]))[..., None]
    metal += (60 * depth * _mask([view(upper) for _, upper in edges], width=_FINE))[..., None]


@cache
def _word(brand: str) -> Image.Image:
    font = ImageFont.load_default(64)
    left, top, right, bottom = font.getbbox(brand)
    word = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8))
    ImageDraw.Draw(word).text((4 - left, 4 - top), brand, fill=255, font=font)
    return word


def _stamp(metal: Array, rng: np.random.Generator, brand: str, system: System, view: View) -> None:
    """The maker's word on the bow, pressed in: dark, with a bright lower edge."""
    word = _word(brand.upper() if rng.random() < 0.5 else brand)
    height = rng.uniform(95, 125)
    width = min(height * word.width / word.height, 350.0)
    left, low = -45.0 - width - rng.uniform(0, 20), system.blade / 2 - height / 2 + rng.uniform(-40, 40)
    corners = np.array([(left, low + height), (left + width, low + height), (left + width, low), (left, low)])
    seen = (
        np.asarray(
            word.transform(
                (SIDE, SIDE),
                Image.Transform.PERSPECTIVE,
                optics.homography(view(corners), word.size),
                Image.Resampling.BICUBIC,
            ),
            np.float32,
        )
        / 255
    )
    pressed = np.float32(rng.uniform(0.45, 0.8))
    metal *= (1 - pressed * seen)[..., None]
    metal += (50 * np.maximum(np.roll(seen, 1, 0) - seen, 0))[..., None]


def _camera(
    canvas: Array, rng: np.random.Generator, difficulty: Difficulty, view: View, system: System
) -> NDArray[np.uint8]:
    """Light, a highlight somewhere on the blade, lens and sensor."""
    optics.lit(canvas, rng, difficulty.light, difficulty.gradient)
    if rng.random() < difficulty.glare:
        place = np.array([[rng.uniform(0, system.length), rng.uniform(0.3, 0.9) * system.blade]])
        x, y = view(place)[0]
        optics.highlight(canvas, rng, (float(x), float(y)), float(rng.uniform(*difficulty.glare_strength)))
    return optics.photographed(canvas, rng, float(rng.uniform(*difficulty.blur)), float(rng.uniform(*difficulty.noise)))
