"""Ten thousand damaged pictures: each is refused or decodes, and nothing else happens."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
from PIL import Image

from safelight.errors import RequestError
from safelight.images import ImageLimits, decode
from tests.safelight.image_files import exif, file_of, interlaced_png, mended, mutated

LIMITS = ImageLimits(max_bytes=50_000, max_pixels=20_000, max_side=250)
PIXELS = np.random.default_rng(3).integers(0, 256, (11, 14, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
SEEDS = (
    file_of(PICTURE, "JPEG", exif=exif(6), comment=b"x"),
    file_of(PICTURE, "JPEG", progressive=True, restart_marker_blocks=1),
    file_of(PICTURE.convert("CMYK"), "JPEG"),
    file_of(PICTURE, "PNG", exif=exif(8), icc_profile=b"profile"),
    file_of(PICTURE.convert("P"), "PNG", transparency=b"\x00\x80"),
    file_of(PICTURE.convert("L"), "PNG", transparency=7),
    interlaced_png(PIXELS),
    file_of(PICTURE, "PNG", save_all=True, append_images=[PICTURE]),
    file_of(PICTURE, "WEBP", exif=exif(3), xmp=b"<x/>"),
    file_of(PICTURE.convert("RGBA"), "WEBP", lossless=True),
    file_of(Image.fromarray(np.dstack([PIXELS, PIXELS[:, :, 0]])), "WEBP"),
    file_of(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
)


@pytest.mark.filterwarnings("error")
def test_ten_thousand_damaged_pictures_are_refused_or_decode():
    draw, refused, decoded = random.Random(0), dict[str, int](), 0
    for number in range(10_000):
        data = mutated(SEEDS[number % len(SEEDS)], draw)
        if number % 5 < 2:
            data = mended(data)  # else a checksum or a length would stop nearly all of them
        try:
            pixels = decode(data, LIMITS)
        except RequestError as error:
            name = type(error).__name__
            refused[name] = refused.get(name, 0) + 1
            assert 400 <= error.status < 500 and error.detail.endswith(".")
            assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
        else:
            decoded += 1
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            assert 0 < pixels.shape[0] * pixels.shape[1] <= LIMITS.max_pixels
    assert decoded + sum(refused.values()) == 10_000
    # The damage is neither so slight nor so heavy that only one thing is tried.
    assert decoded > 200
    assert {"CorruptImage", "NotAnImage", "TooManyPixels", "SideTooLong", "SeveralPictures", "TrailingData",
            "UnsupportedFormat"} <= set(refused)  # fmt: skip


@pytest.mark.filterwarnings("error")
def test_any_beginning_with_any_rest_is_refused():
    """Whatever library names the type of what is no image has to bear anything, too."""
    draw = random.Random(1)
    heads = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x10\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0", b"MM\0*",
             b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypmif1", b"\xff\xff\xff\xffftypavif", b"\0\0\0\0ftyp", b"PK\3\4",
             b"%PDF-", b"\0\0\0\x0cjP  ", b"\x1aE\xdf\xa3", b"8BPS", b"ftyp", bytes(128) + b"DICM"]  # fmt: skip
    for _ in range(3_000):
        data = draw.choice(heads) + draw.randbytes(draw.randrange(1, 200))
        with pytest.raises(RequestError):
            decode(data, LIMITS)


def test_damage_is_the_same_each_time():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, other = ([mutated(seed, random.Random(5)) for seed in SEEDS] for _ in range(2))
    assert one == other
