"""How far a key, as it was read, asks for more care than others of its kind: a sum of documented points, with reasons.

Computed from the bitting and, where the catalogue has them, from the numbers of its system; no statistics of keys, locks or
burglaries are behind it, and it says nothing of the lock that the key is for. The rule is documented in
docs/reader/serving.md#risk; knows nothing of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from serving.reader.catalogue import SystemEntry

Level = Literal["low", "elevated", "high"]
ELEVATED, HIGH = 30, 60
"""Points from which a level begins."""
FEW_BITTINGS = 100_000
"""Below so many bittings a system is small: five cuts of ten depths, MACS aside."""
SHALLOW = 2
"""Steps from the shallowest cut to the deepest that count as nearly level."""


@dataclass(frozen=True)
class Reason:
    """rule: its name in the documentation. points: what it adds. text: in words, without a number that was read."""

    rule: str
    points: int
    text: str


@dataclass(frozen=True)
class Risk:
    """score: 0 to 100. reasons: what it is made of, the weightiest first."""

    level: Level
    score: int
    reasons: tuple[Reason, ...]


def risk_of(bittings: Sequence[int], entry: SystemEntry) -> Risk:
    """bittings: depths, bow to tip. entry: what is known of the system; what is not adds nothing."""
    found = [reason for reason in (*_of_cuts(bittings), *_of_system(bittings, entry)) if reason is not None]
    reasons = tuple(sorted(found, key=lambda reason: -reason.points))
    score = min(100, sum(reason.points for reason in reasons))
    return Risk("high" if score >= HIGH else "elevated" if score >= ELEVATED else "low", score, reasons)


def bittings_of(cuts: int, depths: int, macs: int) -> int:
    """How many bittings a system allows: sequences of `cuts` depths whose neighbours differ by at most `macs`."""
    ways = [1] * depths
    for _ in range(cuts - 1):
        ways = [sum(ways[max(0, depth - macs) : depth + macs + 1]) for depth in range(depths)]
    return sum(ways)


def _of_cuts(bittings: Sequence[int]) -> list[Reason | None]:
    pairs = list(pairwise(bittings))
    equal = sum(a == b for a, b in pairs)
    few = len(set(bittings)) <= max(1, len(bittings) // 2)
    level = max(bittings) - min(bittings) <= SHALLOW
    return [
        Reason("level-cuts", 30, "The cuts are nearly level: little has to be found out to lift the pins.")
        if level
        else None,
        Reason("few-depths", 15, "At most half as many different depths as cuts.") if few else None,
        Reason("equal-neighbours", min(20, 10 * equal), "Neighbouring cuts of the same depth.") if equal else None,
    ]


def _of_system(bittings: Sequence[int], entry: SystemEntry) -> list[Reason | None]:
    openness, system = entry.openness, entry.system
    reasons: list[Reason | None] = [
        Reason("open-keyway", 10, "The catalogue counts this keyway as open: blanks are to be had.")
        if openness is not None and openness.value == "open"
        else None
    ]
    if system is None:
        return reasons
    number = bittings_of(system.cuts, system.depths, system.macs)
    small = Reason("small-system", min(30, 10 * math.ceil(math.log10(FEW_BITTINGS / number))), _SMALL)
    outside = len(bittings) != system.cuts or any(not 0 <= cut - system.least < system.depths for cut in bittings)
    steep = any(abs(a - b) > system.macs for a, b in pairwise(bittings))
    return [
        *reasons,
        small if number < FEW_BITTINGS else None,
        Reason("outside-system", 0, "No bitting of this system as published: the reading may be wrong.")
        if outside
        else None,
        Reason("steeper-than-macs", 0, "Steeper than the system allows: the reading may be wrong.") if steep else None,
    ]


_SMALL = f"The system allows fewer than {FEW_BITTINGS:,} different bittings."
