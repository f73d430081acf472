"""Shared runs without waiting for company, failures that stay with their requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from safelight.errors import ModelUnavailable
from serving.models.batching import Batcher


class Network:
    """Answers each input with its first value; notes batch sizes; waits for `gate`; fails on a negative value."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Semaphore(0)
        self.running = self.most = 0
        self.stopped = False

    def __call__(self, batch):
        self.running += 1
        self.most = max(self.most, self.running)
        self.sizes.append(len(batch))
        self.begun.release()
        self.gate.wait(10)
        self.running -= 1
        if self.stopped:
            raise ModelUnavailable("stopped")
        values = batch[:, 0, 0, 0]
        if (values < 0).any():
            raise RuntimeError("the network failed")
        return np.repeat(values, 4).reshape(-1, 1, 4), values.reshape(-1, 1, 1)


def rows(*values: float):
    return np.stack([np.full((3, 2, 2), value, np.float32) for value in values])


def ask(batcher: Batcher, *values: float):
    ran = batcher(rows(*values))
    assert ran.boxes.shape == (len(values), 1, 4) and ran.scores.shape == (len(values), 1, 1)
    assert ran.begun <= ran.ended and ran.size >= len(values)
    return ran.scores[:, 0, 0].tolist()


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def queue_up(pool, network, batcher, *asked):
    """Futures of requests that came while the network was busy with a first one, in this order."""
    network.gate.clear()
    first = pool.submit(ask, batcher, 0)
    network.begun.acquire()
    waiting = []
    for values in asked:
        waiting.append(pool.submit(ask, batcher, *values))
        while len(batcher._waiting) < len(waiting):
            time.sleep(0.001)
    return first, waiting


def test_who_comes_to_a_free_network_runs_it_at_once(network):
    batcher = Batcher(network, max_batch=8, clock=time.perf_counter)
    assert [ask(batcher, n) for n in range(3)] == [[0], [1], [2]] and network.sizes == [1, 1, 1]


def test_what_came_meanwhile_is_run_together(network, pool):
    ran = []
    batcher = Batcher(
        network,
        max_batch=4,
        clock=time.perf_counter,
        ran=lambda size, seconds: ran.append((size, seconds > 0)),
    )
    first, waiting = queue_up(pool, network, batcher, (1, 2), (3,), (4, 5), (6,))
    network.gate.set()
    assert first.result() == [0] and [one.result() for one in waiting] == [[1, 2], [3], [4, 5], [6]]
    assert network.sizes == [1, 3, 3] and ran == [(1, True), (3, True), (3, True)] and network.most == 1


def test_many_at_once_all_get_their_own(network, pool):
    batcher = Batcher(network, max_batch=4, clock=time.perf_counter)
    answers = list(pool.map(lambda n: ask(batcher, n, n + 0.5, n + 0.75), range(200)))
    assert answers == [[n, n + 0.5, n + 0.75] for n in range(200)]
    assert sum(network.sizes) == 600 and max(network.sizes) <= 4 and network.most == 1
    assert not batcher._busy and not batcher._waiting


def test_a_failing_batch_fails_by_its_own_inputs_only(network, pool):
    batcher = Batcher(network, max_batch=8, clock=time.perf_counter)
    first, waiting = queue_up(pool, network, batcher, (1,), (-1,), (2,))
    network.gate.set()
    assert first.result() == [0] and waiting[0].result() == [1] and waiting[2].result() == [2]
    with pytest.raises(RuntimeError, match="the network failed"):
        waiting[1].result()
    assert ask(batcher, 3) == [3]


def test_a_run_that_was_ended_is_not_tried_again(network, pool):
    batcher = Batcher(network, max_batch=8, clock=time.perf_counter)
    first, waiting = queue_up(pool, network, batcher, (1,), (2,))
    network.stopped = True
    network.gate.set()
    for one in (first, *waiting):
        with pytest.raises(ModelUnavailable):
            one.result()
    assert network.sizes == [1, 2]
    network.stopped = False
    assert ask(batcher, 3) == [3]
