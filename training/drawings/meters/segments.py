"""Seven-segment digits as polygons. Knows nothing of colours or of meters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

LIT = {
    "0": "abcdef", "1": "bc", "2": "abdeg", "3": "abcdg", "4": "bcfg",
    "5": "acdfg", "6": "acdefg", "7": "abc", "8": "abcdefg", "9": "abcdfg",
}  # fmt: skip
"""The segments of a digit: a on top, then clockwise to f, g in the middle."""

_BARS = {
    "a": (0, 0, 1, 0), "b": (1, 0, 1, 1), "c": (1, 1, 1, 2), "d": (0, 2, 1, 2),
    "e": (0, 1, 0, 2), "f": (0, 0, 0, 1), "g": (0, 1, 1, 1),
}  # fmt: skip
"""Ends of each segment, in widths and half heights of the digit."""

Polygon = NDArray[np.float64]


def segments(size: tuple[float, float], thickness: float, gap: float) -> dict[str, Polygon]:
    """Hexagons `(6, 2)` of a digit of (width, height), by segment; the corner of the digit is at (0, 0)."""
    scale = np.array([size[0], size[1] / 2])
    ends = {name: np.array(bar).reshape(2, 2) * scale for name, bar in _BARS.items()}
    return {name: _bar(one, other, thickness, gap) for name, (one, other) in ends.items()}


def digits(
    text: str, size: tuple[float, float], pitch: float, thickness: float, slant: float
) -> Iterator[tuple[Polygon, bool]]:
    """Every segment of a row of digits, and whether it is lit; a point stands low between two digits and takes no room.

    pitch: from one digit to the next. slant: how far the top leans to the right, share of the height.
    """
    shapes = segments(size, thickness, thickness * 0.12)
    place = 0.0
    for sign in text:
        if sign == ".":
            half = thickness * 0.62
            middle = np.array([place - (pitch - size[0]) / 2, size[1]])
            yield _leaning(middle + half * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]), size[1], slant), True
            continue
        for name, shape in shapes.items():
            yield _leaning(shape + np.array((place, 0.0)), size[1], slant), name in LIT[sign]
        place += pitch


def _bar(one: Polygon, other: Polygon, thickness: float, gap: float) -> Polygon:
    along = (other - one) / np.linalg.norm(other - one)
    across = np.array([-along[1], along[0]]) * thickness / 2
    one, other = one + along * gap, other - along * gap
    inset = along * thickness / 2
    return np.stack(
        [one, one + inset + across, other - inset + across, other, other - inset - across, one + inset - across]
    )


def _leaning(shape: Polygon, height: float, slant: float) -> Polygon:
    return np.stack([shape[:, 0] + (height - shape[:, 1]) * slant, shape[:, 1]], axis=1)
