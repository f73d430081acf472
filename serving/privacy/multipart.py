"""The files of a multipart/form-data body (RFC 7578), one or several, parsed as it streams in and kept in memory only.

Knows nothing of images. File names are neither read nor kept.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from safelight.errors import InvalidOption, MalformedBody, MissingField, TooLarge

FRAMING_BYTES = 64 * 1024
"""What boundaries and part headers may add to the file itself."""
_MUTE = logging.Logger("multipart-mute", logging.CRITICAL + 1)  # the parser would log the bytes it stumbles over


@dataclass
class Part:
    """One file of a form. media_type: what its part says it is, None where it does not. size: bytes that came; those of one
    that is too large are not kept."""

    media_type: str | None
    chunks: list[bytes] = field(default_factory=list, repr=False)
    size: int = 0

    @property
    def data(self) -> bytes:
        """The file."""
        return b"".join(self.chunks)


class FormFile:
    """Takes a form's bytes chunk by chunk, gives the files in it.

    field: the only field a form may have. max_bytes: of a file. most: files; where it is one, a file that is too large ends
    the form, otherwise it is left out alone (`Part.size`).
    """

    def __init__(self, content_type: str, field: str, max_bytes: int, most: int = 1) -> None:
        """Raises MalformedBody when the content type gives no usable boundary."""
        self._field, self._max_bytes, self._most = field, max_bytes, most
        self._parts: list[Part] = []
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._ended = False
        boundary = _parameters(content_type).get(b"boundary", b"")
        if not boundary:
            raise MalformedBody("Expected a boundary in the Content-Type of a multipart body.")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._part_begins,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise MalformedBody("The boundary in the Content-Type is too long.") from None
        self._parser.logger = _MUTE

    def feed(self, chunk: bytes) -> None:
        """Take some more of the body. Raises MalformedBody, InvalidOption or TooLarge."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise MalformedBody("The multipart framing is broken: boundaries or part headers do not hold.") from None

    def file(self) -> tuple[bytes, str | None]:
        """The file and the media type its part gives, once everything was fed. Raises MalformedBody or MissingField."""
        part, *_ = self.files()
        return part.data, part.media_type

    def files(self) -> list[Part]:
        """All of them in their order, at least one, once everything was fed. Raises MalformedBody or MissingField."""
        if not self._ended:
            raise MalformedBody("The multipart body ends before its closing boundary.")
        if not self._parts:
            raise MissingField(f"Expected a file in the form field '{self._field}' (curl -F {self._field}=@FILE).")
        return self._parts

    def _header_ends(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _part_begins(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"").decode("latin-1")
        if _parameters(disposition).get(b"name") != self._field.encode():
            raise InvalidOption(
                f"The form may hold the field '{self._field}' only; options belong into the query string (?model=...)."
            )
        if len(self._parts) == self._most:
            number = "one file" if self._most == 1 else f"at most {self._most} files"
            raise MalformedBody(f"Expected {number} in the form field '{self._field}', got more.")
        self._parts.append(Part(self._headers.get(b"content-type", b"").decode("latin-1") or None))

    def _take(self, data: bytes, start: int, end: int) -> None:
        part = self._parts[-1]
        part.size += end - start
        if part.size <= self._max_bytes:
            part.chunks.append(data[start:end])
        elif self._most == 1:
            raise TooLarge(f"Expected a file of at most {self._max_bytes} bytes, got more.")
        else:
            part.chunks.clear()

    def _end(self) -> None:
        self._ended = True


def _parameters(header: str) -> dict[bytes, bytes]:
    """The parameters of a header value such as `form-data; name="image"`, names in lower case."""
    try:
        return {key.strip().lower(): value for key, value in parse_options_header(header)[1].items()}
    except (UnicodeError, ValueError, IndexError):
        return {}
