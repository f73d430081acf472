"""What an image file says of itself, read byte by byte before any decoder sees it.

A file holds one still picture and nothing else, or it is refused: cut off, with bytes after its end, with several
pictures, with parts out of order. What is left for the decoder is the picture alone: metadata of every kind (EXIF, XMP,
ICC profiles, comments, text, thumbnails, private parts) stays behind unread, except for the EXIF orientation. Knows
nothing of Pillow, limits or policy.

A module a format: `jpeg`, `png`, `webp`, and `boxes` for HEIC and AVIF. Each takes time and memory in proportion to the
file, whatever the file says.
"""

from safelight.image_structure import boxes, jpeg, png, webp
from safelight.image_structure.still import Still

__all__ = ["Still", "boxes", "jpeg", "png", "webp"]
