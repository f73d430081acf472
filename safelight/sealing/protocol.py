"""What a sealed protocol is, to the service that opens requests and to the client that seals them.

A third protocol is one more file with an `Opener` for the service and a `Wrapper` for the client. All of it is free of
input and output: bytes go in with `feed`, come out of `begin`, `write` and `end`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from safelight.sealing.messages import Headers, InnerRequest, InnerResponse


class Sealer(Protocol):
    """Seals one answer to the one who asked. A protocol that cannot stream returns b"" until `end`."""

    media_type: str

    def begin(self, status: int, headers: Headers) -> bytes:
        """The first sealed bytes."""

    def write(self, data: bytes) -> bytes:
        """The sealed form of some of the body."""

    def end(self) -> bytes:
        """The last sealed bytes, once the body has ended."""


@dataclass(frozen=True)
class Opened:
    """An envelope that was opened and authenticated as a whole.

    protocol: short and public, for counting. key_id: public name of the key that opened it. token: unique to this
    envelope and authenticated, to recognise it when it comes again. sent_at: what the sender's clock said, in seconds
    since the epoch, None when it does not say.
    """

    request: InnerRequest
    sealer: Sealer
    protocol: str
    key_id: str
    token: bytes = field(repr=False)
    sent_at: float | None


class Opening(Protocol):
    """One envelope on its way in."""

    def feed(self, data: bytes) -> None:
        """Take some more of the body. Raises as `finish` does; nothing of what was opened so far may be used yet."""

    def finish(self) -> Opened:
        """The request, once the body has ended and all of it is authenticated.

        Raises UnknownKey for a key that is not (or no longer) ours, SealBroken for everything else.
        """


@dataclass(frozen=True)
class OuterRequest:
    """The request that carries an envelope. media_type: without parameters, in lower case."""

    method: str
    path: str
    query: str
    media_type: str
    headers: Headers = field(default=(), repr=False)


class Opener(Protocol):
    """The service's end of a protocol. blocking: whether `finish` works for long, or waits for another machine. copies: how
    many times the size of an envelope `finish` needs, at most, beside the envelope."""

    blocking: bool
    copies: float

    def recognises(self, outer: OuterRequest) -> bool:
        """Whether this request carries an envelope of this protocol, by its path and media type."""

    def begin(self, outer: OuterRequest) -> Opening:
        """Begin to open one. Raises SealBroken."""


class AnswerOpening(Protocol):
    """One sealed answer on its way in."""

    def feed(self, data: bytes) -> None:
        """Take some more of the body. Raises SealBroken."""

    def finish(self) -> InnerResponse:
        """The answer, once all of it is authenticated. Raises SealBroken."""


@dataclass(frozen=True)
class Outgoing:
    """A sealed request as it is sent: POST `target` with `headers` and `body`; what comes back goes into `answer`.

    answer_type: the media type of a sealed answer; an answer of another type is not sealed.
    """

    target: str
    headers: Headers
    body: Iterable[bytes] = field(repr=False)
    answer_type: str
    answer: AnswerOpening


class Wrapper(Protocol):
    """The client's end of a protocol."""

    def wrap(self, request: InnerRequest) -> Outgoing:
        """Seal a request under a fresh key."""


@dataclass(frozen=True)
class Sending:
    """Something a client has to send: method, target (path and query), header lines, and a body in pieces: a sequence
    when its length is known beforehand, an iterator when it is to be streamed."""

    method: str
    target: str
    headers: Headers = ()
    body: Iterable[bytes] = field(default=(), repr=False)


@dataclass(frozen=True)
class Received:
    """What came back, unsealed: status, content type as it stood, body."""

    status: int
    content_type: str
    body: bytes = field(repr=False)
    headers: Headers = field(default=(), repr=False)

    @property
    def media_type(self) -> str:
        """The content type without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()


class Session(Protocol):
    """A client's dealings with one service: keys, clocks, repetitions."""

    def exchange(self, request: InnerRequest) -> Generator[Sending, Received, InnerResponse | Received]:
        """Yields what is to be sent, is sent what came back; returns the answer, as `Received` when it is not sealed.

        Raises SealBroken when the answer does not open.
        """
