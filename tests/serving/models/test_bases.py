"""Bases that are shared: opened once, closed when nobody uses them any more, whoever comes and goes at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.models.bases import Bases


class Opened:
    """What was opened and closed, in order."""

    def __init__(self, fails=()):
        self.log, self.fails = [], list(fails)
        self.gate = threading.Event()
        self.gate.set()

    def open(self, key):
        self.gate.wait(10)
        self.log.append(("open", key))
        if self.fails:
            raise self.fails.pop()
        return f"base {key}"

    def close(self, base):
        self.log.append(("close", base))


def test_a_base_is_opened_once_and_closed_with_its_last_user():
    opened = Opened()
    bases = Bases(opened.open, opened.close)
    one, other = bases.lease("a"), bases.lease("a")
    assert one.base is other.base and opened.log == [("open", "a")] and bases.open_keys == ("a",)
    one.give_back()
    one.give_back()
    assert other.base == "base a" and opened.log == [("open", "a")]
    other.give_back()
    assert opened.log == [("open", "a"), ("close", "base a")] and bases.open_keys == ()
    assert bases.lease("a").base == "base a" and opened.log.count(("open", "a")) == 2


def test_bases_of_other_keys_are_others():
    opened = Opened()
    bases = Bases(opened.open, opened.close)
    assert bases.lease("a").base != bases.lease("b").base


def test_one_that_does_not_open_leaves_nothing_behind_and_is_tried_again():
    opened = Opened(fails=[ValueError("no")])
    bases = Bases(opened.open, opened.close)
    with pytest.raises(ValueError, match="no"):
        bases.lease("a")
    assert bases.open_keys == ()
    assert bases.lease("a").base == "base a"
    assert ("close", "base a") not in opened.log


def test_those_who_come_at_once_share_one():
    opened = Opened()
    opened.gate.clear()
    bases = Bases(opened.open, opened.close)
    with ThreadPoolExecutor(8) as threads:
        leases = [threads.submit(bases.lease, "a") for _ in range(8)]
        opened.gate.set()
        held = [lease.result(10) for lease in leases]
    assert opened.log == [("open", "a")]
    for lease in held:
        lease.give_back()
    assert opened.log == [("open", "a"), ("close", "base a")]
