"""A flat drawing as a camera sees it: perspective, light, highlights, lens and sensor. Knows nothing of what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.drawings.interface import Place

Plane = NDArray[np.float32]


def homography(seen: NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """Eight numbers, as `Image.transform` takes them, from pixels of the picture to pixels of a drawing of (width, height)
    whose corners are seen at `seen`, `(4, 2)`, clockwise from the upper left."""
    width, height = size
    corners = ((0, 0), (width, 0), (width, height), (0, height))
    rows, right = [], []
    for (x, y), (u, v) in zip(seen, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows), np.array(right))]


def seen_at(numbers: Sequence[float], places: Mapping[str, Place]) -> dict[str, Place]:
    """Where places of a drawing are seen, by the numbers of `homography`."""
    back = np.linalg.inv(np.append(np.array(numbers), 1.0).reshape(3, 3))
    points = np.array([(x, y, 1.0) for x, y in places.values()]) @ back.T
    return {name: (float(x / w), float(y / w)) for name, (x, y, w) in zip(places, points, strict=True)}


def corners_seen(
    rng: np.random.Generator, size: tuple[int, int], side: int, width: float, turn: float, tilt: float, shift: float
) -> NDArray[np.float64]:
    """Where the corners of a drawing of (width, height) lie in a square picture of `side` pixels, `(4, 2)`.

    width: of the drawing as seen, pixels. turn: greatest angle either way, degrees. tilt: greatest shift of each corner,
    share of the width. shift: greatest shift of the whole, pixels.
    """
    half = np.array([width, width * size[1] / size[0]]) / 2
    flat = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    angle = np.deg2rad(rng.uniform(-turn, turn))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    drawn_about = rng.uniform(-tilt, tilt, (4, 2)) * width
    whole: NDArray[np.float64] = flat @ rotation.T + drawn_about + side / 2 + rng.uniform(-shift, shift, 2)
    return whole


def lit(canvas: Plane, rng: np.random.Generator, light: tuple[float, float], gradient: float) -> None:
    """Brightness of the whole, and a change of it across the picture, share; in place."""
    height, width = canvas.shape[:2]
    direction = rng.uniform(0, 2 * np.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(direction))
    down = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(np.sin(direction))
    slope = np.float32(rng.uniform(0, gradient))
    canvas *= (np.float32(rng.uniform(*light)) * (1 + slope * (across[None, :] + down[:, None])))[..., None]


def highlight(canvas: Plane, rng: np.random.Generator, middle: tuple[float, float], strength: float) -> None:
    """A round reflection of a lamp about a place, in place. strength: of 255."""
    height, width = canvas.shape[:2]
    radii = rng.uniform(10, 34, 2)
    across = np.exp(-(((np.arange(width) - middle[0]) / radii[0]) ** 2)).astype(np.float32)
    down = np.exp(-(((np.arange(height) - middle[1]) / radii[1]) ** 2)).astype(np.float32)
    canvas += np.float32(255 * strength) * (down[:, None] * across[None, :])[..., None]


def photographed(canvas: Plane, rng: np.random.Generator, blur: float, noise: float) -> NDArray[np.uint8]:
    """Lens and sensor: blur, standard deviation in pixels; noise, standard deviation of 255. `(H, W, 3)` uint8."""
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    if blur > 0.05:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    seen = np.asarray(image, np.float32) + _grain(rng, canvas.shape[0], canvas.shape[1]) * np.float32(noise)
    return np.clip(seen, 0, 255, out=seen).astype(np.uint8)


_NOISE_SIDE = 1024


@cache
def _noise() -> Plane:
    """Noise to cut pieces from, grey with some colour: to draw it anew for each picture took longer than all else."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((_NOISE_SIDE // 4, _NOISE_SIDE // 4, 3), np.float32).repeat(4, 0).repeat(4, 1)
    return rng.standard_normal((_NOISE_SIDE, _NOISE_SIDE, 1), np.float32) + coarse * np.float32(0.25)


def _grain(rng: np.random.Generator, height: int, width: int) -> Plane:
    y, x = int(rng.integers(0, _NOISE_SIDE - height)), int(rng.integers(0, _NOISE_SIDE - width))
    return _noise()[y : y + height, x : x + width]
