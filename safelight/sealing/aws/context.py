"""What the encryption context of a message may say. It travels in the clear, authenticated, and ends up in other people's logs.

A context that says more, less or something else than expected is refused as a whole. Knows nothing of cryptography.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stdnum import luhn
from stdnum.us import ssn

from safelight.errors import SealBroken

STAGE, DATA_TYPE, FILE_TYPE, IN_REPLY_TO = "processing_stage", "data_type", "file_type", "in_reply_to"
STATUS, CONTENT_TYPE = "status", "content_type"
REQUEST, RESPONSE = "request", "response"
HTTP, IMAGE = "http", "image"
TIMES = ("timestamp", "upload_timestamp")
ALLOWED_KEYS = ("session_id", "timestamp", DATA_TYPE, STAGE, FILE_TYPE, "upload_timestamp")
RESERVED_PREFIX = "aws-crypto-"
_PUBLIC_KEY = "aws-crypto-public-key"  # the library's own, there when a suite signs
_MAX_CHARS = 256
# ASCII, so that nothing looks like something else; no control characters, and none that mean something in markup or a shell.
_VALUE = re.compile(rf"[A-Za-z0-9 ._:,+/=@-]{{1,{_MAX_CHARS}}}")
_IMAGE_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,63}")
_EPOCH = re.compile(r"[1-9][0-9]{9,10}")
_ISO = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ][0-9]{2}:?[0-9]{2}(:?[0-9]{2}([.,][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s@]@[^\s@]")
_NUMBER = re.compile(r"(?<![A-Za-z0-9])[0-9]+(?:[ .,:_/-]{1,3}[0-9]+)*(?![A-Za-z0-9])")
_CARD_DIGITS = range(13, 20)
_CARD_FIRST = "23456"  # the industries of ISO/IEC 7812 that issue cards one pays with


@dataclass(frozen=True)
class Declared:
    """What a request's context says. content: `image` when the plaintext is the picture itself, `http` when it is a binary
    HTTP message. file_type: the picture's media type. sent_at: seconds since the epoch."""

    content: str
    file_type: str | None
    sent_at: float | None


class ContextPolicy:
    """allowed_keys: what a sender may say besides the library's own key."""

    def __init__(self, allowed_keys: Sequence[str] = ALLOWED_KEYS) -> None:
        self._allowed = frozenset(allowed_keys) | {_PUBLIC_KEY}

    def read(self, context: Mapping[str, str]) -> Declared:
        """What the context of a request declares. Raises SealBroken unless all of it is as it should be."""
        for key, value in context.items():
            if key not in self._allowed or not _VALUE.fullmatch(value):
                raise SealBroken()
            if key not in TIMES and key != _PUBLIC_KEY and is_personal(value):
                raise SealBroken()
        file_type = context.get(FILE_TYPE)
        if context.get(STAGE) != REQUEST or context.get(DATA_TYPE) not in (HTTP, IMAGE):
            raise SealBroken()
        if file_type is not None and not _IMAGE_TYPE.fullmatch(file_type):
            raise SealBroken()
        times = [read_time(context[key]) for key in TIMES if key in context]
        return Declared(context[DATA_TYPE], file_type, times[0] if times else None)


def own(context: Mapping[str, str]) -> dict[str, str]:
    """The part of a context that its sender wrote, without what the library put in."""
    return {key: value for key, value in context.items() if not key.startswith(RESERVED_PREFIX)}


def read_time(value: str) -> float:
    """Seconds since the epoch, of whole seconds (ten or eleven digits) or of a date and time with its zone (RFC 3339,
    ISO 8601). Raises SealBroken."""
    text = value.upper()
    try:
        if _EPOCH.fullmatch(text):
            return float(text)
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise SealBroken() from None
    raise SealBroken()


def is_personal(value: str) -> bool:
    """Whether a value looks like an e-mail address, or holds what looks like a payment card's or a US social-security
    number, written in one or with separators."""
    if _EMAIL.search(value):
        return True
    if _UUID.fullmatch(value):  # one in some thousand random ones would hold a "card"
        return False
    return any(_holds_number(re.findall(r"[0-9]+", run)) for run in _NUMBER.findall(value))


def _holds_number(groups: list[str]) -> bool:
    """Whether some neighbouring groups of digits are a card's or a social-security number together."""
    runs = [groups[first:last] for first in range(len(groups)) for last in range(first + 1, len(groups) + 1)]
    return any(_is_card("".join(run)) or ssn.is_valid("-".join(run)) for run in runs)


def _is_card(digits: str) -> bool:
    return len(digits) in _CARD_DIGITS and digits[0] in _CARD_FIRST and luhn.is_valid(digits)
