"""What is tried again and what is not, and what a Redis that is gone, hangs or comes back costs a request."""

from __future__ import annotations

import time

import pytest
import redis

from safelight.errors import ReplayStoreDown
from serving.privacy.replay import RedisReplay
from serving.resilience.breaker import Breaker, BreakerOpen
from serving.resilience.dependency import Dependency

NOW = 1_700_000_000.0


class Down(Exception):
    pass


class Blip(Down):
    pass


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(3, 2.0, clock)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def dependency(breaker, waits):
    return Dependency(breaker, (Down,), (Blip,), attempts=3, sleep=waits.append, draw=lambda: 0.5)


def failing(*errors):
    """A call that fails with each of these in turn, and then gives what it was told."""
    told, left = [], list(errors)

    def call(again):
        told.append(again)
        if left:
            raise left.pop(0)
        return told

    return call


def test_what_may_pass_is_tried_again_after_a_growing_wait(dependency, waits):
    assert dependency.ask(failing(Blip(), Blip())) == [False, True, True]
    assert waits == [0.1, 0.2]


def test_the_last_error_is_told_and_others_are_not_tried_again(dependency, waits):
    with pytest.raises(Blip):
        dependency.ask(failing(Blip(), Blip(), Blip()))
    assert len(waits) == 2
    for error in (Down(), ValueError()):
        waits.clear()
        call = failing(error)
        with pytest.raises((type(error), BreakerOpen)):
            dependency.ask(call)
        assert waits == []


def test_an_open_breaker_ends_the_attempts(dependency, breaker, clock, waits):
    for _ in range(2):
        with pytest.raises(Down):
            dependency.ask(failing(Down()))
    call = failing(Blip(), Blip(), Blip())
    with pytest.raises(BreakerOpen):
        dependency.ask(call)  # its first attempt was the third failure
    assert breaker.state == "open" and len(waits) == 1
    clock.now += 2
    assert dependency.ask(failing()) == [False]
    assert breaker.state == "closed"


@pytest.mark.redis
def test_a_redis_that_is_gone_costs_little_and_one_that_is_back_is_found(mortal_redis, clock):
    breaker = Breaker(3, 2.0, clock)
    store = RedisReplay(mortal_redis.url, lambda: NOW, breaker)
    assert store.reserve("k", b"1", NOW + 600) is True and store.reserve("k", b"1", NOW + 600) is False
    mortal_redis.stop()
    begun = time.perf_counter()
    for _ in range(50):
        with pytest.raises(ReplayStoreDown):
            store.reserve("k", b"2", NOW + 600)
    assert time.perf_counter() - begun < 2 and breaker.state == "open"
    mortal_redis.start()
    with pytest.raises(ReplayStoreDown):
        store.reserve("k", b"2", NOW + 600)
    clock.now += 2
    assert store.reserve("k", b"2", NOW + 600) is True and breaker.state == "closed"


@pytest.mark.redis
def test_a_redis_that_hangs_costs_some_requests_their_wait_and_not_all(mortal_redis, clock):
    store = RedisReplay(mortal_redis.url, lambda: NOW, Breaker(2, 2.0, clock))
    mortal_redis.freeze()
    begun = time.perf_counter()
    for _ in range(20):
        with pytest.raises(ReplayStoreDown):
            store.reserve("k", b"1", None)
    assert 1.9 < time.perf_counter() - begun < 5
    mortal_redis.thaw()
    clock.now += 2
    # The commands that nobody waited for were carried out: whether this is the first cannot be told by an answer to them.
    assert store.reserve("k", b"2", None) is True


@pytest.mark.redis
def test_a_second_try_whose_first_may_have_been_carried_out_lets_nobody_pass(redis_url):
    """The token is there, and nobody can say who put it: not "seen before", which would be final, and not "first"."""

    class Cut:
        """Carries a command out and loses its answer, once."""

        def __init__(self, client) -> None:
            self._client, self._left = client, 1

        def set(self, *args, **kwargs):
            answer = self._client.set(*args, **kwargs)
            if self._left:
                self._left -= 1
                raise redis.ConnectionError
            return answer

    store = RedisReplay(redis_url, lambda: time.time())
    real, store._redis = store._redis, Cut(store._redis)
    with pytest.raises(ReplayStoreDown):
        store.reserve("cut", b"t", time.time() + 60)
    store._redis = real
    assert store.reserve("cut", b"t", time.time() + 60) is False
