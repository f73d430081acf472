"""BentoML's batcher behind our adapter: shared runs, failures that stay with their requests, a clean end."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio
import anyio.to_thread
import numpy as np
import pytest

from safelight.errors import ModelUnavailable
from serving.detector.batching import Batcher


class Network:
    """Answers each input with its first value; notes batch sizes; waits for `gate`; fails on a negative value."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.delay_s = delay_s
        self.gate = threading.Event()
        self.gate.set()
        self.running = 0
        self.most = 0

    def __call__(self, batch):
        self.running += 1
        self.most = max(self.most, self.running)
        self.sizes.append(len(batch))
        self.gate.wait(10)
        time.sleep(self.delay_s)
        self.running -= 1
        values = batch[:, 0, 0, 0]
        if (values < 0).any():
            raise RuntimeError("the network failed")
        return np.repeat(values, 4).reshape(-1, 1, 4), values.reshape(-1, 1, 1)


def rows(*values: float):
    return np.stack([np.full((3, 2, 2), value, np.float32) for value in values])


async def ask(batcher: Batcher, *values: float):
    boxes, scores = await anyio.to_thread.run_sync(batcher, rows(*values))
    assert boxes.shape == (len(values), 1, 4) and scores.shape == (len(values), 1, 1)
    return scores[:, 0, 0].tolist()


def test_each_gets_its_own_answers_and_runs_are_shared():
    network = Network(delay_s=0.005)

    async def main():
        batcher = Batcher(network, max_batch=4, max_latency_ms=10_000)
        for value in range(12):  # until the batcher has measured what a run costs
            assert await ask(batcher, value) == [value]
        network.sizes.clear()
        answers = await asyncio.gather(*(ask(batcher, n, n + 0.5, n + 0.75) for n in range(16)))
        assert answers == [[n, n + 0.5, n + 0.75] for n in range(16)]
        batcher.close()

    anyio.run(main)
    assert sum(network.sizes) == 48 and max(network.sizes) == 4 and len(network.sizes) < 24
    assert network.most == 1


def test_a_failing_batch_fails_its_requests_only():
    async def main():
        batcher = Batcher(Network(), max_batch=1, max_latency_ms=10_000)
        answers = await asyncio.gather(*(ask(batcher, n) for n in (1, -1, 2)), return_exceptions=True)
        assert answers[0] == [1] and answers[2] == [2]
        assert isinstance(answers[1], RuntimeError)
        assert await ask(batcher, 3) == [3]
        batcher.close()

    anyio.run(main)


def test_closing_gives_up_what_waits_and_lets_the_rest_end():
    network = Network()
    network.gate.clear()

    async def main():
        batcher = Batcher(network, max_batch=1, max_latency_ms=10_000)
        first = asyncio.create_task(ask(batcher, 1))
        while not network.sizes:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(ask(batcher, 2))
        await asyncio.sleep(0.05)
        batcher.close()
        batcher.close()
        with pytest.raises(ModelUnavailable):
            await second
        network.gate.set()
        assert await first == [1]
        with pytest.raises(ModelUnavailable):
            await ask(batcher, 3)
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    anyio.run(main)


def test_what_waits_too_long_is_given_up_as_busy():
    network = Network()
    network.gate.clear()

    async def main():
        batcher = Batcher(network, max_batch=1, max_latency_ms=50)
        waiting = [asyncio.create_task(ask(batcher, n)) for n in range(30)]
        await asyncio.sleep(0.5)
        network.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(answer, ModelUnavailable) for answer in answers)
        assert all(isinstance(answer, ModelUnavailable | list) for answer in answers)
        batcher.close()

    anyio.run(main)


def test_a_cancelled_request_stays_cancelled():
    """The dispatcher turns a cancellation into its fallback; the adapter turns it back."""
    network = Network()
    network.gate.clear()

    async def main():
        batcher = Batcher(network, max_batch=1, max_latency_ms=10_000)
        task = asyncio.create_task(batcher._submit_all(rows(1)))
        while not network.sizes:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        network.gate.set()
        assert await ask(batcher, 2) == [2]
        batcher.close()

    anyio.run(main)
