"""Encoded pictures to what the learner sees of them: upright RGB pixels, and what they look like.

Knows nothing of files, boxes or splits. The pixels are made by the same function that serving uses (safelight/images.py),
so that transparency, 16-bit grey and EXIF orientation mean the same on both sides.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from safelight.errors import DataError
from safelight.images import clean
from training.data.records import Looks

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_KEPT = frozenset({"JPEG", "MPO", "PNG", "WEBP"})  # MPO: what Pillow calls a JPEG with further pictures in it
_PLAIN_MODES = frozenset({"1", "L", "P", "RGB"})
_HASHED_SIDE = 128  # pixels, at least, of the shorter side that is hashed
_FLAT = 2.0  # grey levels: a thumbnail that varies less than this has no features to hash


@dataclass(frozen=True)
class Opened:
    """A decoded picture. pixels: `(H, W, 3)` uint8 RGB, upright. turned: EXIF turned it by a quarter, so that its sides
    are exchanged. plain: any reader of the encoded bytes gets these very pixels from them, so they may be kept."""

    pixels: NDArray[np.uint8]
    turned: bool
    plain: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.pixels.shape[1], self.pixels.shape[0]


def opened(data: bytes, max_pixels: int) -> Opened:
    """Decode a picture whole. Raises DataError, whose message is a few words: why it cannot be used."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise DataError("too many pixels")
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # of an MPO, the first is the photograph
                raise DataError("several pictures in one file")
            orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
            image.load()
            plain = (
                image.format in _KEPT
                and image.mode in _PLAIN_MODES
                and not image.has_transparency_data
                and orientation not in range(2, 9)
            )
            return Opened(clean(image, orientation), orientation in range(5, 9), plain)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError("too many pixels") from None
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more on broken input
        raise DataError("unreadable image") from None


def looks(pixels: NDArray[np.uint8]) -> Looks:
    """Fingerprints of `(H, W, 3)` pixels: exact, and perceptual.

    Perceptual: the signs of the low frequencies of the discrete cosine transform, and of horizontal differences (Zauner,
    "Implementation and benchmarking of perceptual image hash functions", 2010).
    """
    grey = Image.fromarray(pixels).convert("L")
    grey = grey.reduce(
        max(1, min(grey.size) // _HASHED_SIDE)
    )  # the hashes see no detail, so large pictures cost little
    small = grey.resize((32, 32), Image.Resampling.BOX)
    exact = hashlib.sha256(repr(pixels.shape).encode())
    exact.update(np.ascontiguousarray(pixels).data)
    flat = float(np.asarray(small, np.float32).std()) < _FLAT
    return Looks(exact.hexdigest(), _bits(imagehash.phash(grey)), _bits(imagehash.dhash(grey)), flat)


def thumbnail(pixels: NDArray[np.uint8], side: int, quality: int = 80) -> bytes:
    """A JPEG of at most `side` pixels either way, without metadata."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _bits(found: imagehash.ImageHash) -> int:
    return int.from_bytes(np.packbits(found.hash.flatten()).tobytes(), "big")
