"""Threads with a bounded queue: what runs, what waits, what is turned away, and what is told of it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import anyio
import pytest

from safelight.errors import ModelUnavailable, Overloaded
from serving.resilience.workers import TooSlow, Workers


def test_work_runs_in_threads_of_its_own_and_comes_back():
    async def main():
        workers = Workers(2, 2, time.perf_counter)
        assert await workers.run(lambda: threading.current_thread().name, 5) == "safelight-worker"
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0, 5)
        assert await asyncio.gather(*(workers.run(lambda n=n: n, 5) for n in range(4))) == [0, 1, 2, 3]
        assert workers.idle

    anyio.run(main)


def test_what_does_not_fit_is_turned_away_and_the_queue_is_told():
    told, gate = [], threading.Event()

    async def main():
        workers = Workers(1, 2, time.perf_counter, told.append)
        tasks = [asyncio.create_task(workers.run(gate.wait, 5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as caught:
            await workers.run(lambda: None, 5)
        assert 1 <= caught.value.retry_after_s <= 30
        gate.set()
        assert await asyncio.gather(*tasks) == [True] * 3

    anyio.run(main)
    assert told == [1, 2, 1, 0]


def test_what_waits_too_long_is_never_begun():
    gate, begun = threading.Event(), []

    async def main():
        workers = Workers(1, 2, time.perf_counter)
        first = asyncio.create_task(workers.run(gate.wait, 5))
        await asyncio.sleep(0.02)
        with pytest.raises(TooSlow) as late:
            await workers.run(lambda: begun.append(1), 0.05)
        assert not late.value.begun
        gate.set()
        await first
        assert await workers.run(lambda: "next", 5) == "next"

    anyio.run(main)
    assert begun == []


def test_what_hangs_counts_until_it_comes_back():
    gate = threading.Event()

    async def main():
        workers = Workers(1, 0, time.perf_counter)
        with pytest.raises(TooSlow) as slow:
            await workers.run(lambda: gate.wait(5), 0.05)
        assert slow.value.begun and not workers.idle
        with pytest.raises(Overloaded):
            await workers.run(lambda: None, 5)
        assert await workers.fresh().run(lambda: "elsewhere", 5) == "elsewhere"
        gate.set()
        while not workers.idle:
            await asyncio.sleep(0.01)
        assert await workers.run(lambda: "back", 5) == "back"

    anyio.run(main)


def test_closed_it_ends_what_waits_and_takes_no_more():
    gate = threading.Event()

    async def main():
        workers = Workers(1, 2, time.perf_counter)
        tasks = [asyncio.create_task(workers.run(gate.wait, 5)) for _ in range(2)]
        await asyncio.sleep(0.02)
        workers.close()
        workers.close()
        with pytest.raises(ModelUnavailable):
            await workers.run(lambda: None, 5)
        gate.set()
        assert await asyncio.gather(*tasks) == [True, True]

    before = threading.active_count()
    anyio.run(main)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_thread_that_waits_holds_nothing_of_a_request():
    class Pixels:
        pass

    async def main():
        workers = Workers(1, 0, time.perf_counter)
        pixels = Pixels()
        seen = weakref.ref(pixels)
        await workers.run(lambda held=pixels: held, 5)
        del pixels
        await asyncio.sleep(0.05)
        gc.collect()
        assert seen() is None

    anyio.run(main)
