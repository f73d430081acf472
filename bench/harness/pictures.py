"""JPEG files of a wanted size that cost a decoder what a photograph does: smooth shapes, fine detail, little colour noise.

They come from a seed, so that every run sends the same pictures, and nobody's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BITS_PER_PIXEL = 3.0  # what cameras write at about this quality
_QUALITY = 88
_TRIES = 10
_GRAIN = 6.0
_SAMPLE = 1024  # pixels a side of the part on which the strength of the detail is found


@dataclass(frozen=True)
class Picture:
    """label: its size in words. data: the file. size: (width, height) in pixels."""

    label: str
    data: bytes
    size: tuple[int, int]


def picture(wanted_bytes: int, seed: int) -> Picture:
    """A JPEG of about `wanted_bytes`: the strength of its fine detail is what is searched for."""
    width, height = _shape(wanted_bytes)
    rng = np.random.default_rng(seed)
    smooth = _octaves(rng, width, height, cells=(2, 4, 8, 16, 32))
    fine = _octaves(rng, width, height, cells=(height // 16, height // 8, height // 4, height // 2, height))
    colour = [_octaves(rng, width, height, cells=(2, 4, 8)) for _ in range(2)]
    planes = (smooth, fine, *colour)
    strength = _strength(tuple(_middle(plane) for plane in planes), wanted_bytes / (width * height))
    return Picture(_label(wanted_bytes), _jpeg(*planes, strength), (width, height))


def mosaic(files: Sequence[Path], wanted_bytes: int, seed: int) -> Picture:
    """Photographs side by side in two rows, with a little noise as cameras have it, as a JPEG of about `wanted_bytes`: how many
    pixels it has is what is searched for. For networks that see nothing on `picture`."""
    photographs = [Image.open(file).convert("YCbCr") for file in files[:4]]

    def at(width: int) -> tuple[bytes, tuple[int, int]]:
        half, low = width // 2, 3 * width // 8
        whole = Image.new("YCbCr", (2 * half, 2 * low))
        for index, photograph in enumerate(photographs):
            whole.paste(
                photograph.resize((half, low), Image.Resampling.BICUBIC), (half * (index % 2), low * (index // 2))
            )
        light, blue, red = (np.asarray(plane, np.float32) for plane in whole.split())
        grain = np.random.default_rng(seed).standard_normal(light.shape, np.float32)
        return _jpeg_of(light + _GRAIN * grain, blue, red), whole.size

    narrow, wide = 64, 8192
    for _ in range(2 * _TRIES):
        middle = 16 * ((narrow + wide) // 32)
        narrow, wide = (middle, wide) if len(at(middle)[0]) < wanted_bytes else (narrow, middle)
    data, size = at(middle)
    return Picture(_label(wanted_bytes), data, size)


def _shape(wanted_bytes: int) -> tuple[int, int]:
    """(width, height) of 4 to 3, multiples of 16 pixels."""
    pixels = 8 * wanted_bytes / _BITS_PER_PIXEL
    width = 16 * max(4, round(math.sqrt(pixels * 4 / 3) / 16))
    return width, 16 * max(3, round(width * 3 / 4 / 16))


def _octaves(rng: np.random.Generator, width: int, height: int, *, cells: Iterable[int]) -> NDArray[np.float32]:
    """(height, width) float32 of unit spread: noise at several scales, each 0.6 as strong as the one before it.

    cells: how many of them the height has, at each scale.
    """
    total = np.zeros((height, width), np.float32)
    for octave, rows in enumerate(cells):
        grid = rng.standard_normal((max(1, rows), max(2, rows * width // height)), np.float32)
        total += 0.6**octave * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
    return total / total.std()


def _strength(planes: tuple[NDArray[np.float32], ...], bytes_per_pixel: float) -> float:
    """How strong the detail must be for a file of that many bytes."""
    weak, strong = 0.0, 120.0
    for _ in range(_TRIES):
        middle = (weak + strong) / 2
        too_small = len(_jpeg(*planes, middle)) < bytes_per_pixel * planes[0].size
        weak, strong = (middle, strong) if too_small else (weak, middle)
    return (weak + strong) / 2


def _middle(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    top, left = (max(0, side - _SAMPLE) // 2 for side in plane.shape)
    return plane[top : top + _SAMPLE, left : left + _SAMPLE]


def _jpeg(
    smooth: NDArray[np.float32],
    fine: NDArray[np.float32],
    blue: NDArray[np.float32],
    red: NDArray[np.float32],
    strength: float,
) -> bytes:
    return _jpeg_of(128 + 45 * smooth + strength * fine, 128 + 20 * blue, 128 + 20 * red)


def _jpeg_of(*planes: NDArray[np.float32]) -> bytes:
    images = [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]
    buffer = io.BytesIO()
    Image.merge("YCbCr", images).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _label(size: int) -> str:
    return f"{size // 1_000_000} MB" if size >= 1_000_000 else f"{size // 1000} kB"
