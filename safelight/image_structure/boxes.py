"""HEIC and AVIF: the outermost boxes of an ISO base media file (ISO/IEC 14496-12, section 4.2; 23008-12 for pictures).

Only what stands at the top is read here: a picture has a header, its parts and their data; a movie, or anything that
was appended, is refused. What is within is left to the decoders, which count the pictures.
"""

from __future__ import annotations

from safelight.image_structure.still import broken, cut_off, several, trailing

MOST_BOXES = 64
_PICTURE = frozenset({b"ftyp", b"meta", b"mdat", b"free", b"skip"})
_ESSENTIAL = frozenset({b"ftyp", b"meta", b"mdat"})
_MOVIE = frozenset({b"moov", b"moof", b"mpvd"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis"})
_AVIF = frozenset({b"avif"})
_SEQUENCES = {b"hevc": "image/heic", b"hevx": "image/heic", b"hevm": "image/heic", b"hevs": "image/heic",
              b"avis": "image/avif"}  # fmt: skip
_GENERIC = frozenset({b"mif1", b"msf1"})


def media_type(data: bytes) -> str | None:
    """image/heic or image/avif, from the brands that the file begins with, else None."""
    if data[4:8] != b"ftyp":
        return None
    major, size = data[8:12], min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[at : at + 4] for at in range(16, size - 3, 4)} if major in _GENERIC else {major}
    if brands & _HEIC:
        return "image/heic"
    if brands & _AVIF:
        return "image/avif"
    return next((_SEQUENCES[brand] for brand in sorted(brands) if brand in _SEQUENCES), None)


def check(data: bytes, name: str) -> None:
    """Raises CorruptImage, SeveralPictures or TrailingData unless the file is the boxes of a picture and no more.

    name: of the format, for the message.
    """
    if data[8:12] in _SEQUENCES:
        raise several(name)
    at, seen = 0, list[bytes]()
    while at < len(data):
        kind = data[at + 4 : at + 8]
        if kind in _MOVIE:
            raise several(name)
        if kind not in _PICTURE or (seen and kind == b"ftyp"):  # no box of a picture
            raise trailing(name) if set(seen) >= _ESSENTIAL else broken(name, "it has a box that no picture has")
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size < header or len(seen) == MOST_BOXES:
            raise broken(name, "its boxes have no valid length")
        at += size
        seen.append(kind)
    if at > len(data) or not set(seen) >= _ESSENTIAL:
        raise cut_off(name)
    if seen[0] != b"ftyp" or seen.count(b"meta") > 1:
        raise broken(name, "its boxes are out of order")
