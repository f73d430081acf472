"""Clocks that jump by hours, in process: what was seen stays seen, and nobody is let in or kept out for good."""

from __future__ import annotations

import time

import pytest

from serving.privacy.replay import MemoryReplay, SqliteReplay

HOUR = 3600.0


class Clocks:
    """A time of day that jumps, and seconds that pass."""

    def __init__(self) -> None:
        self.ahead_s, self.passed_s = 0.0, 0.0
        self._begun = time.time()

    def now(self) -> float:
        return self._begun + self.passed_s + self.ahead_s

    def monotonic(self) -> float:
        return self.passed_s


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture(params=["memory", "file"])
def open_one(request, clocks, tmp_path):
    """Makes a store."""
    if request.param == "memory":
        return lambda: MemoryReplay(clocks.now, clocks.monotonic)
    return lambda: SqliteReplay(tmp_path / "replay.db", clocks.now, clocks.monotonic)


@pytest.fixture
def store(open_one):
    return open_one()


def reserve(store, clocks, token: bytes) -> bool:
    return store.reserve("key", token, clocks.now() + 600)


@pytest.mark.parametrize("ahead_s", [3 * HOUR, -3 * HOUR, 0.0])
def test_what_was_seen_stays_seen_when_the_clock_comes_back(store, clocks, ahead_s):
    assert reserve(store, clocks, b"first")
    clocks.ahead_s = ahead_s
    for number in range(3):  # requests under the wrong clock, each of which may sweep
        clocks.passed_s += 70
        assert reserve(store, clocks, b"meanwhile %d" % number)
    clocks.ahead_s = 0.0
    assert not reserve(store, clocks, b"first")


def test_what_is_past_is_forgotten(store, clocks):
    assert reserve(store, clocks, b"first")
    clocks.passed_s += 700
    assert reserve(store, clocks, b"second")
    assert reserve(store, clocks, b"first")


def test_a_clock_that_was_put_right_for_good_is_believed_in_the_end(open_one, clocks):
    """A machine that started in 1970 and then learnt the time must not remember for ever."""
    clocks.ahead_s = -50 * 365 * 24 * HOUR
    store = open_one()
    clocks.ahead_s = 0.0
    assert reserve(store, clocks, b"first")
    for number in range(200):
        clocks.passed_s += 70
        reserve(store, clocks, b"%d" % number)
    assert reserve(store, clocks, b"first")
