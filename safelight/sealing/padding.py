"""How far a message is padded, so that its size tells little of what it says.

Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", PETS 2019): a size
of L bytes leaks O(log log L) bits and grows by at most 12 %, less the larger it is.
"""

from __future__ import annotations


def padded(size: int) -> int:
    """The least Padmé size that holds `size` bytes."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1
    return (size + mask) & ~mask


def missing(size: int, least: int) -> int:
    """How many bytes to add to a message of `size` bytes; nothing is sent smaller than `least`."""
    return max(padded(size), least) - size
