"""One request to read a picture, between the thread that waits for it and the thread that works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from safelight.errors import DeadlineExceeded
from serving.reader.adapter import Adapter
from serving.reader.graphs import Floats
from serving.reader.row import Read, Row


class Request:
    """picture: `(3, S, S)`. left_s: the seconds that it has; called from both threads, may raise DeadlineExceeded. row: its
    answer, once it is being worked on."""

    def __init__(self, picture: Floats, adapter: Adapter, left_s: Callable[[], float]) -> None:
        self.picture, self.adapter, self._left_s = picture, adapter, left_s
        self.row: Row | None = None
        self._ended = threading.Event()
        self._read: Read | None = None
        self._error: Exception | None = None

    @property
    def ended(self) -> bool:
        """Whether it has an answer or an error, or nobody waits for it any more."""
        return self._ended.is_set()

    def wait(self) -> Read:
        """The answer. Raises what the request ended with, DeadlineExceeded when its time is over before."""
        try:
            while not self._ended.wait(min(self._left(), threading.TIMEOUT_MAX)):
                pass
        finally:
            self._ended.set()  # whoever goes is not worked for any more
        if self._error is not None:
            raise self._error
        assert self._read is not None
        return self._read

    def late(self) -> bool:
        """Whether its time is over: then it has ended."""
        try:
            self._left()
        except DeadlineExceeded as error:
            self.fail(error)
        return self.ended

    def finish(self) -> None:
        """Its row is done."""
        assert self.row is not None
        self._read = self.row.read()
        self._end()

    def fail(self, error: Exception) -> None:
        """It ends with an error."""
        if not self.ended:
            self._error = error
            self._end()

    def _end(self) -> None:
        self.row = None  # nothing of a picture stays for longer than it is worked on
        self._ended.set()

    def _left(self) -> float:
        left = self._left_s()
        if left <= 0:
            raise DeadlineExceeded("Expected an answer within the time that the request had. Send it again later.")
        return left
