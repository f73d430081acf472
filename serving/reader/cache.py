"""Answers that were given lately, by a keyed hash of what was asked: HMAC-SHA256 (RFC 2104) under a key of this process alone.

Holds no pixels and nothing that names them to anybody else: the key is random, in memory only, and gone with the process.
Knows nothing of readers; when it may be asked at all is the caller's affair.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class ResultCache(Generic[T]):
    """entries: how many answers are kept at most, the one asked for longest ago goes first. seconds: for how long each is
    kept. clock: monotonic seconds. secret: of the keyed hash. May be used from several threads."""

    def __init__(
        self,
        entries: int,
        seconds: float,
        clock: Callable[[], float],
        secret: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._entries, self._seconds, self._clock = entries, seconds, clock
        self._secret = secret(32)
        self._answers: OrderedDict[bytes, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, pixels: NDArray[np.generic], digest: str, options: Sequence[str] = ()) -> bytes:
        """32 bytes that stand for a picture, the adapter that reads it (by its bundle's digest) and whatever else the answer
        depends on."""
        keyed = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in (digest, pixels.dtype.str, repr(pixels.shape), *options):
            told = part.encode()
            keyed.update(len(told).to_bytes(8, "big") + told)
        keyed.update(np.ascontiguousarray(pixels).data)
        return keyed.digest()

    def get(self, key: bytes) -> T | None:
        """The answer given under this key, None where there is none or it is too old."""
        with self._lock:
            self._forget()
            if key not in self._answers:
                return None
            self._answers.move_to_end(key)
            return self._answers[key][1]

    def put(self, key: bytes, answer: T) -> None:
        """Keep an answer, in the place of the one asked for longest ago where there is no room."""
        with self._lock:
            self._forget()
            self._answers[key] = (self._clock() + self._seconds, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self._entries:
                self._answers.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._answers.clear()

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._answers)

    def _forget(self) -> None:
        """What is too old is not kept for want of a question."""
        now = self._clock()
        for key in [key for key, (until, _) in self._answers.items() if until <= now]:
            del self._answers[key]
