"""Network inputs of requests that are under way together, run together. Nobody waits for company.

Whoever comes while the network is free runs it, on its own thread; whoever comes while it is busy waits, and what waits is
one batch as soon as it is free again, run by the first that waited. A lone request is therefore never held back, and under
load batches grow by themselves. Knows nothing of pictures, and of no event loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ModelUnavailable
from safelight.postprocess import Run

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Ran:
    """boxes `(B, A, 4)` and scores `(B, A, C)` of one's own inputs, when the network began and ended, and how many inputs it
    was given at once."""

    boxes: Array
    scores: Array
    begun: float
    ended: float
    size: int


class Batcher:
    """run: the network, never called by two threads at a time. max_batch: inputs in one call. clock: seconds. ran: told of
    each call (inputs, seconds)."""

    def __init__(
        self,
        run: Run,
        *,
        max_batch: int,
        clock: Callable[[], float],
        ran: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._run, self._max_batch, self._clock = run, max_batch, clock
        self._ran = ran
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: deque[_Job] = deque()

    def __call__(self, inputs: Array) -> Ran:
        """Run `(B, 3, S, S)`, B at most `max_batch`; blocks until the answer is there. Raises what `run` raises, on inputs of
        one's own only."""
        job = _Job(inputs)
        with self._lock:
            leads, self._busy = not self._busy, True
            if not leads:
                self._waiting.append(job)
        if not leads:
            job.turn.acquire()
        if job.answer is None and job.error is None:
            self._lead(job)
        if job.error is not None:
            raise job.error
        assert job.answer is not None
        return job.answer

    def _lead(self, own: _Job) -> None:
        """Run one batch with one's own inputs in it, then hand the network on to the first that waits."""
        jobs = [own, *self._company(len(own.inputs))]
        try:
            self._answer(jobs)
        finally:
            with self._lock:
                heir = self._waiting.popleft() if self._waiting else None
                self._busy = heir is not None
            for job in jobs[1:]:
                job.turn.release()
            if heir is not None:
                heir.turn.release()

    def _company(self, size: int) -> list[_Job]:
        company = []
        with self._lock:
            while self._waiting and size + len(self._waiting[0].inputs) <= self._max_batch:
                company.append(self._waiting.popleft())
                size += len(company[-1].inputs)
        return company

    def _answer(self, jobs: list[_Job]) -> None:
        """A batch that fails is run again one by one, so that each fails by its own inputs only."""
        try:
            begun = self._clock()
            batch = jobs[0].inputs if len(jobs) == 1 else np.concatenate([job.inputs for job in jobs])
            boxes, scores = self._run(batch)
            ended = self._clock()
        except ModelUnavailable as error:  # ended from outside: whatever hangs would hang again
            for job in jobs:
                job.error = error
            return
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].error = error
            else:
                for job in jobs:
                    self._answer([job])
            return
        self._ran(len(batch), ended - begun)
        start = 0
        for job in jobs:
            own = slice(start, start := start + len(job.inputs))
            job.answer = Ran(boxes[own], scores[own], begun, ended, len(batch))


class _Job:
    """turn: released once there is an answer or an error, or once it is this job's turn to run the network."""

    __slots__ = ("answer", "error", "inputs", "turn")

    def __init__(self, inputs: Array) -> None:
        self.inputs = inputs
        self.answer: Ran | None = None
        self.error: Exception | None = None
        self.turn = threading.Lock()
        self.turn.acquire()
