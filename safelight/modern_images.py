"""HEIC and AVIF: decoders that may not be installed, loaded only when a media type that needs them is allowed.

Nothing is registered with Pillow: whoever does not ask for these formats cannot get them.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Collection
from importlib import import_module

from PIL import Image, features

from safelight.errors import ConfigError
from safelight.image_structure.orientation import UPRIGHT, orientation_of
from safelight.image_structure.still import several

HEIC, AVIF = "image/heic", "image/avif"
_QUIETLY = threading.Lock()


def require(media_types: Collection[str]) -> None:
    """Raises ConfigError when a decoder that one of the media types needs is not there."""
    if HEIC in media_types:
        try:
            import_module("pillow_heif")
        except ImportError:
            raise ConfigError(
                "The media type image/heic needs pillow-heif. Install it (pip install 'safelight[heif]'), or take "
                "image/heic out of limits.media_types."
            ) from None
    if AVIF in media_types and not features.check("avif"):
        raise ConfigError(
            "The media type image/avif needs a Pillow built with libavif. Install one, or take image/avif out of "
            "limits.media_types."
        )


def opened(data: bytes, media_type: str) -> tuple[Image.Image, int]:
    """The one picture of a file, not decoded yet, and the EXIF orientation that is still to be applied.

    Raises SeveralPictures, and whatever a decoder raises on broken data.
    """
    # Both decoders parse the file's EXIF as they open it, and Pillow warns when that is broken. Filters of warnings belong to
    # the whole process: hence one at a time, for as long as a header takes.
    with _QUIETLY, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _heic(data) if media_type == HEIC else _avif(data)


def _heic(data: bytes) -> tuple[Image.Image, int]:
    """libheif turns and mirrors as the container says; EXIF's orientation is for information only (ISO/IEC 23008-12)."""
    image: Image.Image = import_module("pillow_heif").HeifImageFile(io.BytesIO(data))
    if getattr(image, "n_frames", 1) != 1:
        raise several("HEIC")
    return image, UPRIGHT


def _avif(data: bytes) -> tuple[Image.Image, int]:
    """Pillow puts what the container says of turning and mirroring into the EXIF orientation."""
    image: Image.Image = import_module("PIL.AvifImagePlugin").AvifImageFile(io.BytesIO(data))
    if getattr(image, "n_frames", 1) != 1:
        raise several("AVIF")
    return image, orientation_of(image.info.get("exif", b""))
