"""JPEG: marker segments up to EOI (ITU-T T.81, annex B; JFIF in T.871; Adobe's APP14 in T.872).

Taken: baseline, extended and progressive pictures, Huffman-coded, 8 bits, of 1, 3 or 4 components: what browsers show.
Of the application segments, only what tells the meaning of the components is passed on, and made anew.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from safelight.errors import UnsupportedFormat
from safelight.image_structure.orientation import UPRIGHT, orientation_of
from safelight.image_structure.still import MOST_PARTS, Still, broken, cut_off, joined, several, trailing

MOST_SCANS = 64
"""A progressive picture has some ten scans. Each costs its decoder a pass over all pixels, however few bytes it has."""
_SOI, _EOI, _SOS, _TEM, _COM = 0xD8, 0xD9, 0xDA, 0x01, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_TABLES = frozenset({0xC4, 0xDB, 0xDD})  # Huffman, quantisation, restart interval
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; Huffman-coded
_RESTARTS = range(0xD0, 0xD8)
_FILL = re.compile(rb"\xff*")
_BLOCK = 1 << 16
_IN_SCAN = np.zeros(256, np.bool_)  # what may follow 0xFF within coded data: a stuffed zero, a restart, a fill byte
_IN_SCAN[[0x00, 0xFF, *_RESTARTS]] = True
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
_ADOBE = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0"  # the byte that says the colour transform comes last


def read(data: bytes) -> Still:
    """Raises CorruptImage, UnsupportedFormat, SeveralPictures or TrailingData."""
    return _Reader(data).read()


class _Reader:
    """One pass over one file."""

    def __init__(self, data: bytes) -> None:
        self._data, self._view = data, memoryview(data)
        self._bytes = np.frombuffer(data, np.uint8)
        self._frame: tuple[int, int] | None = None
        self._scans = 0
        self._orientation: int | None = None
        self._jfif, self._transform = False, b""
        self._pictures_listed = False
        self._kept: list[bytes | memoryview] = []

    def read(self) -> Still:
        if self._data[:2] != b"\xff\xd8":
            raise broken("JPEG", "it does not begin with its signature")
        at = 2
        for _ in range(MOST_PARTS):
            marker, at = self._marker(at)
            if marker == _EOI:
                return self._still(at)
            at = self._segment(marker, at)
        raise broken("JPEG", f"it has more than {MOST_PARTS} segments")

    def _marker(self, at: int) -> tuple[int, int]:
        """The marker at `at`, after any fill bytes, and where it ends."""
        fill = _FILL.match(self._data, at)
        after = at if fill is None else fill.end()
        if after >= len(self._data):
            raise cut_off("JPEG")
        if after == at:
            raise broken("JPEG", "a segment does not begin with a marker")
        return self._data[after], after + 1

    def _segment(self, marker: int, at: int) -> int:
        """Take in the segment whose length stands at `at`; returns where the next marker is to be."""
        if marker == _SOI:
            raise several("JPEG")
        if marker in (0x00, _TEM) or marker in _RESTARTS:
            raise broken("JPEG", "a marker stands outside of coded data")
        length = int.from_bytes(self._data[at : at + 2], "big")
        end = at + length
        if at + 2 > len(self._data) or end > len(self._data):
            raise cut_off("JPEG")
        if length < 2:
            raise broken("JPEG", "a segment is shorter than its own length")
        payload = self._view[at + 2 : end]
        if _APP0 <= marker <= _APP15 or marker == _COM:
            self._application(marker, payload)
            return end
        if marker in _FRAMES:
            self._frame_header(payload)
        elif marker == _SOS:
            end = self._scan(payload, end)
        elif marker not in _TABLES:
            raise UnsupportedFormat(
                "This JPEG is arithmetic-coded, lossless or hierarchical. Save it again as an ordinary JPEG."
            )
        self._kept.append(self._view[at - 2 : end])
        return end

    def _application(self, marker: int, payload: memoryview) -> None:
        """Learn what a decoder must know; nothing of the segment itself is kept. Only what stands before the first
        scan counts, as it does for decoders."""
        head = bytes(payload[:12])
        if marker == _APP1 and head.startswith(b"Exif\0\0") and self._orientation is None:
            self._orientation = orientation_of(bytes(payload))
        elif marker == _APP2 and head.startswith(b"MPF\0"):  # CIPA DC-007: a list of further pictures behind this one
            self._pictures_listed = True
        elif self._scans == 0 and marker == _APP0 and head.startswith(b"JFIF\0") and len(payload) >= 14:
            self._jfif = True
        elif self._scans == 0 and marker == _APP14 and head.startswith(b"Adobe") and len(head) == 12:
            self._transform = head[11:12]

    def _frame_header(self, payload: memoryview) -> None:
        if self._frame is not None:
            raise broken("JPEG", "it has two frames")
        if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
            raise broken("JPEG", "its frame header has a wrong length")
        if payload[0] != 8 or payload[5] not in (1, 3, 4):
            raise UnsupportedFormat(
                "Expected a JPEG of 8 bits and 1, 3 or 4 components. Save it again as an ordinary one."
            )
        height, width = (int.from_bytes(payload[i : i + 2], "big") for i in (1, 3))
        if not height or not width:
            raise broken("JPEG", "its frame has no size")
        self._frame = width, height

    def _scan(self, header: memoryview, begin: int) -> int:
        """Where the coded data that begins at `begin` ends: at the first marker that may not be within."""
        if self._frame is None:
            raise broken("JPEG", "a scan stands before the frame")
        if not header or len(header) != 4 + 2 * header[0]:
            raise broken("JPEG", "a scan header has a wrong length")
        self._scans += 1
        if self._scans > MOST_SCANS:
            raise UnsupportedFormat(f"This JPEG has more than {MOST_SCANS} scans. Save it again as an ordinary JPEG.")
        end = _next_marker(self._bytes, begin)
        if end is None:
            raise cut_off("JPEG")
        if end == begin:
            raise broken("JPEG", "a scan is empty")
        return end

    def _still(self, end: int) -> Still:
        if self._frame is None or not self._scans:
            raise broken("JPEG", "it ends without a picture")
        if end != len(self._data):
            beyond = self._data[end:].lstrip(b"\0")[:3]
            raise several("JPEG") if self._pictures_listed or beyond == b"\xff\xd8\xff" else trailing("JPEG")
        begin = [b"\xff\xd8"]
        if self._jfif:
            begin.append(_JFIF)
        if self._transform:
            begin.append(_ADOBE + self._transform)
        whole = joined([*begin, *self._kept, b"\xff\xd9"])
        return Still(*self._frame, self._orientation or UPRIGHT, whole)


def _next_marker(data: NDArray[np.uint8], begin: int) -> int | None:
    """Where the first 0xFF stands that ends coded data, from `begin` on; in blocks, so that memory stays small."""
    for start in range(begin, len(data), _BLOCK):
        block = data[start : start + _BLOCK + 1]
        at = np.flatnonzero(block[:-1] == 0xFF)
        ends = at[~_IN_SCAN[block[at + 1]]]
        if len(ends):
            return start + int(ends[0])
    return None
