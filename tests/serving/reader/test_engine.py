"""Many requests at a time: each gets what it would get alone, whoever comes, goes, waits too long or fails beside it."""

import logging
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from safelight.errors import DeadlineExceeded, ManifestInvalid, ModelUnavailable, Overloaded
from safelight.reader.task import Task
from serving.reader.adapter import Adapter, no_matrices
from serving.reader.row import NotANumber
from tests.serving.reader import tiny

PATIENCE_S = 60


def for_ever():
    return math.inf


@pytest.fixture
def engine(base):
    made = base.engine()
    yield made
    made.stop(PATIENCE_S)


def alone(engine, adapter, pictures):
    return [engine.read(picture, adapter, left_s=for_ever) for picture in pictures]


def at_once(engine, asked):
    """What each (picture, adapter) gets, asked from as many threads."""
    with ThreadPoolExecutor(len(asked)) as threads:
        futures = [threads.submit(engine.read, picture, adapter, left_s=for_ever) for picture, adapter in asked]
        return [future.result(PATIENCE_S) for future in futures]


def same(read, other):
    """Token for token; a probability may differ in its last digits."""
    assert read.token_ids == other.token_ids and read.text == other.text
    assert read.log_probability == pytest.approx(other.log_probability, abs=1e-3)
    assert read.free_log_probability == pytest.approx(other.free_log_probability, abs=1e-3)


@pytest.mark.parametrize("schema", [tiny.KEYS, tiny.METERS])
def test_an_answer_holds_to_its_schema_and_follows_its_picture(engine, base, schema):
    adapter, task = base.adapter(schema=schema), Task("test", schema, "Read.", tiny.SIDE)
    reads = alone(engine, adapter, tiny.pictures(6))
    for read in reads:
        assert read.complete and read.token_ids[-1] == tiny.END
        assert read.text == tiny.compact(task.parse(read.text)) or schema is tiny.METERS
        task.parse(read.text)
        assert read.steps == read.chosen < len(read.token_ids)
        assert 0 > read.log_probability > read.free_log_probability
    assert len({read.text for read in reads}) > 1


@pytest.mark.parametrize("schema", [tiny.KEYS, tiny.METERS, None])
@pytest.mark.parametrize("rows", [2, 8])
def test_together_as_one_by_one(base, schema, rows):
    adapter, pictures = base.adapter(schema=schema, most=90 if schema else 24), tiny.pictures(8)
    sizes = []
    engine = base.engine(rows=rows, ran=lambda size, seconds: sizes.append(size))
    try:
        expected = alone(engine, adapter, pictures)
        assert set(sizes) == {1}
        for read, other in zip(at_once(engine, [(p, adapter) for p in pictures]), expected, strict=True):
            same(read, other)
        assert 1 < max(sizes) <= rows
    finally:
        engine.stop(PATIENCE_S)


def test_without_a_constraint_as_torch_generates(engine, base):
    adapter = Adapter("0" * 64, no_matrices(base.architecture), base.prompt(), None, 24)
    pictures = tiny.pictures(4)
    ids = torch.tensor([adapter.prompt] * len(pictures))
    generated = base.network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=torch.from_numpy(pictures)[:, None],
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=tiny.END,
        pad_token_id=tiny.PAD,
    )[:, ids.shape[1] :]
    for row, read in zip(generated.tolist(), at_once(engine, [(p, adapter) for p in pictures]), strict=True):
        assert tuple(row[: len(read.token_ids)]) == read.token_ids
        assert read.steps == read.chosen == len(read.token_ids) and read.complete == (tiny.END in row)


def test_who_joins_and_leaves_changes_nobody_elses_answer(base):
    """Requests come while others are at every point of theirs: one more after each run of the decoder."""
    adapter, pictures = base.adapter(schema=tiny.METERS, most=40), tiny.pictures(12)
    engine = base.engine()
    expected = alone(engine, adapter, pictures)
    engine.stop(PATIENCE_S)
    gate = threading.Semaphore(0)
    sizes = []

    def ran(size, seconds):
        sizes.append(size)
        gate.release()

    engine = base.engine(ran=ran)

    def ask(picture):
        gate.acquire(timeout=PATIENCE_S)
        return engine.read(picture, adapter, left_s=for_ever)

    try:
        with ThreadPoolExecutor(len(pictures)) as threads:
            futures = [threads.submit(ask, picture) for picture in pictures]
            gate.release()
            for future, other in zip(futures, expected, strict=True):
                same(future.result(PATIENCE_S), other)
        assert len(set(sizes)) > 1
    finally:
        engine.stop(PATIENCE_S)


def test_adapters_side_by_side_give_what_each_gives_alone(engine, base):
    adapters = [
        base.adapter(1),
        base.adapter(2, schema=tiny.METERS, words="Read the meter, please.", most=60),
        base.adapter(3, schema=None, most=20),
    ]
    asked = [(picture, adapter) for picture in tiny.pictures(4) for adapter in adapters]
    expected = [engine.read(picture, adapter, left_s=for_ever) for picture, adapter in asked]
    assert len({read.text for read in expected}) > len(adapters)
    for read, other in zip(at_once(engine, asked), expected, strict=True):
        same(read, other)


def test_one_adapter_does_not_keep_another_waiting(base):
    """Twenty requests wait for one adapter, one comes for another: it is among the first to be answered."""
    busy, other = base.adapter(1), base.adapter(2)
    ended, lock = [], threading.Lock()
    held = threading.Event()
    engine = base.engine(rows=2, ran=lambda size, seconds: held.wait(PATIENCE_S))

    def ask(adapter):
        engine.read(tiny.pictures(1)[0], adapter, left_s=for_ever)
        with lock:
            ended.append(adapter)

    try:
        with ThreadPoolExecutor(21) as threads:
            futures = [threads.submit(ask, busy) for _ in range(20)]
            while engine._working + len(engine._waiting) < 20:
                time.sleep(0.001)
            futures.append(threads.submit(ask, other))
            while engine._working + len(engine._waiting) < 21:
                time.sleep(0.001)
            held.set()
            for future in futures:
                future.result(PATIENCE_S)
        assert ended.index(other) < 6
    finally:
        engine.stop(PATIENCE_S)


class Clock:
    """Time that passes with the runs of the decoder."""

    def __init__(self):
        self.now = 0.0

    def ran(self, size, seconds):
        self.now += 1

    def left_of(self, seconds):
        """As a request's deadline says it."""
        ends = self.now + seconds

        def left_s():
            if self.now >= ends:
                raise DeadlineExceeded("late")
            return PATIENCE_S

        return left_s


def test_a_deadline_is_looked_at_between_runs(base):
    clock = Clock()
    engine = base.engine(ran=clock.ran)
    adapter = base.adapter(schema=None, most=200)
    try:
        with pytest.raises(DeadlineExceeded):
            engine.read(tiny.pictures(1)[0], adapter, left_s=clock.left_of(5))
        assert clock.now == 5
        with pytest.raises(DeadlineExceeded):
            engine.read(tiny.pictures(1)[0], adapter, left_s=lambda: 0.0)
        assert clock.now == 5  # it was not begun
        assert engine.read(tiny.pictures(1)[0], base.adapter(), left_s=clock.left_of(100)).complete
    finally:
        engine.stop(PATIENCE_S)


def test_a_row_that_is_late_leaves_the_others_alone(base):
    clock = Clock()
    adapter, pictures = base.adapter(schema=tiny.METERS, most=60), tiny.pictures(3)
    engine = base.engine(ran=clock.ran)
    try:
        expected = alone(engine, adapter, pictures)
        with ThreadPoolExecutor(3) as threads:
            futures = [
                threads.submit(engine.read, picture, adapter, left_s=clock.left_of(seconds))
                for picture, seconds in zip(pictures, (1000, 2, 1000), strict=True)
            ]
            same(futures[0].result(PATIENCE_S), expected[0])
            same(futures[2].result(PATIENCE_S), expected[2])
            assert isinstance(futures[1].exception(PATIENCE_S), DeadlineExceeded)
    finally:
        engine.stop(PATIENCE_S)


def test_nothing_is_worked_on_for_a_caller_who_has_gone(base):
    """The caller's own clock runs out while the engine is busy with it."""
    held, runs = threading.Event(), []

    def ran(size, seconds):
        runs.append(size)
        held.wait(PATIENCE_S)

    engine = base.engine(ran=ran)
    try:
        ends = time.monotonic() + 0.2
        with pytest.raises(DeadlineExceeded):
            engine.read(
                tiny.pictures(1)[0], base.adapter(schema=None, most=200), left_s=lambda: ends - time.monotonic()
            )
        held.set()
        assert engine.read(tiny.pictures(1)[0], base.adapter(), left_s=for_ever).complete
        assert len(runs) < 20
    finally:
        engine.stop(PATIENCE_S)


def test_more_than_there_is_room_for_is_refused_at_once(base):
    held, waiting = threading.Event(), []
    engine = base.engine(rows=2, queue=3, ran=lambda *_: held.wait(PATIENCE_S), queued=waiting.append)
    adapter, picture = base.adapter(), tiny.pictures(1)[0]
    try:
        with ThreadPoolExecutor(5) as threads:
            futures = [threads.submit(engine.read, picture, adapter, left_s=for_ever) for _ in range(5)]
            while engine._working + len(engine._waiting) < 5:
                time.sleep(0.001)
            with pytest.raises(Overloaded) as refused:
                engine.read(picture, adapter, left_s=for_ever)
            assert refused.value.retry_after_s >= 1
            held.set()
            assert len({future.result(PATIENCE_S).text for future in futures}) == 1
        assert max(waiting) >= 3 and waiting[-1] == 0
    finally:
        engine.stop(PATIENCE_S)


def test_stopping_ends_everything(base):
    held, begun = threading.Event(), threading.Event()

    def ran(size, seconds):
        begun.set()
        held.wait(PATIENCE_S)

    engine, adapter = base.engine(rows=2, ran=ran), base.adapter()
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(engine.read, picture, adapter, left_s=for_ever) for picture in tiny.pictures(6)]
        assert begun.wait(PATIENCE_S)
        while engine._working + len(engine._waiting) < 6:
            time.sleep(0.001)
        engine.stop()
        held.set()
        assert all(isinstance(future.exception(PATIENCE_S), ModelUnavailable) for future in futures)
    engine.stop(PATIENCE_S)
    assert not engine._thread.is_alive()
    for ask in (lambda: engine.read(tiny.pictures(1)[0], adapter, left_s=for_ever), lambda: engine.warm(adapter)):
        with pytest.raises(ModelUnavailable):
            ask()


def test_a_picture_fails_by_itself_only(engine, base):
    adapter, pictures = base.adapter(), list(tiny.pictures(4))
    expected = alone(engine, adapter, pictures)
    pictures[1] = np.full_like(pictures[1], np.nan)
    pictures[2] = pictures[2][:, :8]  # of another shape: the whole batch cannot be made
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(engine.read, picture, adapter, left_s=for_ever) for picture in pictures]
        assert isinstance(futures[1].exception(PATIENCE_S), NotANumber)
        assert futures[2].exception(PATIENCE_S) is not None
        for at in (0, 3):
            same(futures[at].result(PATIENCE_S), expected[at])


def test_a_run_that_is_ended_from_outside_takes_its_requests_only(base):
    adapter, engines = base.adapter(schema=None, most=300), []
    begun = threading.Event()
    engine = base.engine(ran=lambda *_: begun.set())
    engines.append(engine)
    try:
        with ThreadPoolExecutor(1) as threads:
            future = threads.submit(engine.read, tiny.pictures(1)[0], adapter, left_s=for_ever)
            assert begun.wait(PATIENCE_S)
            while not future.done():
                engine.terminate()
            assert isinstance(future.exception(), ModelUnavailable)
        assert engine.read(tiny.pictures(1)[0], base.adapter(), left_s=for_ever).complete
    finally:
        engine.stop(PATIENCE_S)


def test_versions_change_places_under_load_without_a_failure(engine, base):
    """Callers ask for whatever adapter is the champion, while twelve versions take each other's place."""
    versions = {seed: base.adapter(seed) for seed in (1, 2)}
    picture = tiny.pictures(1)[0]
    expected = {seed: engine.read(picture, adapter, left_s=for_ever).text for seed, adapter in versions.items()}
    champion = [(1, base.adapter(1))]
    over, wrong, count = threading.Event(), [], [0] * 6

    def ask(number):
        while not over.is_set():
            seed, adapter = champion[0]
            if engine.read(picture, adapter, left_s=for_ever).text != expected[seed]:
                wrong.append(seed)
            count[number] += 1

    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(ask, number) for number in range(6)]
        for version in range(12):
            seed = 1 + version % 2
            fresh = base.adapter(seed)
            engine.warm(fresh)
            champion[0] = (seed, fresh)
        over.set()
        for future in futures:
            future.result(PATIENCE_S)
    assert not wrong and min(count) > 2


def test_what_is_not_asked_for_any_more_is_not_kept(engine, base):
    import gc

    adapter = base.adapter()
    engine.warm(adapter)
    assert len(engine._openings) == 1
    del adapter
    engine.warm(base.adapter(2))  # the engine's thread has let go of the one before
    gc.collect()
    assert len(engine._openings) <= 1


def test_an_adapter_that_the_graphs_do_not_run_with_is_refused(engine, base):
    good, less = base.adapter(), no_matrices(base.architecture)
    torn = type(less)(less.vision, dict(list(less.decoder.items())[1:]))
    with pytest.raises(ManifestInvalid):
        engine.warm(Adapter("0" * 64, torn, good.prompt, good.constraint, 20))
    assert engine.warm(good).complete


def test_an_answer_may_be_too_long_and_says_so(engine, base):
    read = engine.read(tiny.pictures(1)[0], base.adapter(most=5), left_s=for_ever)
    assert not read.complete and len(read.token_ids) == 5


def test_an_answer_that_the_schema_leaves_no_choice_in_needs_no_run(base):
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    runs = []
    engine = base.engine(ran=lambda *_: runs.append(1))
    try:
        read = engine.read(tiny.pictures(1)[0], base.adapter(schema=schema), left_s=for_ever)
        assert (read.text, read.steps, read.log_probability, read.complete) == ('{"a":1}', 0, 0.0, True) and not runs
    finally:
        engine.stop(PATIENCE_S)


def test_nothing_of_what_is_read_is_said(engine, base, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    adapter = base.adapter()
    reads = alone(engine, adapter, tiny.pictures(3))
    with pytest.raises(NotANumber) as failed:
        engine.read(np.full((3, tiny.SIDE, tiny.SIDE), np.nan, np.float32), adapter, left_s=for_ever)
    said = caplog.text + "".join(capfd.readouterr()) + repr(failed.value)
    assert not any(word in said for read in reads for word in (read.text, "keyway", "bittings", "Read the key"))
