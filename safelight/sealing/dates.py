"""Dates as HTTP writes them (RFC 9110, section 5.6.7), for the check that a request is fresh."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from safelight.errors import SealBroken


def read_date(value: bytes | None) -> float | None:
    """Seconds since the epoch, None for no date. Raises SealBroken for one that cannot be read."""
    return None if value is None else _read(value)


def write_date(seconds: float) -> bytes:
    """An IMF-fixdate."""
    return _write(int(seconds // 1))


@lru_cache(maxsize=64)  # requests of one second say the same
def _read(value: bytes) -> float:
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        raise SealBroken() from None


@lru_cache(maxsize=4)
def _write(second: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True).encode()
