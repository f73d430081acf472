"""Image files made on the spot: chunk by chunk where Pillow cannot write them, and damaged in every way."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def chunk(kind: bytes, payload: bytes = b"") -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_header(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = 2,
    compression: int = 0,
    filtering: int = 0,
    interlace: int = 0,
) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, compression, filtering, interlace))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_rows(pixels: NDArray[np.uint8]) -> bytes:
    """Unfiltered rows, compressed: the content of an IDAT chunk."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def interlaced_png(pixels: NDArray[np.uint8]) -> bytes:
    """`(H, W, 3)` uint8 as an Adam7 PNG (specification, section 8.2), which Pillow reads and does not write."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    height, width = pixels.shape[:2]
    return png_of(png_header(width, height, interlace=1), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND"))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of each chunk of a valid PNG."""
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(payload)) + payload + b"\0" * (len(payload) % 2) for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of each chunk of a valid WebP."""
    chunks, at = [], 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG marker segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    """A JPEG with a segment more, right behind its beginning."""
    return jpeg[:2] + segment(marker, payload) + jpeg[2:]


def box(kind: bytes, payload: bytes = b"") -> bytes:
    """A box of an ISO base media file."""
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def exif(orientation: int, **texts: str) -> bytes:
    """An EXIF block. texts: Make, Model and the like, by name."""
    block = Image.Exif()
    block[0x0112] = orientation
    for tag, text in zip((0x010F, 0x0110, 0x9286), texts.values(), strict=False):
        block[tag] = text
    return block.tobytes()


def as_pillow_sees_it(data: bytes) -> NDArray[np.uint8]:
    """The pixels as Pillow's own functions give them: upright, on white."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of metadata that does not hold
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
        return np.stack([grey] * 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def mutated(data: bytes, random: random.Random) -> bytes:
    """A damaged copy: bytes changed, cut, removed, repeated, put in; lengths and markers preferred as targets."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(out)) if out else 0
        match random.randrange(8):
            case 0:
                out[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                out[at : at + 1] = random.choice((b"\xff", b"\0", b"\x7f", b"\x80", b"\xd9", b"\xd8", b"\xda"))
            case 2:
                del out[at:]
            case 3:
                del out[at : at + random.randrange(1, 30)]
            case 4:
                out[at:at] = random.randbytes(random.randrange(1, 20))
            case 5:
                end = at + random.randrange(1, 60)
                out[at:at] = out[at:end]
            case 6:
                out[at : at + 4] = struct.pack(
                    random.choice((">I", "<I")), random.choice((0, 1, 2**31, 2**32 - 1, 65536))
                )
            case 7:  # within the first bytes, where headers are
                at = random.randrange(min(len(out), 60)) if out else 0
                out[at : at + 1] = bytes([random.randrange(256)])
    return bytes(out)


def mended(data: bytes) -> bytes:
    """A damaged file whose outside holds again, so that more of the damage reaches what lies within: the checksums of a
    PNG as far as its chunks can be followed, the length of a WebP."""
    if data.startswith(b"RIFF"):
        even = data + b"\0" * (len(data) % 2)
        return even[:4] + struct.pack("<I", max(0, len(even) - 8)) + even[8:]
    return _png_mended(data) if data.startswith(b"\x89PNG") else data


def _png_mended(data: bytes) -> bytes:
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = struct.pack(">I", zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)
