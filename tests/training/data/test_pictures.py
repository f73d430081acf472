import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import DataError
from safelight.images import ImageLimits, decode
from tests.training.data import made
from training.data.duplicates import Pair, clusters, pairs
from training.data.pictures import looks, opened, thumbnail

MOST = 1_000_000


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


PHOTO = Image.fromarray(made.pixels(0))
ALPHA = Image.fromarray(np.dstack([made.pixels(0), np.full((48, 64), 100, np.uint8)]))
DEEP = Image.fromarray(np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64))


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (saved(PHOTO, "PNG"), True),
        (saved(PHOTO, "JPEG", quality=90), True),
        (saved(PHOTO, "WEBP"), True),
        (saved(PHOTO.convert("L"), "PNG"), True),
        (saved(PHOTO.convert("P"), "PNG"), True),
        (saved(PHOTO, "JPEG", exif=exif(1)), True),
        (saved(PHOTO, "JPEG", exif=exif(3)), False),
        (saved(PHOTO, "JPEG", exif=exif(6)), False),
        (saved(ALPHA, "PNG"), False),
        (saved(DEEP, "PNG"), False),
    ],
)
def test_the_learner_sees_what_serving_sees(data, plain):
    picture = opened(data, MOST)
    assert np.array_equal(picture.pixels, decode(data, ImageLimits()))
    assert picture.plain == plain
    if plain:  # so that whoever opens the bytes naively gets the same
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), picture.pixels)


@pytest.mark.parametrize("form", ["BMP", "TIFF"])
def test_other_formats_are_read_but_not_kept(form):
    picture = opened(saved(PHOTO, form), MOST)
    assert np.array_equal(picture.pixels, made.pixels(0)) and not picture.plain


def test_a_quarter_turn_is_told():
    assert opened(saved(PHOTO, "JPEG", exif=exif(6)), MOST).turned
    assert opened(saved(PHOTO, "JPEG", exif=exif(6)), MOST).size == (48, 64)
    assert not opened(saved(PHOTO, "JPEG", exif=exif(3)), MOST).turned
    assert not opened(saved(PHOTO, "JPEG", exif=exif(99)), MOST).turned


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "unreadable"),
        (b"GIF89a" + bytes(20), "unreadable"),
        (saved(PHOTO, "JPEG")[:300], "unreadable"),
        (saved(PHOTO, "PNG")[:-30], "unreadable"),
        (saved(PHOTO, "TIFF", save_all=True, append_images=[PHOTO]), "several pictures"),
        (saved(PHOTO, "PNG", save_all=True, append_images=[Image.fromarray(made.pixels(1))]), "several pictures"),
        (saved(Image.new("RGB", (1001, 1000)), "PNG"), "too many pixels"),
        (saved(Image.new("1", (30_000, 30_000)), "PNG"), "too many pixels"),
    ],
)
def test_what_cannot_be_used_says_why(data, why):
    with pytest.raises(DataError, match=why):
        opened(data, MOST)


@given(st.binary(max_size=64), st.integers(0, 3000))
def test_any_damage_is_read_or_refused(noise, at):
    data = made.encoded(0, "JPEG")
    at %= len(data)
    try:
        assert opened(data[:at] + noise + data[at + len(noise) :], MOST).pixels.dtype == np.uint8
    except DataError as error:
        assert str(error) in ("unreadable image", "too many pixels", "several pictures in one file")


def test_thumbnails_are_small_jpegs():
    image = Image.open(io.BytesIO(thumbnail(made.pixels(0, (400, 300)), 100)))
    assert image.format == "JPEG" and image.size == (100, 75)


def test_the_same_picture_saved_otherwise_is_a_near_duplicate_and_others_are_not():
    base = Image.fromarray(made.pixels(0, (200, 150)))
    again = Image.open(io.BytesIO(saved(base.resize((160, 120)), "JPEG", quality=60)))
    brighter = Image.fromarray((np.asarray(base) * 0.8 + 20).astype(np.uint8))
    seen = [looks(np.asarray(i)) for i in (base, base.copy(), again, brighter)]
    seen += [looks(made.pixels(seed, (200, 150))) for seed in range(1, 40)]
    found = pairs(seen, 4)
    assert Pair(0, 1, 0, True) in found
    assert {(p.first, p.second) for p in found if not p.exact} == {(0, 2), (0, 3), (2, 3)}
    assert clusters(len(seen), found) == [0, 0, 0, 0, *range(4, 43)]


def test_empty_pictures_are_duplicates_only_when_they_are_equal():
    grey = [looks(np.full((40, 40, 3), v, np.uint8)) for v in (10, 200, 10)]
    assert pairs(grey, 31) == [Pair(0, 2, 0, True)]


def test_many_comparisons_are_made_in_parts(monkeypatch):
    seen = [looks(made.pixels(seed)) for seed in range(12)] * 2
    whole = pairs(seen, 20)
    monkeypatch.setattr("training.data.duplicates._AT_ONCE", 24)
    assert pairs(seen, 20) == whole and len(whole) >= 12
    with pytest.raises(ValueError, match="0 to 31"):
        pairs(seen, 32)
