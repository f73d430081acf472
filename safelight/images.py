"""Bytes to clean pixels: sniff, check, decode, orient, strip.

How it is done, not what is allowed: the limits and the formats come in as arguments. Knows nothing of HTTP. What leaves
`decode` is a fresh array of pixels: no metadata, thumbnail or trailing byte of the upload survives in it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import filetype
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from safelight.errors import (
    CorruptImage,
    EmptyBody,
    NotAnImage,
    TooLarge,
    TooManyPixels,
    TypeMismatch,
    UnsupportedFormat,
)

FORMATS: Mapping[str, str] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""Media types that can be read, and Pillow's names for them."""


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted: bytes of the file, pixels (width x height) once decoded, and media types."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 40_000_000
    media_types: tuple[str, ...] = field(default=tuple(FORMATS))

    def __post_init__(self) -> None:
        unknown = set(self.media_types) - set(FORMATS)
        if unknown:
            raise ValueError(f"media_types: expected some of {sorted(FORMATS)}, got also {sorted(unknown)}")


def sniff(data: bytes, limits: ImageLimits) -> str:
    """The media type that the magic bytes say.

    Raises NotAnImage when they belong to no image, UnsupportedFormat when to one that `limits` does not allow.
    """
    kind = filetype.guess(data[:8192])
    if kind is None or not kind.mime.startswith("image/"):
        raise NotAnImage(f"The bytes are not an image. Send one of: {', '.join(limits.media_types)}.")
    if kind.mime not in limits.media_types:
        raise UnsupportedFormat(f"{kind.mime} is not supported. Send one of: {', '.join(limits.media_types)}.")
    return str(kind.mime)


def decode(data: bytes, limits: ImageLimits, claimed_type: str | None = None) -> NDArray[np.uint8]:
    """An image file as `(H, W, 3)` uint8 RGB, upright as a person sees it (EXIF orientation applied, alpha on white).

    claimed_type: the media type the sender gave, if it gave one; it must be what the bytes say.
    Raises EmptyBody, TooLarge, NotAnImage, UnsupportedFormat, TypeMismatch, TooManyPixels or CorruptImage.
    """
    if not data:
        raise EmptyBody(f"Expected an image ({', '.join(limits.media_types)}), got no bytes.")
    if len(data) > limits.max_bytes:
        raise TooLarge(f"Expected at most {limits.max_bytes} bytes, got {len(data)}.")
    media_type = sniff(data, limits)
    if claimed_type is not None and claimed_type != media_type:
        raise TypeMismatch(f"The media type says {claimed_type}, the bytes say {media_type}. Send what they are.")
    try:
        with Image.open(io.BytesIO(data), formats=[FORMATS[media_type]]) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise TooManyPixels(f"Expected at most {limits.max_pixels} pixels, got {width} x {height}.")
            image.load()
            return _clean(ImageOps.exif_transpose(image))
    except TooManyPixels:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooManyPixels(f"Expected at most {limits.max_pixels} pixels, got far more.") from None
    except UnidentifiedImageError:
        raise CorruptImage(f"The bytes begin like {media_type} but cannot be read as such.") from None
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more on broken input
        raise CorruptImage(f"The {media_type} data ends early or does not decode.") from None


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W, 3)` uint8 RGB as a PNG without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _clean(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels alone, as RGB. Raises TypeError on pixel formats that have no known meaning as colour."""
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        grey = (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    return np.array(image.convert("RGB"), np.uint8)
