"""The breaker: when it opens, who may try, whose word counts, on a clock that the tests move."""

from __future__ import annotations

import asyncio
import threading

import pytest

from serving.resilience.breaker import Breaker, BreakerOpen


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Broken(Exception):
    pass


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def states():
    return []


@pytest.fixture
def breaker(clock, states):
    return Breaker(3, 10.0, clock, states.append)


def fail(breaker, times=1):
    for _ in range(times):
        with pytest.raises(Broken), breaker.guard(Broken):
            raise Broken


def test_it_opens_after_so_many_failures_in_a_row_and_then_calls_nothing(breaker, states):
    fail(breaker, 2)
    assert breaker.state == "closed" and states == []
    fail(breaker)
    assert breaker.state == "open" and states == ["open"]
    called = []
    with pytest.raises(BreakerOpen) as refusal, breaker.guard(Broken):
        called.append(True)
    assert not called and refusal.value.retry_after_s == 10 and breaker.admit() is None


def test_a_success_in_between_begins_the_count_again(breaker):
    fail(breaker, 2)
    with breaker.guard(Broken):
        pass
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_what_is_not_its_fault_opens_nothing_and_proves_nothing(breaker, clock):
    fail(breaker, 2)
    for _ in range(5):
        with pytest.raises(ValueError), breaker.guard(Broken):
            raise ValueError
    assert breaker.state == "closed"
    fail(breaker)
    assert breaker.state == "open"
    clock.now += 10
    with pytest.raises(ValueError), breaker.guard(Broken):
        raise ValueError
    assert breaker.state == "half-open"
    with breaker.guard(Broken):  # the trial was given back: no wait before the next
        pass
    assert breaker.state == "closed"


def test_half_open_one_tries_and_the_outcome_decides(breaker, clock, states):
    fail(breaker, 3)
    clock.now += 9.9
    assert breaker.admit() is None and breaker.retry_after_s == 1
    clock.now += 0.1
    trial = breaker.admit()
    assert trial is not None and breaker.state == "half-open"
    assert breaker.admit() is None
    trial.failed()
    assert breaker.state == "open" and breaker.admit() is None
    clock.now += 10
    again = breaker.admit()
    assert again is not None
    again.succeeded()
    assert breaker.state == "closed" and states == ["open", "half-open", "open", "half-open", "closed"]
    assert all(breaker.admit() is not None for _ in range(5))
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_calls_from_before_a_change_are_not_heard(breaker, clock):
    late_success, late_failure = breaker.admit(), breaker.admit()
    fail(breaker, 3)
    late_success.succeeded()
    assert breaker.state == "open"
    clock.now += 10
    trial = breaker.admit()
    late_failure.failed()
    assert breaker.state == "half-open"
    trial.succeeded()
    trial.failed()
    assert breaker.state == "closed"


def test_a_trial_that_never_comes_back_is_followed_by_another(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    lost = breaker.admit()
    clock.now += 9.9
    assert breaker.admit() is None
    clock.now += 0.1
    second = breaker.admit()
    assert second is not None
    lost.failed()
    assert breaker.state == "half-open"
    second.succeeded()
    assert breaker.state == "closed"


def test_among_many_threads_one_tries(breaker, clock):
    fail(breaker, 3)
    clock.now += 10
    barrier, admitted = threading.Barrier(16), []

    def ask():
        barrier.wait()
        if breaker.admit() is not None:
            admitted.append(True)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted == [True]


def test_a_cancelled_trial_is_given_back(breaker, clock):
    fail(breaker, 3)
    clock.now += 10

    async def main():
        async def call():
            with breaker.guard(Broken):
                await asyncio.sleep(60)

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        assert breaker.state == "half-open" and breaker.admit() is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with breaker.guard(Broken):
            pass

    asyncio.run(main())
    assert breaker.state == "closed"


@pytest.mark.parametrize(("failures", "reset_s"), [(0, 1.0), (1, 0.0), (1, -1.0)])
def test_senseless_bounds_are_refused(clock, failures, reset_s):
    with pytest.raises(ValueError, match="Expected failures"):
        Breaker(failures, reset_s, clock)
