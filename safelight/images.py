"""Bytes to clean pixels: sniff, check the structure, decode, orient.

How it is done, not what is allowed: the limits and the formats come in as arguments. Knows nothing of HTTP. What leaves
`decode` is a fresh array of pixels: no metadata, thumbnail or trailing byte of the upload survives in it. Colours are taken
as sRGB: colour profiles are dropped with the rest.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import filetype
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from safelight import modern_images
from safelight.errors import (
    CorruptImage,
    EmptyBody,
    NotAnImage,
    SafelightError,
    SideTooLong,
    TooLarge,
    TooManyPixels,
    TypeMismatch,
    UnsupportedFormat,
)
from safelight.image_structure import boxes, jpeg, png, webp

FORMATS: Mapping[str, str] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
"""Media types that can always be read, and Pillow's names for them."""
OPTIONAL_FORMATS: Mapping[str, str] = {"image/heic": "HEIF", "image/avif": "AVIF"}
"""Those that need a decoder which may not be there."""
_STRUCTURES = {"image/jpeg": jpeg.read, "image/png": png.read, "image/webp": webp.read}
_DECODERS: Mapping[str, type[ImageFile.ImageFile]] = {
    "image/jpeg": JpegImagePlugin.JpegImageFile,
    "image/png": PngImagePlugin.PngImageFile,
    "image/webp": WebPImagePlugin.WebPImageFile,
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted: bytes of the file, pixels (width x height) and pixels of the longer side once decoded, and media
    types. Raises ConfigError when a media type is named whose decoder is not installed."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 40_000_000
    media_types: tuple[str, ...] = field(default=tuple(FORMATS))
    max_side: int = 65_535

    def __post_init__(self) -> None:
        unknown = set(self.media_types) - set(FORMATS) - set(OPTIONAL_FORMATS)
        if unknown or not self.media_types:
            known = sorted({*FORMATS, *OPTIONAL_FORMATS})
            raise ValueError(f"media_types: expected some of {known}, got also {sorted(unknown)}")
        modern_images.require(self.media_types)


def sniff(data: bytes, limits: ImageLimits) -> str:
    """The media type that the magic bytes say.

    Raises NotAnImage when they belong to no image, UnsupportedFormat when to one that `limits` does not allow.
    """
    kind = _magic(data)
    if kind is None or not kind.startswith("image/"):
        raise NotAnImage(f"The bytes are not an image. Send one of: {', '.join(limits.media_types)}.")
    if kind not in limits.media_types:
        raise UnsupportedFormat(f"{kind} is not supported. Send one of: {', '.join(limits.media_types)}.")
    return kind


def decode(data: bytes, limits: ImageLimits, claimed_type: str | None = None) -> NDArray[np.uint8]:
    """An image file as `(H, W, 3)` uint8 RGB, upright as a person sees it (EXIF orientation applied, alpha on white).

    claimed_type: the media type the sender gave, if it gave one; it must be what the bytes say.
    Raises EmptyBody, TooLarge, NotAnImage, UnsupportedFormat, TypeMismatch, TooManyPixels, SideTooLong, SeveralPictures,
    TrailingData or CorruptImage, and warns of nothing.
    """
    return decode_small(data, limits, None, claimed_type)[0]


def decode_small(
    data: bytes, limits: ImageLimits, least_side: int | None, claimed_type: str | None = None
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """As `decode`, but a JPEG may come out at 1/2, 1/4 or 1/8 of its size, as long as its longer side keeps `least_side`
    pixels: (pixels, (width, height) of the whole picture, upright). Other formats, and None, come out whole.

    The decoder leaves out the high frequencies of each 8 x 8 block (the DCT's, hence the name of the method), so that most
    of the work is never done. It is lossy: pixels are not those of the whole picture scaled down. Raises what `decode` does.
    """
    if not data:
        raise EmptyBody(f"Expected an image ({', '.join(limits.media_types)}), got no bytes.")
    if len(data) > limits.max_bytes:
        raise TooLarge(f"Expected at most {limits.max_bytes} bytes, got {len(data)}.")
    media_type = sniff(data, limits)
    if claimed_type is not None and claimed_type != media_type:
        raise TypeMismatch(f"The media type says {claimed_type}, the bytes say {media_type}. Send what they are.")
    try:
        if media_type in OPTIONAL_FORMATS:
            pixels = _decode_modern(data, media_type, limits)
            return pixels, (pixels.shape[1], pixels.shape[0])
        still = _STRUCTURES[media_type](data)
        _check_size(still.width, still.height, limits)
        if media_type == "image/png":
            png.check_rows(still.data)
        # Not Image.open: that would try other formats, and warn of large pictures, whose limits are checked above.
        with _DECODERS[media_type](io.BytesIO(still.data)) as image:
            if image.size != (still.width, still.height):
                raise CorruptImage(f"The {media_type} data says different sizes.")
            if least_side is not None and media_type == "image/jpeg":
                _scale_down(image, least_side)
            image.load()
            pixels = clean(image, still.orientation)
            turned = still.orientation in _SIDEWAYS
            return pixels, (still.height, still.width) if turned else (still.width, still.height)
    except SafelightError:
        raise
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error and more on broken input
        raise CorruptImage(f"The {media_type} data ends early or does not decode.") from None


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W, 3)` uint8 RGB as a PNG without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _magic(data: bytes) -> str | None:
    """The media type that a file begins like, None when it is none that is known."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(png.SIGNATURE[:4]):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    modern = boxes.media_type(data)
    if modern is not None:
        return modern
    kind = filetype.guess(data[:512])  # only to tell the sender what it is
    return None if kind is None else str(kind.mime)


def _decode_modern(data: bytes, media_type: str, limits: ImageLimits) -> NDArray[np.uint8]:
    """HEIC and AVIF: their decoders count the pictures, and give the size before they decode."""
    boxes.check(data, OPTIONAL_FORMATS[media_type])
    image, orientation = modern_images.opened(data, media_type)
    with image:
        _check_size(*image.size, limits)
        image.load()
        return clean(image, orientation)


def _scale_down(image: ImageFile.ImageFile, least_side: int) -> None:
    """Let the decoder leave out what a picture of `least_side` pixels does not need. Pillow chooses the smallest size of
    at least the one asked for, side by side; asking a pixel less on the shorter one keeps rounding from costing a step."""
    width, height = image.size
    share = least_side / max(width, height)
    if share < 1:
        image.draft(None, (max(1, int(width * share)), max(1, int(height * share))))


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise TooManyPixels(f"Expected at most {limits.max_pixels} pixels, got {width} x {height}.")
    if max(width, height) > limits.max_side:
        raise SideTooLong(f"Expected sides of at most {limits.max_side} pixels, got {width} x {height}.")


def clean(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    """Pixels alone, as RGB, upright. Raises on pixel formats that have no known meaning as colour."""
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's own conversion clips instead of scaling
        samples = np.asarray(image, np.uint16)
        grey = (samples >> 8).astype(np.uint8)
        grey[samples == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey)
    elif image.has_transparency_data:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    return np.array(image, np.uint8)
