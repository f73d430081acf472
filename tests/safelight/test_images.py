import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safelight import errors
from safelight.images import FORMATS, ImageLimits, decode, encode_png
from tests.conftest import ROOT
from tests.safelight.image_files import as_pillow_sees_it

LIMITS = ImageLimits(max_bytes=200_000, max_pixels=100_000, max_side=2000)


def encoded(pixels, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("media_type", "kind"), FORMATS.items())
def test_every_allowed_format_decodes(picture, media_type, kind):
    pixels = decode(encoded(picture, kind), LIMITS, media_type)
    assert pixels.shape == picture.shape and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - picture).mean() < 6


def test_png_is_exact(picture):
    assert np.array_equal(decode(encode_png(picture), LIMITS), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(picture, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(picture, "PNG", exif=exif), LIMITS)
    turned = {3: np.rot90(picture, 2), 6: np.rot90(picture, -1), 8: np.rot90(picture, 1), 1: picture}
    assert pixels.shape == ((120, 90, 3) if orientation >= 5 else picture.shape)
    if orientation in turned:
        assert np.array_equal(pixels, turned[orientation])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_colour_mode_becomes_rgb(mode):
    image = Image.new("I;16", (20, 10), 65535) if mode == "I;16" else Image.new("RGB", (20, 10), "white").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(buffer.getvalue(), LIMITS).tolist() == np.full((10, 20, 3), 255).tolist()


def test_transparency_lies_on_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(buffer, "PNG")
    assert (decode(buffer.getvalue(), LIMITS) == 255).all()


def gif():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "GIF")
    return buffer.getvalue()


def bomb(side):
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "claimed", "error"),
    [
        (lambda p: b"", None, errors.EmptyBody),
        (lambda p: bytes(200_001), None, errors.TooLarge),
        (lambda p: b"just some text, no picture", None, errors.NotAnImage),
        (lambda p: b"%PDF-1.7 ........", "image/png", errors.NotAnImage),
        (lambda p: gif(), "image/gif", errors.UnsupportedFormat),
        (lambda p: encoded(p, "PNG"), "image/jpeg", errors.TypeMismatch),
        (lambda p: encoded(p)[:600], "image/jpeg", errors.CorruptImage),
        (lambda p: encoded(p, "PNG")[:200], "image/png", errors.CorruptImage),
        (lambda p: encoded(p, "WEBP")[:200], "image/webp", errors.CorruptImage),
        (lambda p: encoded(p)[:40], None, errors.CorruptImage),
        (lambda p: encoded(np.zeros((400, 400, 3), np.uint8)), None, errors.TooManyPixels),
        (lambda p: encoded(np.zeros((3, 2001, 3), np.uint8)), None, errors.SideTooLong),
        (lambda p: encoded(np.zeros((2001, 3, 3), np.uint8), "WEBP"), None, errors.SideTooLong),
        (lambda p: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", None, errors.UnsupportedFormat),
        (lambda p: b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", None, errors.UnsupportedFormat),
        (lambda p: bomb(11_000), None, errors.TooManyPixels),
        (lambda p: bomb(14_500), None, errors.TooManyPixels),
    ],
)
def test_each_bad_input_has_its_own_error(picture, make, claimed, error):
    with pytest.raises(error) as caught:
        decode(make(picture), LIMITS, claimed)
    assert 400 <= caught.value.status < 500
    assert caught.value.detail


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_raise_anything_else(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP"]))
    good = bytearray(encoded(np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3), kind))
    for _ in range(data.draw(st.integers(0, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        pixels = decode(cut, LIMITS)
    except errors.RequestError:
        return
    assert pixels.ndim == 3


def test_limits_name_unknown_media_types():
    with pytest.raises(ValueError, match="image/gif"):
        ImageLimits(media_types=("image/gif",))
    with pytest.raises(ValueError, match="media_types"):
        ImageLimits(media_types=())


def test_only_what_is_allowed_is_read(picture):
    limits = ImageLimits(media_types=("image/png",))
    assert np.array_equal(decode(encode_png(picture), limits), picture)
    for kind in ("JPEG", "WEBP"):
        with pytest.raises(errors.UnsupportedFormat, match="image/png"):
            decode(encoded(picture, kind), limits)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_large_picture_that_is_allowed_warns_of_nothing(kind, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(np.zeros((14, 14, 3), np.uint8), kind)  # Pillow would warn of it, and refuse it at twice the size
    assert decode(data, LIMITS).shape == (14, 14, 3)
    assert not recwarn.list


def test_the_pictures_that_ship_decode():
    names = sorted(path for folder in ("photos", "neon-trees") for path in (ROOT / "data/raw" / folder).glob("*.png"))
    if not names:
        pytest.skip("data/raw is not there (make data)")
    for path in names:
        pixels = decode(path.read_bytes(), ImageLimits())
        assert np.array_equal(pixels, as_pillow_sees_it(path.read_bytes()))
