"""Dates as HTTP writes them (RFC 9110, section 5.6.7), for the check that a request is fresh."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from safelight.errors import SealBroken


def read_date(value: bytes | None) -> float | None:
    """Seconds since the epoch, None for no date. Raises SealBroken for one that cannot be read."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        raise SealBroken() from None


def write_date(seconds: float) -> bytes:
    """An IMF-fixdate."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True).encode()
