"""HTTP messages as they travel inside an envelope: whole, in memory, free of any framework."""

from __future__ import annotations

from dataclasses import dataclass, field

Headers = tuple[tuple[bytes, bytes], ...]
"""Field lines in order; names in lower case."""


@dataclass(frozen=True)
class InnerRequest:
    """A request inside an envelope. target: path and query as on a request line. Its repr shows no content."""

    method: str
    target: str
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    scheme: str = "https"
    authority: str = ""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the first question mark of the target."""
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class InnerResponse:
    """A final response inside an envelope. Its repr shows no content."""

    status: int
    headers: Headers = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, by its name in lower case."""
    return next((value for key, value in headers if key == name), None)
