"""A client's dealings with one gateway: fetch its keys, check them, seal, and do again what the gateway asks to do again.

Free of input and output: `exchange` yields what is to be sent and is sent what came back. Knows nothing of httpx.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator

from safelight.errors import KeyNotTrusted
from safelight.sealing import hpke
from safelight.sealing.dates import read_date, write_date
from safelight.sealing.messages import InnerRequest, InnerResponse, header
from safelight.sealing.ohttp import DATE_PROBLEM, KEY_PROBLEM, KEYS_PATH, KEYS_TYPE
from safelight.sealing.ohttp.client import OhttpWrapper
from safelight.sealing.ohttp.config import decode_keys
from safelight.sealing.protocol import Received, Sending

# Keys may be cached for minutes; those just refused are not wanted again.
_PAST_CACHES = ((b"cache-control", b"no-cache"),)
_PREFERENCE = (hpke.MLKEM768_X25519, hpke.X25519)


class OhttpSession:
    """pins: fingerprints of the key configurations that are trusted; none: whatever the gateway says, which the caller
    allows only where nobody can put in other keys (https, or this machine). keys: a document of key configurations that is
    used in place of what the gateway says now. chunk_above: bodies of more bytes go in chunks, None for never. now: seconds
    since the epoch. Raises SealBroken or KeyNotTrusted for a document that cannot be used."""

    def __init__(
        self,
        *,
        pins: Collection[str],
        chunk_above: int | None,
        now: Callable[[], float],
        keys: bytes | None = None,
    ) -> None:
        self._pins, self._chunk_above, self._now = frozenset(pin.lower() for pin in pins), chunk_above, now
        self._fetches = keys is None
        self._wrapper = None if keys is None else self._wrapper_for(keys)
        self._clock_off_s = 0.0

    def exchange(self, request: InnerRequest) -> Generator[Sending, Received, InnerResponse | Received]:
        """One request and its answer; an answer that is not sealed comes back as it was received.

        Raises SealBroken when the answer does not open, KeyNotTrusted when no key of the gateway is pinned.
        """
        refetched = corrected = False
        while True:
            wrapper = self._wrapper
            if wrapper is None:
                received = yield Sending("GET", KEYS_PATH, _PAST_CACHES if refetched else ())
                if received.media_type != KEYS_TYPE or received.status != 200:
                    return received
                wrapper = self._wrapper = self._wrapper_for(received.body)
            outgoing = wrapper.wrap(self._dated(request))
            received = yield Sending("POST", outgoing.target, outgoing.headers, outgoing.body)
            if received.media_type != outgoing.answer_type:
                if self._fetches and not refetched and _problem_type(received) == KEY_PROBLEM:
                    self._wrapper, refetched = None, True
                    continue
                return received
            outgoing.answer.feed(received.body)
            response = outgoing.answer.finish()
            if not corrected and _problem_type(_as_received(response)) == DATE_PROBLEM:
                corrected = self._correct_the_clock(response)
                if corrected:
                    continue
            return response

    def _wrapper_for(self, document: bytes) -> OhttpWrapper:
        """For the best configuration that may be used. Raises KeyNotTrusted or SealBroken."""
        configs = decode_keys(document)
        if self._pins:
            configs = [config for config in configs if config.fingerprint in self._pins]
        if not configs:
            raise KeyNotTrusted("Expected one of the pinned keys; the gateway offers others only.")
        best = min(configs, key=lambda config: _PREFERENCE.index(config.kem_id))
        return OhttpWrapper(best, chunk_above=self._chunk_above)

    def _dated(self, request: InnerRequest) -> InnerRequest:
        date = write_date(self._now() + self._clock_off_s)
        headers = (*request.headers, (b"date", date))
        return InnerRequest(request.method, request.target, headers, request.body, request.scheme, request.authority)

    def _correct_the_clock(self, response: InnerResponse) -> bool:
        date = read_date(header(response.headers, b"date"))
        if date is not None:
            self._clock_off_s = date - self._now()
        return date is not None


def _as_received(response: InnerResponse) -> Received:
    content_type = (header(response.headers, b"content-type") or b"").decode("latin-1")
    return Received(response.status, content_type, response.body)


def _problem_type(received: Received) -> str | None:
    """The type of a problem document (RFC 9457), None when it is none."""
    if received.status != 400 or received.media_type != "application/problem+json":
        return None
    try:
        problem = json.loads(received.body)
    except (ValueError, RecursionError):
        return None
    return str(problem.get("type")) if isinstance(problem, dict) else None
