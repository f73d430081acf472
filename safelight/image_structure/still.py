"""One picture in one file, and the refusals that the readers of all formats share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from safelight.errors import CorruptImage, SeveralPictures, TrailingData

MOST_PARTS = 65_536
"""Segments or chunks of one file: cameras and editors write a few hundred, each costs a step of a loop."""
_RESAVE = "Save it again as one plain picture"


@dataclass(frozen=True)
class Still:
    """width, height: pixels as stored. orientation: how EXIF says to turn them, 1 (not at all) to 8. data: the file
    again, without anything that its decoder does not need."""

    width: int
    height: int
    orientation: int
    data: bytes = field(repr=False)


def joined(parts: Iterable[bytes | memoryview]) -> bytes:
    """The parts of a file in one piece."""
    return b"".join(parts)


def cut_off(name: str) -> CorruptImage:
    """The refusal of a file that ends before its picture does."""
    return CorruptImage(f"The {name} file ends early: it was cut off on its way. Send the whole file.")


def broken(name: str, what: str) -> CorruptImage:
    """The refusal of a file whose parts do not hold. what: public words, never the file's."""
    return CorruptImage(f"The {name} file is broken: {what}.")


def trailing(name: str) -> TrailingData:
    """The refusal of bytes after the picture's end."""
    return TrailingData(f"Bytes follow the end of the {name} picture (a video, an archive or padding). {_RESAVE}.")


def several(name: str) -> SeveralPictures:
    """The refusal of animations, sequences and files with further pictures in them."""
    return SeveralPictures(
        f"The {name} file holds more than one picture (an animation, a live photo, an HDR or depth map). {_RESAVE}."
    )
