"""How well a picture can be looked at: numbers, and what somebody can do where they are poor.

Knows nothing of tasks or models: a sharp picture of the wrong thing is a good one here. Sharpness, dark and bright are
measured as the page in the browser measures them (clients/web/src/quality.ts).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

MEASURED_SIDE = 512
"""Pixels of the longer side at which all but the resolution is measured: sharpness depends on it."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CLIPPED_DARK = 8
_CLIPPED_BRIGHT = 247
_SPREAD = (5, 95)  # percentiles


@dataclass(frozen=True)
class Quality:
    """sharpness: variance of the Laplacian of 8-bit luma (Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", ICPR 2000); noise raises it. luminance: mean luma, 0 to 1. dark, bright: shares of pixels that are clipped,
    0 to 1. contrast: from the 5th to the 95th percentile of luma, 0 to 1. width, height: pixels of the picture as it came.
    """

    sharpness: float
    luminance: float
    dark: float
    bright: float
    contrast: float
    width: int
    height: int

    def to_dict(self) -> dict[str, float | int]:
        """Plain values, rounded to four significant digits."""
        return {k: v if isinstance(v, int) else float(f"{v:.4g}") for k, v in asdict(self).items()}


class QualityLimits(BaseModel):
    """What a picture is held to, in the units of `Quality`; None: not held to. min_side: pixels of the shorter side.

    The usual limits refuse what nobody could read, not what is merely poor: they lie beyond every drawn picture, the hard
    splits' included (tests/training/drawings). A drawn meter without noise falls below min_sharpness from a blur of about
    three of its 336 pixels; noise hides blur from this measure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_sharpness: float | None = Field(1.5, ge=0)
    min_luminance: float | None = Field(0.06, ge=0, le=1)
    max_luminance: float | None = Field(0.94, ge=0, le=1)
    max_dark: float | None = Field(0.7, ge=0, le=1)
    max_bright: float | None = Field(0.5, ge=0, le=1)
    min_contrast: float | None = Field(0.05, ge=0, le=1)
    min_side: int | None = Field(112, ge=1)


@dataclass(frozen=True)
class Problem:
    """measure: of `Quality`, or `side`. value, limit: what was found and what is wanted. advice: what to do about it."""

    measure: str
    value: float
    limit: float
    advice: str


def measure(pixels: NDArray[np.uint8]) -> Quality:
    """The quality of `(H, W, 3)` uint8 RGB, upright. Raises ValueError on an array of another shape or type."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or pixels.dtype != np.uint8:
        raise ValueError(f"expected pixels (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape[:2]
    luma = _scaled(pixels) @ _LUMA
    low, high = np.percentile(luma, _SPREAD)
    return Quality(
        sharpness=_laplacian_variance(luma),
        luminance=float(luma.mean() / 255),
        dark=float(np.mean(luma <= _CLIPPED_DARK)),
        bright=float(np.mean(luma >= _CLIPPED_BRIGHT)),
        contrast=float((high - low) / 255),
        width=width,
        height=height,
    )


def problems(quality: Quality, limits: QualityLimits) -> tuple[Problem, ...]:
    """What is wrong with a picture of that quality, the most fundamental first; empty where nothing is."""
    side = min(quality.width, quality.height)
    held = (
        _least("side", side, limits.min_side, "Take the picture from nearer, or send it at its full resolution."),
        _least("luminance", quality.luminance, limits.min_luminance, "Take the picture in more light."),
        _most("luminance", quality.luminance, limits.max_luminance, "Take the picture in less light, or without flash."),
        _most("dark", quality.dark, limits.max_dark, "Light the object, or place it on a lighter ground."),
        _most("bright", quality.bright, limits.max_bright, "Avoid glare: turn the object or the lamp; no flash."),
        _least("contrast", quality.contrast, limits.min_contrast, "Choose a ground that stands out from the object."),
        _least("sharpness", quality.sharpness, limits.min_sharpness, "Hold the camera still, and let it focus on the object."),
    )  # fmt: skip
    return tuple(problem for problem in held if problem is not None)


def _least(name: str, value: float, limit: float | None, advice: str) -> Problem | None:
    return Problem(name, value, limit, advice) if limit is not None and value < limit else None


def _most(name: str, value: float, limit: float | None, advice: str) -> Problem | None:
    return Problem(name, value, limit, advice) if limit is not None and value > limit else None


def _scaled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture at the side at which it is measured, bilinear."""
    height, width = pixels.shape[:2]
    scale = MEASURED_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (width, height):
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return pixels.astype(np.float32)


def _laplacian_variance(luma: NDArray[np.float32]) -> float:
    """Variance of the 4-neighbour Laplacian over the inner pixels; 0 where there are none."""
    inner = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    return float(inner.var(dtype=np.float64)) if inner.size else 0.0
