"""The simplest dealings with a service: seal, send, open. For protocols whose keys are known beforehand."""

from __future__ import annotations

from collections.abc import Generator

from safelight.sealing.messages import InnerRequest, InnerResponse
from safelight.sealing.protocol import Received, Sending, Wrapper


class PlainSession:
    """wrapper: seals each request."""

    def __init__(self, wrapper: Wrapper) -> None:
        self._wrapper = wrapper

    def exchange(self, request: InnerRequest) -> Generator[Sending, Received, InnerResponse | Received]:
        """As `Session.exchange`."""
        outgoing = self._wrapper.wrap(request)
        received = yield Sending("POST", outgoing.target, outgoing.headers, outgoing.body)
        if received.media_type != outgoing.answer_type:
            return received
        outgoing.answer.feed(received.body)
        return outgoing.answer.finish()
