"""What a file may be made of: everything that Pillow writes is taken, and nothing that is not wholly accounted for."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from safelight import errors
from safelight.image_structure import jpeg, png
from safelight.images import ImageLimits, decode
from tests.safelight.image_files import (
    as_pillow_sees_it,
    chunk,
    exif,
    file_of,
    interlaced_png,
    png_chunks,
    png_header,
    png_of,
    png_rows,
    riff,
    riff_chunks,
    segment,
    with_segment,
)

LIMITS = ImageLimits(max_bytes=200_000, max_pixels=100_000)
PIXELS = np.random.default_rng(1).integers(0, 256, (13, 17, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)
JPEG, PROGRESSIVE = file_of(PICTURE, "JPEG"), file_of(PICTURE, "JPEG", progressive=True)
PNG, LOSSY, LOSSLESS = file_of(PICTURE, "PNG"), file_of(PICTURE, "WEBP"), file_of(PICTURE, "WEBP", lossless=True)
ALPHA = file_of(PICTURE.convert("RGBA"), "WEBP", exif=exif(6))
LAYERED = file_of(Image.fromarray(np.dstack([PIXELS, PIXELS[:, :, 0]])), "WEBP")
HEADER, DATA, END = (chunk(kind, payload) for kind, payload in png_chunks(PNG) if kind in (b"IHDR", b"IDAT", b"IEND"))
FILES = {"JPEG": JPEG, "PROGRESSIVE": PROGRESSIVE, "PNG": PNG, "LOSSY": LOSSY, "LOSSLESS": LOSSLESS, "LAYERED": LAYERED}
RGB_HEADER = dict(zip(("width", "height"), (17, 13), strict=True))
SCAN = JPEG.index(b"\xff\xda")
FRAME = JPEG.index(b"\xff\xc0")
FRAME_END = FRAME + 2 + int.from_bytes(JPEG[FRAME + 2 : FRAME + 4], "big")


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "hidden")
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    return file_of(PICTURE, kind, save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])


def stereo() -> bytes:
    """A Multi-Picture file (CIPA DC-007), as 3D cameras and HDR phones write them."""
    return file_of(PICTURE, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])])


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def palette(header: bytes, *colours: bytes) -> bytes:
    return png_of(header, *colours, chunk(b"IDAT", png_rows(np.zeros((2, 2), np.uint8))), END)


INDEXED = png_header(2, 2, colour=3)
PLTE = chunk(b"PLTE", bytes(6))
VP8X = dict(riff_chunks(ALPHA))[b"VP8X"]
VP8, VP8L = (b"VP8 ", dict(riff_chunks(LOSSY))[b"VP8 "]), (b"VP8L", dict(riff_chunks(LOSSLESS))[b"VP8L"])
STILL_VP8X = (b"VP8X", bytes(4) + VP8X[4:])

REFUSED = {
    # several pictures
    "an animated PNG": (errors.SeveralPictures, animation("PNG")),
    "an animated PNG of one frame": (errors.SeveralPictures, png_of(HEADER, chunk(b"acTL", bytes(8)), DATA, END)),
    "frames after the image data": (errors.SeveralPictures, png_of(HEADER, DATA, chunk(b"fdAT", bytes(8)), END)),
    "an animated WebP": (errors.SeveralPictures, animation("WEBP")),
    "a WebP that only says it is animated": (errors.SeveralPictures, riff((b"VP8X", b"\x02" + VP8X[1:]), VP8)),
    "a WebP with two pictures": (errors.SeveralPictures, riff(STILL_VP8X, VP8, VP8)),
    "a multi-picture JPEG": (errors.SeveralPictures, stereo()),
    "a JPEG after a JPEG": (errors.SeveralPictures, JPEG + PROGRESSIVE),
    "a JPEG after padding after a JPEG": (errors.SeveralPictures, JPEG + bytes(7) + JPEG),
    "a JPEG in a JPEG": (errors.SeveralPictures, JPEG[:SCAN] + JPEG),
    "a multi-picture JPEG with a foreign tail": (
        errors.SeveralPictures, with_segment(JPEG, 0xE2, b"MPF\0MM\0*") + b"tail"),
    # bytes after the end
    **{f"{tail!r} after {name}": (errors.TrailingData, data + tail) for name, data in FILES.items() for tail in
       (b"\0", b"\n", b"\0" * 4096, b"<script>", b"\xff")},
    **{f"an archive after {name}": (errors.TrailingData, data + archive()) for name, data in FILES.items()},
    "a PNG after a PNG": (errors.TrailingData, PNG + PNG),
    "a PNG after a JPEG": (errors.TrailingData, JPEG + PNG),
    "a chunk after the last": (errors.TrailingData, PNG + chunk(b"teXt", b"x")),
    "an end after the end": (errors.TrailingData, JPEG + b"\xff\xd9"),
    # bytes before the beginning
    **{f"junk before {name}": (errors.NotAnImage, b"\0" + data) for name, data in FILES.items()},
    "an archive before a PNG": (errors.NotAnImage, archive() + PNG),
    # JPEG out of order
    "JPEG without a frame": (errors.CorruptImage, JPEG[:FRAME] + JPEG[FRAME_END:]),
    "JPEG with two frames": (errors.CorruptImage, JPEG[:FRAME_END] + JPEG[FRAME:]),
    "JPEG with a scan first": (errors.CorruptImage, JPEG[:2] + JPEG[SCAN:]),
    "JPEG without a scan": (errors.CorruptImage, JPEG[:SCAN] + b"\xff\xd9"),
    "JPEG with an empty scan": (errors.CorruptImage, JPEG[: SCAN + 14] + b"\xff\xd9"),
    "JPEG with bytes between segments": (errors.CorruptImage, JPEG[:SCAN] + b"junk" + JPEG[SCAN:]),
    "JPEG with a restart between segments": (errors.CorruptImage, JPEG[:SCAN] + b"\xff\xd0" + JPEG[SCAN:]),
    "JPEG with a short segment": (errors.CorruptImage, JPEG[:2] + b"\xff\xe1\0\1" + JPEG[2:]),
    "JPEG of no height": (errors.CorruptImage, replaced(JPEG, FRAME + 5, b"\0\0")),
    "JPEG with a frame of another length": (errors.CorruptImage, replaced(JPEG, FRAME + 9, b"\4")),
    "JPEG with a scan of another length": (errors.CorruptImage, replaced(JPEG, SCAN + 4, b"\2")),
    "an arithmetic-coded JPEG": (errors.UnsupportedFormat, replaced(JPEG, FRAME, b"\xff\xc9")),
    "a lossless JPEG": (errors.UnsupportedFormat, replaced(JPEG, FRAME, b"\xff\xc3")),
    "a hierarchical JPEG": (errors.UnsupportedFormat, with_segment(JPEG, 0xDE, JPEG[FRAME + 4 : FRAME_END])),
    "a 12-bit JPEG": (errors.UnsupportedFormat, replaced(JPEG, FRAME + 4, b"\x0c")),
    "a JPEG with its height at the end": (errors.UnsupportedFormat, JPEG[:-2] + segment(0xDC, b"\0\1") + b"\xff\xd9"),
    "a JPEG of countless scans": (errors.UnsupportedFormat, JPEG[:-2] + JPEG[SCAN:-2] * 64 + b"\xff\xd9"),
    "a JPEG of countless segments": (errors.CorruptImage, JPEG[:2] + b"\xff\xfe\0\2" * 40_000 + bytes(9_999)),
    # PNG out of order
    "PNG without a header": (errors.CorruptImage, png_of(DATA, END)),
    "PNG with something before its header": (errors.CorruptImage, png_of(chunk(b"teXt"), HEADER, DATA, END)),
    "PNG with two headers": (errors.CorruptImage, png_of(HEADER, HEADER, DATA, END)),
    "PNG with its data in two places": (errors.CorruptImage, png_of(HEADER, DATA, chunk(b"teXt"), DATA, END)),
    "PNG without data": (errors.CorruptImage, png_of(HEADER, END)),
    "PNG with an end that is not empty": (errors.CorruptImage, png_of(HEADER, DATA, chunk(b"IEND", b"x"))),
    "PNG with a wrong checksum": (errors.CorruptImage, replaced(PNG, len(PNG) - 13, b"\0")),
    "PNG with a wrong checksum of a text": (errors.CorruptImage, png_of(HEADER, chunk(b"teXt")[:-1] + b"x", DATA, END)),
    "PNG with an unknown critical chunk": (errors.CorruptImage, png_of(HEADER, chunk(b"ABCD"), DATA, END)),
    "PNG for a phone's own decoder": (errors.CorruptImage, png_of(chunk(b"CgBI", bytes(4)), HEADER, DATA, END)),
    "PNG with a chunk of no type": (errors.CorruptImage, png_of(HEADER, chunk(b"a\xe9\0b"), DATA, END)),
    "PNG with a chunk of endless length": (errors.CorruptImage, png_of(HEADER, b"\xff\xff\xff\xffIDAT" + bytes(9))),
    "PNG of no width": (errors.CorruptImage, png_of(png_header(0, 13), DATA, END)),
    "PNG of 3 bits": (errors.CorruptImage, png_of(png_header(17, 13, depth=3), DATA, END)),
    "PNG of colour type 1": (errors.CorruptImage, png_of(png_header(17, 13, colour=1), DATA, END)),
    "PNG of another compression": (errors.CorruptImage, png_of(png_header(17, 13, compression=1), DATA, END)),
    "PNG of another filter": (errors.CorruptImage, png_of(png_header(17, 13, filtering=1), DATA, END)),
    "PNG of another interlacing": (errors.CorruptImage, png_of(png_header(17, 13, interlace=2), DATA, END)),
    "PNG with a longer header": (errors.CorruptImage, png_of(chunk(b"IHDR", bytes(14)), DATA, END)),
    "PNG of another size than its data": (errors.CorruptImage, png_of(png_header(17, 99), DATA, END)),
    "PNG with too few rows": (errors.CorruptImage, png_of(HEADER, chunk(b"IDAT", png_rows(PIXELS[:-1])), END)),
    "PNG with rows too many": (errors.TrailingData, png_of(png_header(17, 12), DATA, END)),
    "PNG with bytes after its compressed data": (
        errors.TrailingData, png_of(HEADER, DATA, chunk(b"IDAT", b"hidden"), END)),
    "PNG with compressed data that has no end": (
        errors.CorruptImage, png_of(HEADER, chunk(b"IDAT", png_rows(PIXELS)[:-1]), END)),
    "PNG with compressed data that is none": (errors.CorruptImage, png_of(HEADER, chunk(b"IDAT", b"hidden"), END)),
    "PNG with another sum of its data": (
        errors.CorruptImage, png_of(HEADER, chunk(b"IDAT", png_rows(PIXELS)[:-1] + b"\0"), END)),
    "PNG without a palette": (errors.CorruptImage, palette(INDEXED)),
    "PNG with a palette of bytes": (errors.CorruptImage, palette(INDEXED, chunk(b"PLTE", bytes(7)))),
    "PNG with a long palette": (errors.CorruptImage, palette(INDEXED, chunk(b"PLTE", bytes(771)))),
    "PNG with two palettes": (errors.CorruptImage, palette(INDEXED, PLTE, PLTE)),
    "PNG with transparency before its palette": (errors.CorruptImage, palette(INDEXED, chunk(b"tRNS", b"\0"), PLTE)),
    "PNG with long transparency": (errors.CorruptImage, palette(INDEXED, PLTE, chunk(b"tRNS", bytes(257)))),
    "PNG with wrong transparency": (errors.CorruptImage, png_of(HEADER, chunk(b"tRNS", bytes(5)), DATA, END)),
    "PNG with late transparency": (errors.CorruptImage, png_of(HEADER, DATA, chunk(b"tRNS", bytes(6)), END)),
    "PNG with half a signature": (errors.CorruptImage, b"\x89PNG\n\n\n\n" + PNG[8:]),
    "PNG of countless chunks": (errors.CorruptImage, png_of(HEADER, chunk(b"teXt") * 16_000)),
    # WebP out of order
    "WebP of odd length": (errors.CorruptImage, replaced(LOSSY, 4, bytes([LOSSY[4] + 1]))),
    "WebP without a picture": (errors.CorruptImage, riff(STILL_VP8X)),
    "WebP of nothing": (errors.CorruptImage, riff()),
    "WebP with metadata first": (errors.CorruptImage, riff((b"EXIF", exif(1)), VP8)),
    "WebP with its header behind": (errors.CorruptImage, riff(VP8, STILL_VP8X)),
    "WebP with alpha behind": (errors.CorruptImage, riff(STILL_VP8X, VP8, (b"ALPH", b"\0\0"))),
    "WebP with alpha twice": (errors.CorruptImage, riff(STILL_VP8X, (b"ALPH", b"\0\0"), (b"ALPH", b"\0\0"), VP8)),
    "WebP with alpha and no header": (errors.CorruptImage, riff((b"ALPH", b"\0\0"), VP8)),
    "WebP with alpha on a lossless picture": (errors.CorruptImage, riff(STILL_VP8X, (b"ALPH", b"\0\0"), VP8L)),
    "WebP with a long header": (errors.CorruptImage, riff((b"VP8X", VP8X + b"\0\0"), VP8)),
    "WebP whose header says another size": (errors.CorruptImage, riff((b"VP8X", bytes(10)), VP8)),
    "WebP with a chunk beyond its end": (errors.CorruptImage, replaced(LOSSY, 16, b"\xff\xff")),
    "WebP with padding that is not empty": (
        errors.CorruptImage, riff(STILL_VP8X, VP8, (b"XMP ", b"x")).removesuffix(b"\0") + b"y"),
    "WebP without a start code": (errors.CorruptImage, riff((b"VP8 ", replaced(VP8[1], 3, b"\0")))),
    "WebP that is no key frame": (errors.CorruptImage, riff((b"VP8 ", bytes([VP8[1][0] | 1]) + VP8[1][1:]))),
    "WebP of no width": (errors.CorruptImage, riff((b"VP8 ", replaced(VP8[1], 6, b"\0\0")))),
    "WebP without a lossless signature": (errors.CorruptImage, riff((b"VP8L", b"\0" + VP8L[1][1:]))),
    "WebP of a later lossless version": (errors.CorruptImage, riff((b"VP8L", replaced(VP8L[1], 4, b"\xff")))),
    "WebP with too little data": (errors.CorruptImage, riff((b"VP8 ", VP8[1][:40]))),
    "WebP with too little lossless data": (errors.CorruptImage, riff((b"VP8L", VP8L[1][:20]))),
    # sizes that the files only say
    "a PNG that says it is huge": (errors.TooManyPixels, png_of(png_header(2**31 - 1, 2**31 - 1), DATA, END)),
    "a JPEG that says it is huge": (errors.TooManyPixels, replaced(JPEG, FRAME + 5, b"\xff\xff\xff\xff")),
    "a WebP that says it is huge": (errors.TooManyPixels, riff((b"VP8 ", replaced(VP8[1], 6, b"\xff\x3f\xff\x3f")))),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_one_still_picture_is_refused(case):
    error, data = REFUSED[case]
    with pytest.raises(error) as caught:
        decode(data, LIMITS)
    assert type(caught.value) is error and caught.value.detail.endswith(".")


@pytest.mark.parametrize("name", [*FILES, "ALPHA"])
def test_every_file_that_was_cut_off_is_refused(name):
    data = ALPHA if name == "ALPHA" else FILES[name]
    for length in range(len(data)):
        with pytest.raises(errors.RequestError) as caught:
            decode(data[:length], LIMITS)
        assert isinstance(caught.value, errors.CorruptImage) or length < 14


ACCEPTED = {
    "a thumbnail in EXIF": with_segment(JPEG, 0xE1, b"Exif\0\0" + exif(1)[6:] + PROGRESSIVE),
    "markers in a comment": with_segment(JPEG, 0xFE, b"\xff\xd9\xff\xd8\xff\xda"),
    "fill bytes before a marker": JPEG[:SCAN] + b"\xff" * 9 + JPEG[SCAN:],
    "a list of pictures that are not there": with_segment(JPEG, 0xE2, b"MPF\0MM\0*"),
    "an archive in a chunk of its own": png_of(HEADER, chunk(b"prVt", archive()), DATA, END),
    "data in many chunks": png_of(
        HEADER, *(chunk(b"IDAT", bytes([byte])) for byte in dict(png_chunks(PNG))[b"IDAT"]), END),
    "a palette that is only a suggestion": png_of(HEADER, PLTE, DATA, END),
    "text behind the data": png_of(HEADER, DATA, chunk(b"teXt", b"Comment\0x"), END),
    "an unknown chunk": riff(STILL_VP8X, VP8, (b"ABCD", b"x")),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_does_no_harm_is_left_behind(case):
    assert np.array_equal(decode(ACCEPTED[case], LIMITS), as_pillow_sees_it(ACCEPTED[case]))


def test_a_scan_may_end_at_any_place_of_a_block():
    """Coded data is searched in blocks: a marker that lies across two of them is found, and one that is data is not."""
    head = JPEG[: SCAN + 14]
    for length in range(jpeg._BLOCK - 3, jpeg._BLOCK + 3):
        data = head + b"\1" * length
        assert jpeg.read(data + b"\xff\xd9").width == 17
        assert jpeg.read(data + b"\xff\0\xff\xd9").data.endswith(b"\1\xff\0\xff\xd9")
        with pytest.raises(errors.CorruptImage, match="cut off"):
            jpeg.read(data + b"\xff\0\xff\xd0\xff\xff")


@pytest.mark.parametrize("rows", [1, 1021, 1022, 1023, 1024, 1025, 2048, 2049])
@pytest.mark.parametrize("width", [1022, 1023, 1024])
def test_rows_are_counted_across_pieces(rows, width):
    """Compressed data is inflated in pieces: what is left over at the seams counts too."""
    idat = chunk(b"IDAT", png_rows(np.zeros((rows, width), np.uint8)))
    png.check_rows(png_of(png_header(width, rows, colour=0), idat, END))
    with pytest.raises(errors.TrailingData):
        png.check_rows(png_of(png_header(width - 1, rows, colour=0), idat, END))
    with pytest.raises(errors.CorruptImage):
        png.check_rows(png_of(png_header(width + 1, rows, colour=0), idat, END))


def test_what_the_decoder_gets_is_the_picture_alone():
    assert [kind for kind, _ in png_chunks(png.read(file_of(PICTURE, "PNG", exif=exif(1), dpi=(72, 72))).data)] == [
        b"IHDR", b"IDAT", b"IEND",
    ]  # fmt: skip


EXIFS = st.integers(0, 9).map(exif)
OPTIONS = {
    "JPEG": st.fixed_dictionaries(
        {"quality": st.integers(1, 100)},
        optional={
            "progressive": st.booleans(), "optimize": st.booleans(), "subsampling": st.integers(0, 2), "exif": EXIFS,
            "restart_marker_blocks": st.integers(1, 5), "restart_marker_rows": st.integers(0, 3),
            "comment": st.binary(max_size=20), "icc_profile": st.binary(min_size=1, max_size=99), "dpi": st.just((72, 72)),
        },
    ),
    "PNG": st.fixed_dictionaries(
        {}, optional={"compress_level": st.integers(0, 9), "exif": EXIFS, "icc_profile": st.binary(min_size=1, max_size=99)}
    ),
    "WEBP": st.fixed_dictionaries(
        {"method": st.integers(0, 3)},
        optional={
            "lossless": st.booleans(), "quality": st.integers(0, 100), "exact": st.booleans(), "exif": EXIFS,
            "alpha_quality": st.integers(0, 100), "icc_profile": st.binary(min_size=1, max_size=99),
            "xmp": st.binary(min_size=1, max_size=99),
        },
    ),
}  # fmt: skip
MODES = {
    "JPEG": ["L", "RGB", "CMYK"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "PA"],
    "WEBP": ["RGB", "RGBA", "L", "P"],
}


@st.composite
def valid_files(draw):
    kind = draw(st.sampled_from(list(MODES)))
    mode = draw(st.sampled_from(MODES[kind]))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    samples = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(samples[:, :, :2].copy().view(np.uint16)[:, :, 0])
    elif mode == "PA":
        image = Image.fromarray(samples).convert("P")
        image.info["transparency"] = bytes(range(0, 255, 5))
    else:
        image = Image.fromarray(samples).convert(mode)
    options = draw(OPTIONS[kind])
    if kind == "PNG" and draw(st.booleans()):
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("Comment", "x" * draw(st.integers(0, 50)), zip=draw(st.booleans()))
    return file_of(image, kind, **options)


@settings(max_examples=400)
@given(valid_files())
def test_whatever_pillow_writes_is_seen_as_pillow_sees_it(data):
    assert np.array_equal(decode(data, LIMITS), as_pillow_sees_it(data))


@given(st.integers(1, 20), st.integers(1, 20))
def test_interlaced_pictures_are_seen_as_they_are(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(decode(interlaced_png(pixels), LIMITS), pixels)


@given(valid_files(), st.data())
def test_no_part_of_a_file_passes_for_the_whole(data, draw):
    with pytest.raises(errors.RequestError):
        decode(data[: draw.draw(st.integers(0, len(data) - 1))], LIMITS)


@given(valid_files(), st.binary(min_size=1, max_size=300))
def test_nothing_can_be_appended(data, tail):
    with pytest.raises((errors.TrailingData, errors.SeveralPictures)):
        decode(data + tail, LIMITS)


@given(valid_files(), st.binary(min_size=1, max_size=30))
def test_nothing_can_be_put_in_front(data, head):
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")):
        return
    with pytest.raises((errors.NotAnImage, errors.UnsupportedFormat, errors.CorruptImage)):
        decode(head + data, LIMITS)
