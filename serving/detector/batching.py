"""Network inputs of requests that are under way together, run together: BentoML's adaptive batcher around a `Run`.

The batcher is BentoML's own `CorkDispatcher`, used in this process; docs/decisions/0001 says why, and BentoML's version
is pinned because the class is internal. The only file that knows of it. Knows nothing of pictures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import anyio.from_thread
import anyio.to_thread
import numpy as np
from bentoml._internal.marshal.dispatcher import CorkDispatcher
from numpy.typing import NDArray

from safelight.errors import ModelUnavailable
from safelight.postprocess import Run

Row = NDArray[np.float32]
Answer = tuple[NDArray[np.float32], NDArray[np.float32]]


class Batcher:
    """A `Run` that shares the network with other threads. Each input is queued by itself, so that a batch can mix the
    tiles of several pictures and never needs splitting.

    run: the network, called from one thread at a time. max_batch: inputs in one call. max_latency_ms: an input that has
    waited longer is given up. Belongs to the event loop that first uses it.
    """

    def __init__(self, run: Run, *, max_batch: int, max_latency_ms: int) -> None:
        self._run = run
        self._one = anyio.CapacityLimiter(1)
        self._closed = False
        self._dispatcher = CorkDispatcher(
            max_latency_ms, max_batch, fallback=self._give_up, get_batch_size=lambda _row: 1
        )
        self._submit = self._dispatcher(self._run_batch)

    def __call__(self, batch: NDArray[np.float32]) -> Answer:
        """Run `(B, 3, S, S)`, from a worker thread of the event loop; blocks it until the answers are there.

        Raises ModelUnavailable when they wait too long or the batcher is closed, and whatever `run` raises.
        """
        boxes, scores = zip(*anyio.from_thread.run(self._submit_all, batch), strict=True)
        return np.stack(boxes), np.stack(scores)

    def close(self) -> None:
        """Give up what waits, on the event loop. Idempotent; what is running ends by itself."""
        self._closed = True
        self._dispatcher.shutdown()

    async def _submit_all(self, batch: NDArray[np.float32]) -> list[Answer]:
        if self._closed:
            raise ModelUnavailable("The service is shutting down.")
        answers: list[Answer] = await asyncio.gather(*(self._submit(row) for row in batch))
        return answers

    async def _run_batch(self, rows: Sequence[Row]) -> list[Answer]:
        boxes, scores = await anyio.to_thread.run_sync(self._run, np.stack(rows), limiter=self._one)
        return list(zip(boxes, scores, strict=True))

    def _give_up(self) -> Answer:
        """Called by the dispatcher when a waiting input was cancelled: by itself, or because its request was."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        raise ModelUnavailable("The service is too busy to answer in time.")
