"""Variable-length integers as QUIC writes them (RFC 9000, section 16): 1, 2, 4 or 8 bytes, the size in the top two bits."""

from __future__ import annotations

from safelight.errors import SealBroken


def encode(value: int) -> bytes:
    """The shortest form. Raises ValueError below 0 and above 2**62 - 1."""
    for power, size in enumerate((1, 2, 4, 8)):
        if 0 <= value < 1 << (8 * size - 2):
            return (value | power << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(f"Expected 0 to 2**62 - 1, got {value}.")


def size_of(first: int) -> int:
    """How many bytes an integer has that begins with the byte `first`."""
    return 1 << (first >> 6)


def decode(data: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """(value, where the next thing begins). Raises SealBroken when the data ends early."""
    if at >= len(data):
        raise SealBroken()
    size = size_of(data[at])
    if at + size > len(data):
        raise SealBroken()
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size
