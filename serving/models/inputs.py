"""How a graph wants its pictures: which element type, channels first or last, how many at a time. Read off its input.

Knows nothing of outputs and runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ManifestInvalid
from safelight.heads import Output

CHANNELS = 3

Cast = Callable[[NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True)
class Feed:
    """name: of the input. cast: from `(B, 3, S, S)` float32 in [0, 1] to what the graph takes. one_by_one: its batch is
    fixed at one. plain: it takes float32, channels first, as it comes."""

    name: str
    cast: Cast
    one_by_one: bool
    plain: bool


def feed_of(image: Output, side: int) -> Feed:
    """How to feed an input of this type and shape with squares of `side` pixels. Raises ManifestInvalid.

    Half precision is cast to; bytes are 0..255.
    """
    if image.dtype not in _CASTS:
        raise ManifestInvalid(f"Expected an input of {', '.join(_CASTS)}, got {image.dtype}.")
    if len(image.shape) != 4:
        raise ManifestInvalid(f"Expected an input of four dimensions, got {len(image.shape)}.")
    batch, second, third, last = image.shape
    first, behind = second == CHANNELS, last == CHANNELS
    if first == behind:
        raise ManifestInvalid(
            "Expected 3 channels in the input's second dimension or in its last, fixed in one of them."
        )
    sides = (third, last) if first else (second, third)
    if any(given not in (None, side) for given in sides):
        raise ManifestInvalid(f"Expected an input of {side} x {side} pixels, as the preprocessing makes them.")
    if batch not in (None, 1):
        raise ManifestInvalid(f"Expected a free batch dimension or one of 1, got {batch}.")
    cast = _CASTS[image.dtype]
    return Feed(
        image.name,
        cast if first else lambda pictures: np.ascontiguousarray(cast(pictures).transpose(0, 2, 3, 1)),
        one_by_one=batch == 1,
        plain=first and image.dtype == "float32",
    )


def _as_bytes(pictures: NDArray[np.float32]) -> NDArray[np.uint8]:
    scaled: NDArray[np.uint8] = np.rint(pictures * np.float32(255)).astype(np.uint8)
    return scaled


_CASTS: Mapping[str, Cast] = {
    "float32": lambda pictures: pictures,
    "float16": lambda pictures: pictures.astype(np.float16),
    "uint8": _as_bytes,
}
