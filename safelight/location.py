"""Where a picture was taken, made coarse at once: nothing finer than a geohash cell and three digits of a ZIP code stays.

What comes in are the texts as they were sent; they are in no result, no exception and no representation. Knows nothing of
requests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pygeohash

from safelight.errors import InvalidOption

_DEGREES = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?", re.ASCII)
_ZIP = re.compile(r"([0-9]{3})[0-9]{2}(-?[0-9]{4})?", re.ASCII)
FEW_PEOPLE = frozenset(
    {
        # The 17 prefixes that the Department of Health and Human Services lists by the census of 2000, in its guidance of
        # 2012 on de-identification under the Privacy Rule.
        "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890", "893",
        # The same guidance says not to rest on that list once there are newer figures: these came with the census of 2010.
        "205", "369",
    }
)  # fmt: skip
"""Three-digit prefixes whose ZIP codes hold 20,000 people or fewer together: 45 CFR 164.514(b)(2)(i)(B) wants 000 instead.
Those that the newer census dropped from the list stay on it."""
NOBODY_TOLD = "000"


@dataclass(frozen=True)
class CoarseLocation:
    """geohash: a cell of the precision that was asked for. zip3: the first three digits of a US ZIP code, or 000."""

    geohash: str | None = None
    zip3: str | None = None


def coarse_geohash(latitude: str, longitude: str, precision: int) -> str:
    """The geohash cell of a place in decimal degrees (WGS 84). precision: characters; 4 is some 39 x 20 km.

    Raises InvalidOption, without the values.
    """
    return str(pygeohash.encode(_degrees("latitude", latitude, 90), _degrees("longitude", longitude, 180), precision))


def coarse_zip(text: str, name: str = "zip") -> str:
    """Three digits of a US ZIP or ZIP+4 code, 000 where few people live. name: what the option is called. Raises
    InvalidOption, without the value."""
    found = _ZIP.fullmatch(text)
    if found is None:
        raise InvalidOption(f"{name}: expected a US ZIP code of five digits, or nine as in 12345-6789.")
    return NOBODY_TOLD if found[1] in FEW_PEOPLE else found[1]


def _degrees(name: str, text: str, most: int) -> float:
    if _DEGREES.fullmatch(text) is None or not abs(float(text)) <= most:
        raise InvalidOption(f"{name}: expected decimal degrees from -{most} to {most}.")
    return float(text)
