"""One model: failures that open its breaker, versions that take each other's place, threads that hang."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from safelight.errors import CorruptImage, ManifestInvalid
from serving.models.member import Unanswered
from tests.serving.models.conftest import Version


def load(member, retry=True):
    member.refresh(lambda served: None, retry=retry)


def ask(member, work=lambda served: served.manifest.version, within_s=5.0):
    """What the model answers, or the reason why it does not."""

    async def main():
        try:
            _, answer = await member.look(work, within_s)
            return answer
        except Unanswered as error:
            return error.reason

    return anyio.run(main)


def broken(served):
    raise RuntimeError("CANARY")


def test_it_answers_once_it_is_loaded(make_member, notes):
    member, _ = make_member()
    assert ask(member) == "not loaded" and member.state == "waiting" and not member.answers
    load(member)
    assert ask(member) == "v1" and member.state == "ready" and member.answers
    assert notes.of("loaded") == [["route", "a", True]] and notes.of("swapped") == []


def test_what_was_refused_is_tried_again_and_says_why_meanwhile(make_member, notes):
    member, source = make_member(current=ManifestInvalid("it is wrong"))
    load(member)
    load(member)
    assert (member.state, member.failure) == ("failed", "it is wrong") and ask(member) == "not loaded"
    assert notes.of("loaded")[0] == ["route", "a", False]
    source.current = Version("v1")
    load(member)
    assert (member.state, member.failure) == ("ready", None) and ask(member) == "v1"


def test_failures_open_the_breaker_and_one_success_closes_it(make_member, clock, notes):
    member, _ = make_member()
    load(member)
    assert [ask(member, broken) for _ in range(4)] == ["failed", "failed", "failed", "breaker open"]
    assert not member.answers and ask(member) == "breaker open"
    clock.now += 10
    assert ask(member) == "v1" and member.answers
    assert [state for *_, state in notes.of("breaker")] == ["closed", "open", "half-open", "closed"]


def test_a_bad_picture_is_nobodys_failure(make_member):
    member, _ = make_member()
    load(member)

    def refuse(served):
        raise CorruptImage("it ends early")

    async def main():
        for _ in range(10):
            with pytest.raises(CorruptImage):
                await member.look(refuse, 5)

    anyio.run(main)
    assert member.breaker.state == "closed"


def test_too_slow_is_a_failure_and_ends_the_run(make_member):
    member, source = make_member(limit_s=0.05)
    load(member)
    gate = threading.Event()
    assert ask(member, lambda served: gate.wait(5)) == "too slow"
    assert source.stopped == ["v1"]
    gate.set()


def test_waiting_too_long_is_no_failure(make_member):
    """One thread is at work on something long; who waits behind it gives up, and the breaker does not count it."""
    member, source = make_member(threads=1, waiting=1)
    load(member)
    gate = threading.Event()

    async def main():
        first = asyncio.create_task(member.look(lambda served: gate.wait(5), 5))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(member.look(lambda served: None, 0.05))
        await asyncio.sleep(0)
        with pytest.raises(Unanswered) as full:
            await member.look(lambda served: None, 5)
        assert full.value.reason == "busy" and full.value.retry_after_s >= 1
        with pytest.raises(Unanswered) as late:
            await waiting
        assert late.value.reason == "busy"
        gate.set()
        assert (await first)[1] is True

    anyio.run(main)
    assert member.breaker.state == "closed" and source.stopped == []


def test_a_cancelled_request_says_nothing_of_the_model(make_member):
    member, _ = make_member()
    load(member)
    gate = threading.Event()

    async def main():
        task = asyncio.create_task(member.look(lambda served: gate.wait(5), 5))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()

    anyio.run(main)
    assert member.breaker.state == "closed" and ask(member) == "v1"


def test_threads_that_hang_are_replaced_a_few_times(make_member, clock):
    """Whatever is asked of the network hangs, and does not end when it is told to."""
    member, _ = make_member(threads=1, waiting=0, limit_s=0.02)
    load(member)
    gates = [threading.Event() for _ in range(6)]
    before = threading.active_count()
    # Counted as busy once every thread hangs; so the breaker opens by failures of renewed threads only.
    for gate in gates[:4]:
        member.breaker._change("open")
        member.breaker._wait_until = clock.now
        assert ask(member, lambda served, gate=gate: gate.wait(10)) == "too slow"
    assert threading.active_count() - before <= 4
    member.breaker._wait_until = clock.now
    assert ask(member) == "busy", "given up: three sets of threads hang"
    for gate in gates:
        gate.set()


def test_another_version_takes_over_and_the_first_ends_with_its_trial(make_member, clock, notes):
    member, source = make_member()
    load(member)
    first = member.served
    source.current = Version("v2")
    load(member, retry=False)
    assert ask(member) == "v2" and member.served is not first
    assert notes.of("swapped") == [["route", "a", "swapped"]]
    assert not first.workers._closed, "it may be needed again"
    clock.now += 300
    load(member, retry=False)
    assert first.workers._closed and ask(member) == "v2"


def test_a_request_under_way_ends_with_the_version_it_began_with(make_member):
    member, source = make_member()
    load(member)
    gate = threading.Event()

    async def main():
        def slow(served):
            gate.wait(5)
            return served.manifest.version

        under_way = asyncio.create_task(member.look(slow, 5))
        await asyncio.sleep(0.05)
        source.current = Version("v2")
        load(member)
        assert (await member.look(lambda served: served.manifest.version, 5))[1] == "v2"
        gate.set()
        served, answer = await under_way
        assert answer == served.manifest.version == "v1"

    anyio.run(main)


def test_a_version_that_is_refused_leaves_the_old_one_in_place(make_member, notes):
    member, source = make_member()
    load(member)
    for wrong in (ManifestInvalid("not signed"), Version("v2", error=ManifestInvalid("not golden"))):
        source.current = wrong
        load(member)
        load(member)
        assert ask(member) == "v1" and member.state == "ready" and "v1 goes on" in member.failure
    assert notes.of("swapped") == [["route", "a", "refused"]] * 2, "told once each"
    source.current = Version("v3")
    load(member)
    assert ask(member) == "v3" and member.failure is None


@pytest.mark.parametrize("how", ["often", "in a row"])
def test_a_version_that_fails_more_than_it_may_is_taken_back_for_good(make_member, notes, how):
    member, source = make_member()
    load(member)
    source.current = Version("v2")
    load(member)
    pattern = "g" * 7 + "bgb" + "b" if how == "often" else "bbb"
    for one in pattern:
        assert ask(member, broken if one == "b" else lambda served: "fine") in ("fine", "failed")
    assert ask(member) == "v1" and member.breaker.state == "closed"
    assert notes.of("swapped")[-1] == ["route", "a", "rolled back"] and "v2 failed too often" in member.failure
    started = source.started
    load(member)
    assert ask(member) == "v1" and source.started == started, "it is not loaded again while it is the champion"
    source.current = Version("v3")
    load(member)
    assert ask(member) == "v3" and member.failure is None


def test_few_failures_do_not_take_a_version_back(make_member):
    member, source = make_member()
    load(member)
    source.current = Version("v2")
    load(member)
    for one in "bggggbgggggg":
        ask(member, broken if one == "b" else lambda served: "fine")
    assert ask(member) == "v2"


def test_after_its_trial_a_version_stays(make_member, clock):
    member, source = make_member()
    load(member)
    source.current = Version("v2")
    load(member)
    clock.now += 301
    assert [ask(member, broken) for _ in range(4)][-1] == "breaker open"
    load(member)
    assert member.served.manifest.version == "v2"
