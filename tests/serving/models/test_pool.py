"""Several models, one answer: who is asked, who is passed over, and who only looks."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import anyio
import numpy as np
import pytest

from safelight.errors import CorruptImage, DeadlineExceeded, ModelUnavailable, Overloaded
from serving.models.pool import Pool
from serving.privacy.record import Record
from serving.resilience.deadline import Deadline
from tests.serving.models.conftest import Version, found

BOX = (10, 10, 30, 30)


@pytest.fixture
def make_pool(make_member, notes):
    """Names of members and their versions → a pool that is loaded. draw: what chance says."""

    def make(draw=lambda: 0.5, fused=False, challenger=None, share=0.0, shadow=0.0, load=True, **versions):
        made = {name: make_member(name, version) for name, version in versions.items()}
        on_trial = None if challenger is None else make_member("challenger", challenger)[0]
        pool = Pool(
            "route",
            [member for member, _ in made.values()],
            fused=fused,
            fusion_iou=0.55,
            challenger=on_trial,
            share=share,
            shadow=shadow,
            draw=draw,
            observer=notes,
        )
        if load:
            pool.refresh(retry=True)
        return pool

    return make


def by_version(answers, served, record):
    """Work that answers, or fails, as `answers` says for the version that looks."""
    answer = answers[served.manifest.version]
    if isinstance(answer, Exception):
        raise answer
    return answer() if callable(answer) else answer


def ask(pool, answers, clock, seconds=5.0):
    async def main():
        looked = await pool.look(partial(by_version, answers), Record(), Deadline(clock(), seconds, clock))
        await asyncio.gather(*pool._shadows)
        return looked

    return anyio.run(main)


def test_the_first_answers(make_pool, clock, notes):
    pool = make_pool(a=Version("v1"), b=Version("v2"))
    looked = ask(pool, {"v1": found(BOX)}, clock)
    assert [name for name, _ in looked.by] == ["a"] and looked.passed_over == () and len(looked.found) == 1
    assert notes.of("fell_back") == [] and pool.ready and pool.manifest.labels == ("person", "cat")


def test_one_that_fails_is_passed_over(make_pool, clock, notes):
    pool = make_pool(a=Version("v1"), b=Version("v2"))
    answers = {"v1": RuntimeError("CANARY"), "v2": found(BOX)}
    for expected in ["failed"] * 3 + ["breaker open"]:
        looked = ask(pool, answers, clock)
        assert [name for name, _ in looked.by] == ["b"] and looked.passed_over == (("a", expected),)
    assert notes.of("fell_back")[-1] == ["route", "a", "breaker open"] and pool.ready


def test_one_that_hangs_leaves_the_next_time_to_answer(make_pool, clock):
    pool = make_pool(a=Version("v1"), b=Version("v2"))
    gate = threading.Event()
    looked = ask(pool, {"v1": partial(gate.wait, 10), "v2": found(BOX)}, clock, seconds=0.2)
    assert [name for name, _ in looked.by] == ["b"] and looked.passed_over == (("a", "too slow"),)
    gate.set()


def test_one_that_does_not_load_is_passed_over_and_the_next_is_primary(make_pool, clock):
    pool = make_pool(a=Version("v1", error=None), b=Version("v2"), load=False)
    from safelight.errors import SignatureInvalid

    pool.members[0]._source.current = SignatureInvalid("not signed")
    pool.refresh(retry=True)
    looked = ask(pool, {"v2": found(BOX)}, clock)
    assert looked.passed_over == (("a", "not loaded"),) and pool.primary.manifest.version == "v2" and pool.ready


def test_other_labels_keep_a_model_out(make_pool):
    pool = make_pool(a=Version("v1"), b=Version("v2", labels=("person", "dog")))
    first, second = pool.members
    assert first.state == "ready" and second.state == "failed" and "labels" in second.failure
    second._source.current = Version("v3")
    pool.refresh(retry=True)
    assert second.state == "ready"
    second._source.current = Version("v4", labels=("dog", "person"))
    pool.refresh(retry=True)
    assert second.served.manifest.version == "v3" and "labels" in second.failure, "their order means something"


def test_a_lone_model_may_come_with_other_labels(make_pool):
    pool = make_pool(a=Version("v1"))
    pool.members[0]._source.current = Version("v2", labels=("dog",))
    pool.refresh(retry=True)
    assert pool.manifest.labels == ("dog",)


def test_when_nobody_answers_it_is_said_why(make_pool, clock):
    pool = make_pool(a=Version("v1"), b=Version("v2"))
    failing = {"v1": RuntimeError(), "v2": RuntimeError()}
    for _ in range(3):
        with pytest.raises(ModelUnavailable):
            ask(pool, failing, clock)
    with pytest.raises(ModelUnavailable) as caught:
        ask(pool, failing, clock)
    assert caught.value.retry_after_s == 10 and not pool.ready
    clock.now += 10
    assert pool.ready, "nobody would send the request that closes the breaker to one that is not"
    assert ask(pool, {"v1": found(BOX)}, clock).by[0][0] == "a" and pool.ready


def test_when_all_are_too_slow_the_time_is_over(make_pool, clock):
    pool = make_pool(a=Version("v1"))
    gate = threading.Event()
    with pytest.raises(DeadlineExceeded):
        ask(pool, {"v1": partial(gate.wait, 10)}, clock, seconds=0.05)
    gate.set()
    with pytest.raises(DeadlineExceeded):
        ask(pool, {}, clock, seconds=-1)


def test_when_all_are_busy_it_is_said_when_to_come_back(make_pool, clock):
    pool = make_pool(a=Version("v1"))
    gate = threading.Event()

    async def main():
        work = partial(by_version, {"v1": partial(gate.wait, 10)})
        looks = [asyncio.create_task(pool.look(work, Record(), Deadline(clock(), 5, clock))) for _ in range(5)]
        done, waiting = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
        gate.set()
        await asyncio.wait(waiting)
        return [task.exception() for task in done]

    (error,) = anyio.run(main)
    assert isinstance(error, Overloaded) and error.retry_after_s >= 1


def test_a_bad_picture_is_refused_and_not_passed_on(make_pool, clock, notes):
    pool = make_pool(a=Version("v1"), b=Version("v2"))
    with pytest.raises(CorruptImage):
        ask(pool, {"v1": CorruptImage("it ends early"), "v2": found(BOX)}, clock)
    assert notes.of("fell_back") == []


def test_all_answer_together(make_pool, clock):
    pool = make_pool(fused=True, a=Version("v1"), b=Version("v2"))
    shifted = tuple(side + 2 for side in BOX)
    looked = ask(pool, {"v1": found(BOX), "v2": found(shifted)}, clock)
    assert [name for name, _ in looked.by] == ["a", "b"]
    assert np.allclose(looked.found.boxes, [[11, 11, 31, 31]]) and np.allclose(looked.found.scores, 0.9)
    looked = ask(pool, {"v1": RuntimeError(), "v2": found(BOX)}, clock)
    assert [name for name, _ in looked.by] == ["b"] and looked.passed_over == (("a", "failed"),)
    with pytest.raises(ModelUnavailable):
        ask(pool, {"v1": RuntimeError(), "v2": RuntimeError()}, clock)


def test_a_challenger_gets_its_share(make_pool, clock):
    chance = iter([0.29, 0.31, 0.0, 0.99])
    pool = make_pool(draw=lambda: next(chance), challenger=Version("v9"), share=0.3, a=Version("v1"))
    answers = {"v1": found(BOX), "v9": found()}
    assert [ask(pool, answers, clock).by[0][0] for _ in range(4)] == ["challenger", "a", "challenger", "a"]


def test_a_challenger_that_fails_costs_nobody_the_answer(make_pool, clock):
    pool = make_pool(draw=lambda: 0.0, challenger=Version("v9"), share=1.0, a=Version("v1"))
    answers = {"v1": found(BOX), "v9": RuntimeError()}
    seen = [ask(pool, answers, clock).passed_over for _ in range(4)]
    assert seen == [(("challenger", "failed"),)] * 3 + [()], "its breaker is open then, and it is not asked"
    clock.now += 10
    assert ask(pool, {"v1": found(BOX), "v9": found()}, clock).by[0][0] == "challenger", "and then tried again"


def test_a_challenger_looks_in_secret(make_pool, clock, notes):
    pool = make_pool(draw=lambda: 0.0, challenger=Version("v9"), shadow=0.5, a=Version("v1"))
    for other, agreement in ((found(BOX), 1.0), (found(), 0.0), (RuntimeError("CANARY"), None)):
        looked = ask(pool, {"v1": found(BOX), "v9": other}, clock)
        assert [name for name, _ in looked.by] == ["a"] and looked.passed_over == ()
        if agreement is not None:
            assert notes.of("compared")[-1] == ["route", "challenger", agreement]
    assert len(notes.of("compared")) == 2


def test_nobody_waits_for_a_challenger(make_pool, clock, notes):
    """What looks in secret holds at most a few pictures, and none while it is busy."""
    pool = make_pool(draw=lambda: 0.0, challenger=Version("v9"), shadow=1.0, a=Version("v1"))
    gate = threading.Event()

    def slow():
        gate.wait(10)
        return found()

    async def main():
        work = partial(by_version, {"v1": found(BOX), "v9": slow})
        for _ in range(10):
            await pool.look(work, Record(), Deadline(clock(), 5, clock))
        assert len(pool._shadows) == 2
        gate.set()
        await asyncio.gather(*pool._shadows)

    anyio.run(main)
    assert len(notes.of("compared")) == 2
