"""WebP: RIFF chunks (RFC 9649), one of which is a VP8 (RFC 6386) or VP8L picture.

Passed on: the picture, its alpha, and the header that announces alpha, all other announcements cleared.
"""

from __future__ import annotations

from collections.abc import Iterator

from safelight.image_structure.orientation import UPRIGHT, orientation_of
from safelight.image_structure.still import MOST_PARTS, Still, broken, cut_off, joined, several, trailing

_HEADER, _LOSSY, _LOSSLESS, _ALPHA = b"VP8X", b"VP8 ", b"VP8L", b"ALPH"
_ANIMATES, _HAS_ALPHA = 0x02, 0x10  # flags of VP8X


def read(data: bytes) -> Still:
    """Raises CorruptImage, SeveralPictures or TrailingData."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise broken("WebP", "it does not begin with its signature")
    size = int.from_bytes(data[4:8], "little")
    if size % 2:
        raise broken("WebP", "its length is odd")
    if 8 + size > len(data):
        raise cut_off("WebP")
    if 8 + size < len(data):
        raise trailing("WebP")
    chunks: dict[bytes, memoryview] = {}
    orientation = None
    for kind, payload in _chunks(memoryview(data)):
        if kind in (b"ANIM", b"ANMF"):
            raise several("WebP")
        if kind == b"EXIF" and orientation is None:
            orientation = orientation_of(bytes(payload))
        if kind not in (_HEADER, _LOSSY, _LOSSLESS, _ALPHA):
            if not chunks:
                raise broken("WebP", "it does not begin with a picture or its header")
            continue
        _check_order(kind, chunks)
        chunks[kind] = payload
    return _still(chunks, orientation or UPRIGHT)


def _chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each chunk, padding checked."""
    at = 12
    for _ in range(MOST_PARTS):
        if at == len(view):
            return
        size = int.from_bytes(view[at + 4 : at + 8], "little")
        end = at + 8 + size
        if at + 8 > len(view) or end + size % 2 > len(view):
            raise broken("WebP", "a chunk is longer than the file")
        if size % 2 and view[end]:
            raise broken("WebP", "its padding is not empty")
        yield bytes(view[at : at + 4]), view[at + 8 : end]
        at = end + size % 2
    raise broken("WebP", f"it has more than {MOST_PARTS} chunks")


def _check_order(kind: bytes, before: dict[bytes, memoryview]) -> None:
    """VP8X only first, alpha only between it and a lossy picture, one picture."""
    picture = _LOSSY in before or _LOSSLESS in before
    if kind in (_LOSSY, _LOSSLESS) and picture:
        raise several("WebP")
    misplaced = (
        (kind == _HEADER and before)
        or (kind == _ALPHA and (picture or _HEADER not in before or _ALPHA in before))
        or (kind == _LOSSLESS and _ALPHA in before)
    )
    if misplaced:
        raise broken("WebP", "its chunks are out of order")


def _still(chunks: dict[bytes, memoryview], orientation: int) -> Still:
    header, alpha = chunks.get(_HEADER), chunks.get(_ALPHA)
    kind = _LOSSY if _LOSSY in chunks else _LOSSLESS
    if kind not in chunks:
        raise broken("WebP", "it ends without a picture")
    picture = chunks[kind]
    width, height = _lossy_size(picture) if kind == _LOSSY else _lossless_size(picture)
    parts: list[bytes | memoryview] = []
    if header is not None:
        if len(header) != 10:
            raise broken("WebP", "its header has a wrong length")
        if header[0] & _ANIMATES:
            raise several("WebP")
        if (_uint24(header[4:7]) + 1, _uint24(header[7:10]) + 1) != (width, height):
            raise broken("WebP", "its header gives another size than its picture")
        parts += _chunk(_HEADER, bytes([header[0] & _HAS_ALPHA, 0, 0, 0]) + bytes(header[4:]))
    if alpha is not None:
        parts += _chunk(_ALPHA, alpha)
    parts += _chunk(kind, picture)
    size = 4 + sum(map(len, parts))
    return Still(width, height, orientation, joined([b"RIFF", size.to_bytes(4, "little"), b"WEBP", *parts]))


def _lossy_size(picture: memoryview) -> tuple[int, int]:
    """RFC 6386, section 9.1: a 3-byte tag whose lowest bit is 0 for a key frame, a start code, two 14-bit sizes."""
    if len(picture) < 10 or picture[0] & 1 or bytes(picture[3:6]) != b"\x9d\x01\x2a":
        raise broken("WebP", "its picture does not begin as one")
    width, height = (int.from_bytes(picture[i : i + 2], "little") & 0x3FFF for i in (6, 8))
    if not width or not height:
        raise broken("WebP", "its picture has no size")
    return width, height


def _lossless_size(picture: memoryview) -> tuple[int, int]:
    """RFC 9649, section 3.4: a signature, two 14-bit sizes less one, an alpha bit, a 3-bit version of 0."""
    bits = int.from_bytes(picture[1:5], "little")
    if len(picture) < 5 or picture[0] != 0x2F or bits >> 29:
        raise broken("WebP", "its picture does not begin as one")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _uint24(field: memoryview) -> int:
    return int.from_bytes(field, "little")


def _chunk(kind: bytes, payload: bytes | memoryview) -> list[bytes | memoryview]:
    return [kind, len(payload).to_bytes(4, "little"), payload, b"\0" * (len(payload) % 2)]
