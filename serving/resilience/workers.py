"""Threads for work that blocks: a bounded queue in front, a time limit on each piece, and a way past one that hangs.

Each model has its own, so that one that hangs leaves the others alone (a bulkhead; M. Nygard, "Release It!", chapter 5).
Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from safelight.errors import ModelUnavailable, Overloaded

T = TypeVar("T")
_SMOOTHING = 0.1  # how much the latest piece of work says about how long one takes
_LONGEST_RETRY_S = 30


class TooSlow(Exception):
    """The work did not end within its time. begun: whether it had been started."""

    def __init__(self, begun: bool) -> None:
        super().__init__("The work did not end within its time.")
        self.begun = begun


class Workers:
    """threads: how many pieces are worked on at a time. waiting: how many more may wait. clock: monotonic seconds. queued:
    told how many wait, when that changes.

    `run` belongs to one event loop at a time. Threads start with the first piece of work and never keep the process alive.
    """

    def __init__(
        self,
        threads: int,
        waiting: int,
        clock: Callable[[], float],
        queued: Callable[[int], None] = lambda waiting: None,
    ) -> None:
        self._threads, self._waiting, self._clock = threads, waiting, clock
        self._queued, self._told = queued, 0
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._started = self._ended_threads = 0
        self._closed = False
        self._then: Callable[[], None] = lambda: None
        self._ending = threading.Lock()
        self._usual_s = 0.0
        self.under_way = 0

    @property
    def idle(self) -> bool:
        """Whether a thread could begin at once."""
        return self.under_way < self._threads

    async def run(self, work: Callable[[], T], within_s: float) -> T:
        """What `work` returns, called in one of the threads; what it raises is raised here.

        Raises Overloaded when too many wait already, TooSlow after `within_s` seconds, ModelUnavailable once closed. Work
        that nobody waits for any more is not begun; what was begun runs to its end, and counts as under way until then.
        """
        if self._closed:
            raise ModelUnavailable("The model has left service.")
        if self.under_way >= self._threads + self._waiting:
            raise Overloaded(retry_after_s=self._retry_after_s())
        self._start_threads()
        loop = asyncio.get_running_loop()
        piece = _Work(work, loop, loop.create_future())
        self.under_way += 1
        self._tell()
        self._queue.put(piece)
        timer = loop.call_later(within_s, self._overdue, piece)
        try:
            return await piece.future  # type: ignore[no-any-return]  # the future of `work`
        finally:
            timer.cancel()
            piece.unwanted = True

    def fresh(self) -> Workers:
        """Others like these, with threads of their own."""
        return Workers(self._threads, self._waiting, self._clock, self._queued)

    def close(self, then: Callable[[], None] = lambda: None) -> None:
        """Take no more work; threads end when what waits is done. then: called once, after the last of them; never while one
        hangs. Idempotent."""
        if self._closed:
            return
        self._closed, self._then = True, then
        if not self._started:
            then()
        for _ in range(self._started):
            self._queue.put(None)

    def _start_threads(self) -> None:
        while self._started < self._threads:
            self._started += 1
            threading.Thread(target=self._serve, name="safelight-worker", daemon=True).start()

    def _overdue(self, piece: _Work) -> None:
        if not piece.future.done():
            piece.future.set_exception(TooSlow(piece.begun))

    def _serve(self) -> None:
        self._work()
        with self._ending:
            self._ended_threads += 1
            last = self._ended_threads == self._started
        if last:
            self._then()

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            result, error = None, None
            if not piece.unwanted:
                piece.begun = True
                begun = self._clock()
                try:
                    result = piece.work()
                except BaseException as raised:
                    error = raised
                self._usual_s += _SMOOTHING * (self._clock() - begun - self._usual_s)
            try:
                piece.loop.call_soon_threadsafe(self._ended, piece, result, error)
            except RuntimeError:  # the loop is closed: nobody waits
                self.under_way -= 1
            del piece, result, error  # nothing of a request stays with a thread that waits

    def _ended(self, piece: _Work, result: Any, error: BaseException | None) -> None:
        """On the event loop."""
        self.under_way -= 1
        self._tell()
        if piece.future.done():
            return
        if error is None:
            piece.future.set_result(result)
        else:
            piece.future.set_exception(error)

    def _tell(self) -> None:
        waiting = max(0, self.under_way - self._threads)
        if waiting != self._told:
            self._told = waiting
            self._queued(waiting)

    def _retry_after_s(self) -> int:
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self._usual_s * self.under_way / self._threads)))


class _Work:
    __slots__ = ("begun", "future", "loop", "unwanted", "work")

    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self.work, self.loop, self.future = work, loop, future
        self.begun = self.unwanted = False
