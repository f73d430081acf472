"""How EXIF says that a picture is to be turned, and nothing else of EXIF.

EXIF is a TIFF file in small: a header, then a directory of 12-byte entries (TIFF 6.0, section 2). Orientation is the tag
0x0112 of the first directory, one SHORT from 1 to 8 (EXIF 2.3, section 4.6.4).
"""

from __future__ import annotations

from typing import Literal

_PREFIX = b"Exif\0\0"
_ENTRY = 12
_TAG, _SHORT, _LONG = 0x0112, 3, 4
UPRIGHT = 1


def orientation_of(exif: bytes) -> int:
    """1 to 8; 1 when the block says nothing usable: a broken EXIF block is no reason to refuse a picture."""
    tiff = exif.removeprefix(_PREFIX)
    order: Literal["little", "big"]
    if tiff[:4] == b"II*\0":
        order = "little"
    elif tiff[:4] == b"MM\0*":
        order = "big"
    else:
        return UPRIGHT
    at = int.from_bytes(tiff[4:8], order)
    count = int.from_bytes(tiff[at : at + 2], order)
    for entry in range(at + 2, min(at + 2 + count * _ENTRY, len(tiff) - _ENTRY + 1), _ENTRY):
        if int.from_bytes(tiff[entry : entry + 2], order) == _TAG:
            kind, number = (int.from_bytes(tiff[entry + a : entry + b], order) for a, b in ((2, 4), (4, 8)))
            size = {_SHORT: 2, _LONG: 4}.get(kind, 0)
            value = int.from_bytes(tiff[entry + 8 : entry + 8 + size], order)
            return value if number == 1 and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
