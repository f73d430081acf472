"""JPEGs decoded at a fraction of their size."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import SafelightError, TooManyPixels
from safelight.images import ImageLimits, decode, decode_small

LIMITS = ImageLimits(max_bytes=2_000_000, max_pixels=1_000_000)


def scene(width, height):
    """Slow waves, which survive being scaled."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 30), np.cos(y / 25), np.sin((x + y) / 40)]
    return (np.stack(waves, axis=-1) * 100 + 128).astype(np.uint8)


def file_of(pixels, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("least_side", "expected"),
    [
        (64, (80, 60)),
        (80, (80, 60)),
        (81, (160, 120)),
        (320, (320, 240)),
        (321, (640, 480)),
        (9999, (640, 480)),
        (1, (80, 60)),
    ],
)
def test_the_longer_side_keeps_what_is_asked_for(least_side, expected):
    pixels, size = decode_small(file_of(scene(640, 480)), LIMITS, least_side)
    assert (pixels.shape[1], pixels.shape[0]) == expected
    assert size == (640, 480)


def test_it_shows_what_the_whole_picture_shows():
    data = file_of(scene(640, 480), quality=95)
    small, _ = decode_small(data, LIMITS, 320)
    whole = np.asarray(Image.fromarray(decode(data, LIMITS)).resize((320, 240), Image.Resampling.BOX), int)
    assert np.abs(small - whole).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright_and_so_is_the_size(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(scene(640, 480), exif=exif)
    pixels, size = decode_small(data, LIMITS, 160)
    whole = decode(data, LIMITS)
    assert size == (whole.shape[1], whole.shape[0])
    assert pixels.shape[:2] == (whole.shape[0] // 4, whole.shape[1] // 4)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_come_out_whole(kind):
    data = file_of(scene(640, 480), kind)
    pixels, size = decode_small(data, LIMITS, 64)
    assert np.array_equal(pixels, decode(data, LIMITS)) and size == (640, 480)


def test_without_a_least_side_it_is_whole():
    data = file_of(scene(640, 480))
    assert np.array_equal(decode_small(data, LIMITS, None)[0], decode(data, LIMITS))


def test_the_limit_is_of_the_whole_picture():
    with pytest.raises(TooManyPixels):
        decode_small(file_of(scene(1100, 1000)), LIMITS, 64)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 250), st.integers(0, 3))
def test_any_size(width, height, least_side, cut):
    data = file_of(scene(width, height))
    pixels, size = decode_small(data, LIMITS, least_side)
    longer = max(pixels.shape[:2])
    assert size == (width, height)
    assert longer >= min(least_side, max(width, height))
    assert longer in {-(-max(width, height) // factor) for factor in (1, 2, 4, 8)}
    if cut:
        with pytest.raises(SafelightError):
            decode_small(data[:-cut], LIMITS, least_side)
