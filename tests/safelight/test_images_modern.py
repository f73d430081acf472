"""HEIC and AVIF: off unless named, refused with the same strictness, upright as their containers say."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, features

from safelight import errors
from safelight.images import ImageLimits, decode
from tests.conftest import ROOT
from tests.safelight.image_files import box, exif, file_of, mutated

pillow_heif = pytest.importorskip("pillow_heif")
if not features.check("avif"):
    pytest.skip("this Pillow reads no AVIF", allow_module_level=True)

CANARY = "CANARY-93fa"
LIMITS = ImageLimits(50_000, 20_000, ("image/heic", "image/avif", "image/png"), 400)
y, x = np.mgrid[:48, :64]
PIXELS = np.stack([x * 4, y * 5, (x + y) * 2], axis=2).astype(np.uint8)
PICTURE = Image.fromarray(PIXELS)


def heic(**options: object) -> bytes:
    """With an EXIF orientation, the container says the same turn, as cameras write it."""
    buffer = io.BytesIO()
    pillow_heif.encode("RGB", PICTURE.size, PICTURE.tobytes(), buffer, quality=90, **options)
    return buffer.getvalue()


def heic_of_two() -> bytes:
    file, buffer = pillow_heif.from_pillow(PICTURE), io.BytesIO()
    file.add_from_pillow(PICTURE)
    file.save(buffer)
    return buffer.getvalue()


def avif(**options: object) -> bytes:
    return file_of(PICTURE, "AVIF", speed=10, **options)


FILES = {"image/heic": heic(), "image/avif": avif()}


@pytest.mark.parametrize("media_type", FILES)
def test_they_decode_when_they_are_allowed(media_type, recwarn):
    pixels = decode(FILES[media_type], LIMITS, media_type)
    assert pixels.shape == PIXELS.shape and pixels.base is None
    assert np.abs(pixels.astype(int) - PIXELS).mean() < 6
    assert not recwarn.list


@pytest.mark.parametrize("media_type", FILES)
def test_they_are_off_by_default(media_type):
    with pytest.raises(errors.UnsupportedFormat, match=media_type):
        decode(FILES[media_type], ImageLimits())
    with pytest.raises(errors.TypeMismatch):
        decode(FILES[media_type], LIMITS, "image/png")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("make", [heic, avif])
def test_they_are_upright(make, orientation):
    turned = {1: PIXELS, 3: np.rot90(PIXELS, 2), 6: np.rot90(PIXELS, -1), 8: np.rot90(PIXELS, 1)}[orientation]
    data = make(exif=exif(orientation))
    pixels = decode(data, LIMITS)
    assert pixels.shape == turned.shape
    assert np.abs(pixels.astype(int) - turned).mean() < 6


@pytest.mark.parametrize("make", [heic, avif])
def test_their_metadata_goes_nowhere(make):
    data = make(exif=exif(1, Make=CANARY))
    assert CANARY.encode() in data and CANARY.encode() not in decode(data, LIMITS).tobytes()


@pytest.mark.parametrize(
    ("error", "data"),
    [
        (errors.SeveralPictures, heic_of_two()),
        (errors.SeveralPictures, file_of(PICTURE, "AVIF", save_all=True, append_images=[PICTURE], speed=10)),
        (errors.SeveralPictures, heic() + box(b"mpvd", b"video")),
        (errors.SeveralPictures, avif() + box(b"moov")),
        *((errors.TrailingData, data + tail) for data in FILES.values() for tail in (b"\0", b"PK\3\4", box(b"uuid"))),
        *((errors.CorruptImage, data[:-1]) for data in FILES.values()),
        *((errors.CorruptImage, data[:16] + box(b"uuid") + data[16:]) for data in FILES.values()),
        *((errors.CorruptImage, data.replace(b"pitm", b"pitn")) for data in FILES.values()),
        (errors.CorruptImage, box(b"ftyp", b"heic\0\0\0\0mif1") + bytes(4) + b"meta"),
        (errors.CorruptImage, box(b"ftyp", b"heic\0\0\0\0mif1") + box(b"meta") * 2 + box(b"mdat")),
        (errors.CorruptImage, box(b"ftyp", b"heic\0\0\0\0mif1") + box(b"free") * 99),
        (errors.CorruptImage, box(b"ftyp", b"mif1\0\0\0\0heic") + box(b"meta", bytes(20)) + box(b"mdat")),
        (errors.SeveralPictures, box(b"ftyp", b"avis\0\0\0\0avis") + box(b"meta") + box(b"mdat")),
        (errors.SeveralPictures, box(b"ftyp", b"msf1\0\0\0\0hevc") + box(b"moov")),
    ],
)
def test_what_is_not_one_still_picture_is_refused(error, data):
    with pytest.raises(error) as caught:
        decode(data, LIMITS)
    assert type(caught.value) is error


@pytest.mark.parametrize("media_type", FILES)
def test_sizes_are_checked_before_pixels_are_decoded(media_type):
    for limits, error in (((50_000, 3_000), errors.TooManyPixels), ((50_000, 20_000), errors.SideTooLong)):
        with pytest.raises(error):
            decode(FILES[media_type], ImageLimits(*limits, (media_type,), 60))


@pytest.mark.parametrize("media_type", FILES)
def test_every_file_that_was_cut_off_is_refused(media_type):
    data = FILES[media_type]
    for length in range(0, len(data), 7):
        with pytest.raises(errors.RequestError):
            decode(data[:length], LIMITS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("media_type", FILES)
def test_damaged_files_are_refused_or_decode(media_type):
    draw = random.Random(4)
    for _ in range(250):
        try:
            pixels = decode(mutated(FILES[media_type], draw), LIMITS)
        except errors.RequestError:
            continue
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


def test_broken_exif_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing such a file warns, too
        damaged = avif(exif=exif(1, Make="x" * 40)[:-30])
    with pytest.warns(UserWarning):  # so that there is something to keep quiet about
        Image.open(io.BytesIO(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(damaged, LIMITS).shape == PIXELS.shape


def test_a_missing_decoder_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(errors.ConfigError, match=r"safelight\[heif\]"):
        ImageLimits(media_types=("image/png", "image/heic"))
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    with pytest.raises(errors.ConfigError, match="libavif"):
        ImageLimits(media_types=("image/avif",))


def test_nothing_is_loaded_or_registered_unless_it_is_named():
    """Whoever does not ask for HEIC gets no decoder of it, and Pillow's own functions never get one."""
    program = """
import sys
from PIL import Image
from safelight.images import ImageLimits
assert "pillow_heif" not in sys.modules
ImageLimits(media_types=("image/heic", "image/avif"))
assert "pillow_heif" in sys.modules
Image.init()
assert "HEIF" not in Image.OPEN
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
