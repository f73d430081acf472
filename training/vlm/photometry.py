"""How the light of a picture may vary from one look to the next: brightness, contrast, noise, a slight blur.

Nothing here moves a pixel to another place: what is to be read stays where it is and keeps its size. Knows nothing of
models or answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Photometry:
    """brightness, contrast: largest factors, either way, 1 for none. noise: largest standard deviation of Gaussian noise, in
    grey levels of 0 to 255. blur: largest standard deviation of a Gaussian blur, in pixels. share: of the looks that vary at
    all; the others are the picture as it is."""

    brightness: float = 1.25
    contrast: float = 1.25
    noise: float = 6.0
    blur: float = 0.8
    share: float = 0.8

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a factor of at least 1, got {getattr(self, name)}")
        for name in ("noise", "blur"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: expected a number from 0 to 1, got {self.share}")

    def varied(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Another look at `(H, W, 3)` pixels; the same generator gives the same look."""
        brightness, contrast = np.exp(rng.uniform(-1, 1, 2) * np.log([self.brightness, self.contrast]))
        noise, blur = (float(most * rng.random()) for most in (self.noise, self.blur))
        if rng.random() >= self.share:
            return pixels
        if blur:
            pixels = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur)))
        mean = float(pixels.mean(dtype=np.float64)) * brightness
        seen = mean + (np.arange(256) * brightness - mean) * contrast  # of every grey level there is
        if not noise:
            return np.take(_rounded(seen), pixels)
        values = np.take(seen.astype(np.float32), pixels)
        return _rounded(values + rng.standard_normal(values.shape, np.float32) * np.float32(noise))


def _rounded(values: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values).clip(0, 255).astype(np.uint8)
    return rounded
