"""PNG: a signature and chunks from IHDR to IEND (W3C, Portable Network Graphics, third edition).

Passed on: IHDR, PLTE, tRNS, IDAT, IEND. Colours are taken as sRGB, whatever gAMA, iCCP and their kind say.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from safelight.image_structure.orientation import UPRIGHT, orientation_of
from safelight.image_structure.still import MOST_PARTS, Still, broken, cut_off, joined, several, trailing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Bits a sample that each colour type may have (table 12)."""
_GREY, _RGB, _PALETTE = 0, 2, 3
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_LONGEST = (1 << 31) - 1
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: x and y of the first pixel of each pass, and the steps to the next (section 8.2)."""
_PIECE, _MOST_AT_ONCE = 1 << 16, 1 << 20


def read(data: bytes) -> Still:
    """Raises CorruptImage, SeveralPictures or TrailingData."""
    if not data.startswith(SIGNATURE):
        raise broken("PNG", "it does not begin with its signature")
    return _Reader(data).read()


def check_rows(data: bytes) -> None:
    """That the compressed data of a file that `read` gave is whole and holds the picture's rows and nothing else. Decoders
    take what is there and leave the other rows as they are. Inflates everything once, in pieces: check the size before.

    Raises CorruptImage or TrailingData.
    """
    left, inflate = _rows_size(data), zlib.decompressobj()
    try:
        for piece in _compressed(memoryview(data)):
            waiting: bytes | memoryview = piece
            while waiting:
                if inflate.eof:
                    raise trailing("PNG")
                left -= len(inflate.decompress(waiting, _MOST_AT_ONCE))
                if left < 0:
                    raise trailing("PNG")
                waiting = inflate.unused_data or inflate.unconsumed_tail
        left -= len(inflate.flush())  # a few bytes at most: all input was taken
    except zlib.error:
        raise broken("PNG", "its compressed data does not hold") from None
    if left < 0:
        raise trailing("PNG")
    if left or not inflate.eof:
        raise broken("PNG", "it holds less than the whole picture")


def _compressed(view: memoryview) -> Iterator[memoryview]:
    """What the IDAT chunks hold, in pieces: what zlib does not take at once, it copies."""
    at = len(SIGNATURE)
    while at < len(view):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if bytes(view[at + 4 : at + 8]) == b"IDAT":
            for begin in range(at + 8, end - 4, _PIECE):
                yield view[begin : min(begin + _PIECE, end - 4)]
        at = end


def _rows_size(data: bytes) -> int:
    """Bytes of all rows, each with its filter's number in front."""
    width, height, depth, colour, *_, interlace = struct.unpack(">IIBBBBB", data[16:29])
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes)
    return sum(
        rows * (1 + -(-columns * depth * _SAMPLES[colour] // 8)) for columns, rows in sizes if columns > 0 < rows
    )


class _Reader:
    """One pass over one file."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._width = self._height = self._colour = 0
        self._orientation = UPRIGHT
        self._seen: set[bytes] = set()
        self._last = b""
        self._kept: list[bytes | memoryview] = [SIGNATURE]

    def read(self) -> Still:
        at = len(SIGNATURE)
        for _ in range(MOST_PARTS):
            kind, end = self._chunk(at)
            if kind == b"IEND":
                if end != len(self._view):
                    raise trailing("PNG")
                return Still(self._width, self._height, self._orientation, joined(self._kept))
            at = end
        raise broken("PNG", f"it has more than {MOST_PARTS} chunks")

    def _chunk(self, at: int) -> tuple[bytes, int]:
        """Take in the chunk at `at`; returns its type and where it ends."""
        length, kind = int.from_bytes(self._view[at : at + 4], "big"), bytes(self._view[at + 4 : at + 8])
        end = at + 12 + length
        if at + 12 > len(self._view):
            raise cut_off("PNG")
        if not (kind.isalpha() and kind.isascii()) or length > _LONGEST:
            raise broken("PNG", "a chunk has no valid type or length")
        if end > len(self._view):
            raise cut_off("PNG")
        if zlib.crc32(self._view[at + 4 : end - 4]) != int.from_bytes(self._view[end - 4 : end], "big"):
            raise broken("PNG", "a chunk does not match its checksum")
        if kind in _ANIMATION:
            raise several("PNG")
        if not self._seen and kind != b"IHDR":
            raise broken("PNG", "it does not begin with IHDR")
        if not kind[0] & 0x20 and kind not in _CRITICAL:  # a capital letter: a decoder may not do without it
            raise broken("PNG", "it has a critical chunk of an unknown type")
        self._take(kind, self._view[at + 8 : end - 4], self._view[at:end])
        self._seen.add(kind)
        self._last = kind
        return kind, end

    def _take(self, kind: bytes, payload: memoryview, chunk: memoryview) -> None:
        once = kind != b"IDAT" and kind in self._seen
        if kind == b"IDAT":
            if b"IDAT" in self._seen and self._last != b"IDAT":
                raise broken("PNG", "its image data is not in one row")
            if self._colour == _PALETTE and b"PLTE" not in self._seen:
                raise broken("PNG", "its palette is missing")
            self._kept.append(chunk)
        elif kind == b"IEND":
            if b"IDAT" not in self._seen or len(payload):
                raise broken("PNG", "it ends without a picture")
            self._kept.append(chunk)
        elif kind in (b"IHDR", b"PLTE", b"tRNS") and once:
            raise broken("PNG", "a chunk stands there twice")
        elif kind == b"IHDR":
            self._header(payload)
            self._kept.append(chunk)
        elif kind in (b"PLTE", b"tRNS"):
            self._colours(kind, len(payload), chunk)
        elif kind == b"eXIf" and not once:
            self._orientation = orientation_of(bytes(payload))

    def _header(self, payload: memoryview) -> None:
        if len(payload) != 13:
            raise broken("PNG", "its header has a wrong length")
        width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", payload)
        if not 0 < width <= _LONGEST or not 0 < height <= _LONGEST:
            raise broken("PNG", "its header gives no size")
        if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
            raise broken("PNG", "its header gives no kind of picture that there is")
        self._width, self._height, self._colour = width, height, colour

    def _colours(self, kind: bytes, length: int, chunk: memoryview) -> None:
        """A palette or transparency: kept where it matters for the colour type."""
        if b"IDAT" in self._seen:
            raise broken("PNG", "its colours follow its image data")
        if kind == b"PLTE":
            if not 0 < length <= 768 or length % 3:
                raise broken("PNG", "its palette has a wrong length")
            if self._colour == _PALETTE:
                self._kept.append(chunk)
        elif self._colour == _PALETTE:
            if b"PLTE" not in self._seen or not 0 < length <= 256:
                raise broken("PNG", "its transparency does not fit its palette")
            self._kept.append(chunk)
        elif self._colour in (_GREY, _RGB):
            if length != (2 if self._colour == _GREY else 6):
                raise broken("PNG", "its transparency has a wrong length")
            self._kept.append(chunk)
