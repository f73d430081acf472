"""A KMS that fails: it is left alone while its breaker is open, and who needed it is told to come back, and not that his
envelope is broken.

botocore tries a call again by itself, with jitter, where that may help. Knows nothing of what envelopes hold.
"""

from __future__ import annotations

import threading
from typing import Any

from safelight.errors import KeyServiceDown, SealBroken
from safelight.sealing.protocol import Opened, Opener, Opening, OuterRequest
from serving.resilience.breaker import Breaker, BreakerOpen, Call

_THEIR_FAULT = 500
_THROTTLED = "ThrottlingException"  # a 400


class KmsWatch:
    """breaker: of the KMS. All of a call happens in one thread."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker, self._here = breaker, threading.local()

    def attend(self, client: Any) -> None:
        """Look at all calls of a boto3 client for KMS."""
        client.meta.events.register("before-call.kms", self._begins)
        client.meta.events.register("after-call.kms", self._answered)
        client.meta.events.register("after-call-error.kms", self._failed)

    def over(self, opener: Opener) -> Opener:
        """The opener, whose openings raise KeyServiceDown where they failed for want of the KMS."""
        return _Watched(opener, self)

    def forget(self) -> None:
        """Before an opening begins, in its thread."""
        self._here.failed = False

    @property
    def failed(self) -> bool:
        """Whether the KMS failed, or was not asked, since `forget` was called in this thread."""
        return getattr(self._here, "failed", False)

    def _begins(self, **_: Any) -> None:
        call = self._breaker.admit()
        self._here.call, self._here.failed = call, call is None
        if call is None:
            raise BreakerOpen(self._breaker.retry_after_s)

    def _answered(self, http_response: Any, parsed: Any, **_: Any) -> None:
        call: Call = self._here.call
        throttled = parsed.get("Error", {}).get("Code") == _THROTTLED
        self._here.failed = throttled or http_response.status_code >= _THEIR_FAULT
        (call.failed if self._here.failed else call.succeeded)()

    def _failed(self, **_: Any) -> None:
        call: Call = self._here.call
        self._here.failed = True
        call.failed()


class _Watched:
    blocking = True

    def __init__(self, opener: Opener, kms: KmsWatch) -> None:
        self._opener, self._kms, self.copies = opener, kms, opener.copies

    def recognises(self, outer: OuterRequest) -> bool:
        return self._opener.recognises(outer)

    def begin(self, outer: OuterRequest) -> Opening:
        return _WatchedOpening(self._opener.begin(outer), self._kms)


class _WatchedOpening:
    def __init__(self, opening: Opening, kms: KmsWatch) -> None:
        self._opening, self._kms = opening, kms

    def feed(self, data: bytes) -> None:
        self._opening.feed(data)

    def finish(self) -> Opened:
        self._kms.forget()
        try:
            return self._opening.finish()
        except SealBroken:
            if self._kms.failed:
                raise KeyServiceDown() from None
            raise
