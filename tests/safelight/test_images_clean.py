"""Of an upload's metadata nothing survives: not in the pixels, not in what is drawn from them, not in the memory below."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from safelight.detections import Detections
from safelight.drawing import draw
from safelight.image_structure import jpeg, png, webp
from safelight.image_structure.orientation import orientation_of
from safelight.images import ImageLimits, decode, encode_png
from tests.safelight.image_files import (
    chunk,
    exif,
    file_of,
    png_chunks,
    png_of,
    riff,
    riff_chunks,
    segment,
    with_segment,
)

CANARY = b"CANARY-51c9e2"
TEXT = CANARY.decode()
PIXELS = np.random.default_rng(2).integers(0, 256, (24, 32, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
LIMITS = ImageLimits()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + CANARY + b"</x:xmpmeta>"
EXIF = exif(1, Make=TEXT, Model=TEXT)


def thumbnail() -> bytes:
    """A small JPEG with the canary in it, as cameras put into EXIF."""
    return file_of(PICTURE.resize((8, 6)), "JPEG", comment=CANARY)


def with_gps() -> bytes:
    block = Image.Exif()
    block[0x0112] = 1
    block[0x927C] = CANARY  # maker note
    block.get_ifd(0x8825)[29] = TEXT  # a date within GPS
    return block.tobytes()


def texts() -> bytes:
    """A PNG with every kind of text chunk."""
    info = PngInfo()
    info.add_text("Comment", TEXT)
    info.add_text("Packed", TEXT, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_itxt("Packed too", TEXT, zip=True)
    return file_of(PICTURE, "PNG", pnginfo=info, exif=EXIF, icc_profile=CANARY * 9)


def png_with(*extra: bytes) -> bytes:
    """A PNG with more chunks before and after its data."""
    (_, header), *data, (_, end) = png_chunks(file_of(PICTURE, "PNG"))
    body = [chunk(kind, payload) for kind, payload in data]
    return png_of(chunk(b"IHDR", header), *extra, *body, *extra[:1], chunk(b"IEND", end))


def jpeg_with_an_adobe_segment() -> bytes:
    """APP14 tells the colours of a decoder; only its last byte is meant for it."""
    return with_segment(file_of(PICTURE, "JPEG"), 0xEE, b"Adobe" + CANARY[:6] + b"\1" + CANARY)


def jpeg_with_a_canary_behind_its_scan() -> bytes:
    data = file_of(PICTURE, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + segment(0xEF, CANARY) + segment(0xFE, CANARY) + data[last:]


def webp_with(**extra: bytes) -> bytes:
    """A WebP with metadata around the picture."""
    chunks = riff_chunks(file_of(PICTURE, "WEBP", lossless=True, exif=EXIF, xmp=XMP, icc_profile=CANARY))
    return riff(*chunks, *((kind.encode(), payload) for kind, payload in extra.items()))


PLANTED = {
    "JPEG comment": file_of(PICTURE, "JPEG", comment=CANARY),
    "JPEG EXIF": file_of(PICTURE, "JPEG", exif=EXIF),
    "JPEG place and maker note": file_of(PICTURE, "JPEG", exif=with_gps()),
    "JPEG thumbnail in EXIF": with_segment(file_of(PICTURE, "JPEG"), 0xE1, EXIF + thumbnail()),
    "JPEG thumbnail in JFIF": with_segment(file_of(PICTURE, "JPEG"), 0xE0, b"JFXX\0\x10" + thumbnail()),
    "JPEG XMP": file_of(PICTURE, "JPEG", xmp=XMP),
    "JPEG profile": file_of(PICTURE, "JPEG", icc_profile=CANARY * 9),
    "JPEG Photoshop block": with_segment(file_of(PICTURE, "JPEG"), 0xED, b"Photoshop 3.0\x008BIM" + CANARY),
    "JPEG list of pictures": with_segment(file_of(PICTURE, "JPEG"), 0xE2, b"MPF\0" + CANARY),
    "JPEG any segment": with_segment(file_of(PICTURE, "JPEG"), 0xEB, CANARY),
    "JPEG Adobe segment": jpeg_with_an_adobe_segment(),
    "JPEG between scans": jpeg_with_a_canary_behind_its_scan(),
    "PNG texts, EXIF, profile": texts(),
    "PNG private chunk": png_with(chunk(b"caNy", CANARY)),
    "PNG profile": png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(CANARY))),
    "PNG palette that is a suggestion": png_with(chunk(b"caNy", CANARY), chunk(b"PLTE", (CANARY * 3)[:39])),
    "PNG time and size": png_with(chunk(b"pHYs", CANARY[:9]), chunk(b"tIME", CANARY[:7])),
    "WebP EXIF, XMP, profile": webp_with(),
    "WebP any chunk": webp_with(CANR=CANARY),
}  # fmt: skip


def unpacked(data: bytes) -> bytes:
    """A PNG with its compressed chunks inflated, so that nothing hides in them."""
    parts = [data]
    for kind, payload in png_chunks(data):
        parts.append(zlib.decompress(payload) if kind == b"IDAT" else payload)
    return b"".join(parts)


@pytest.mark.parametrize("case", PLANTED)
def test_no_metadata_reaches_what_goes_on(case, recwarn):
    data = PLANTED[case]
    pixels = decode(data, LIMITS)
    assert pixels.shape == PIXELS.shape and not recwarn.list
    # The array owns all of its memory: it is a view of nothing that came in.
    assert pixels.base is None and pixels.flags.owndata and pixels.nbytes == pixels.size
    drawn = draw(pixels, Detections(np.array([[2, 2, 9, 9]], np.float32), np.ones(1, np.float32),
                                    np.zeros(1, np.int64), (32, 24)), ["person"])  # fmt: skip
    for emitted in (pixels.tobytes(), unpacked(encode_png(pixels)), unpacked(encode_png(drawn))):
        assert CANARY not in emitted and CANARY[:6] not in emitted
    assert {kind for kind, _ in png_chunks(encode_png(drawn))} == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize("case", PLANTED)
def test_no_metadata_reaches_the_decoder(case):
    data = PLANTED[case]
    read = {b"\xff\xd8": jpeg.read, b"\x89P": png.read, b"RI": webp.read}[data[:2]]
    still = read(data)
    assert CANARY[:6] in data or "profile" in case
    assert CANARY[:6] not in still.data and CANARY[:6] not in repr(still).encode()
    with Image.open(io.BytesIO(still.data)) as seen:
        assert set(seen.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform",
                                  "progressive", "progression", "loop", "background", "duration", "timestamp"}  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_orientation_is_read_in_either_order(order, kind):
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    for value in range(1, 9):
        size = {3: "HH", 4: "I"}[kind]
        entry = struct.pack(order + "HHI" + size, 0x0112, kind, 1, value, *([0] if kind == 3 else []))
        block = head + struct.pack(order + "IH", 8, 2) + bytes(12) + entry
        assert orientation_of(block) == orientation_of(b"Exif\0\0" + block) == value


@pytest.mark.parametrize(
    "block",
    [
        b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08", b"MM\0*\0\0\0\x08\xff\xff",
        exif(0), exif(9), exif(6)[:-8], exif(6).replace(b"\x12\x01", b"\x13\x01").replace(b"\x01\x12", b"\x01\x13"),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 3, 2, 6, 6),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x0112, 7, 1, 6, 0),
        b"II*\0\x08\0\0\0\xff\xff" + bytes(65_535 * 12 - 100),
    ],
)  # fmt: skip
def test_an_orientation_that_is_not_there_turns_nothing(block):
    assert orientation_of(block) == 1


def test_a_profile_changes_no_colour():
    """Colours are taken as sRGB: the same samples with a profile of other primaries are the same pixels."""
    plain, profiled = file_of(PICTURE, "PNG"), png_with(chunk(b"gAMA", b"\0\1\x86\xa0"), chunk(b"cHRM", bytes(32)))
    assert np.array_equal(decode(plain, LIMITS), decode(profiled, LIMITS))
