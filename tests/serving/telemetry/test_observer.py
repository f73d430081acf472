"""What models report becomes figures, whatever thread it comes from, and no name of a client's."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from safelight.detections import Detections
from safelight.drift import LEAST, Tally
from serving.models.observer import Observer
from serving.telemetry.labels import BREAKER_STATES, FAILURES, OTHER, SWAPS, Names
from serving.telemetry.telemetry import Telemetry

WHO = {"route": "coco", "member": "first"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def telemetry(settings, clock, registry):
    return Telemetry(settings, clock=clock, registry=registry)


@pytest.fixture
def observer(telemetry) -> Observer:
    return telemetry.observer


@pytest.fixture
def value(registry):
    return lambda name, **labels: registry.get_sample_value(name, labels)


def test_runs_and_what_waits(observer, value):
    observer.ran("coco", "first", 3, 0.02)
    observer.ran("coco", "first", 8, 0.05)
    observer.queued("coco", "first", 5)
    assert value("safelight_batch_size_sum", **WHO) == 11 and value("safelight_batch_size_count", **WHO) == 2
    assert value("safelight_batch_size_bucket", **WHO, le="4.0") == 1
    assert value("safelight_run_seconds_sum", **WHO) == pytest.approx(0.07)
    assert value("safelight_queue_depth", **WHO) == 5
    observer.queued("coco", "first", 0)
    assert value("safelight_queue_depth", **WHO) == 0


@pytest.mark.parametrize("state", BREAKER_STATES)
def test_a_breaker_is_in_one_state(observer, value, state):
    observer.breaker("coco", "first", "open")
    observer.breaker("coco", "first", state)
    states = {one: value("safelight_breaker_state", **WHO, state=one) for one in BREAKER_STATES}
    assert states == {one: float(one == state) for one in BREAKER_STATES}


def test_what_happens_to_models(observer, value):
    for reason in FAILURES:
        observer.fell_back("coco", "first", reason)
    for outcome in SWAPS:
        observer.swapped("coco", "first", outcome)
    assert all(value("safelight_fallbacks_total", **WHO, reason=reason) == 1 for reason in FAILURES)
    assert all(value("safelight_swaps_total", **WHO, outcome=outcome) == 1 for outcome in SWAPS)
    observer.loaded("coco", "first", False)
    assert value("safelight_model_ready", **WHO) == 0
    observer.loaded("coco", "first", True)
    assert value("safelight_model_ready", **WHO) == 1
    observer.compared("coco", "challenger", 0.75)
    observer.compared("coco", "challenger", 0.25)
    challenger = {"route": "coco", "member": "challenger"}
    assert value("safelight_challenger_agreement_sum", **challenger) == 1
    assert value("safelight_challenger_agreement_count", **challenger) == 2


def test_from_many_threads_nothing_is_lost(observer, value):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: observer.ran("coco", "first", 1, 0.001), range(2000)))
    assert value("safelight_batch_size_count", **WHO) == 2000


def test_names_are_few_and_written_like_names():
    names = Names(most=3)
    assert [names.of(name) for name in ("coco", "a b", "", "x" * 65, "tree-crowns", "v1.2/x@3", "late", "coco")] == [
        "coco", OTHER, OTHER, OTHER, "tree-crowns", "v1.2/x@3", OTHER, "coco",
    ]  # fmt: skip


def picture(rng, brightness):
    return np.clip(rng.normal(brightness, 40, (64, 64, 3)), 0, 255).astype(np.uint8)


def found(rng, score):
    corner = rng.uniform(0, 30, 2)
    box = np.array([[*corner, *(corner + 20)]], np.float32)
    return Detections(box, np.array([score], np.float32), np.array([0]), (64, 64))


def test_a_change_of_the_pictures_shows_and_no_other(telemetry, clock, value, rng):
    tally = Tally()
    for _ in range(4 * LEAST):
        tally.add(picture(rng, rng.uniform(60, 180)), found(rng, rng.uniform(0.3, 0.9)))
    telemetry.observer.expects("coco", "first", tally.reference())
    telemetry.look_around()
    assert value("safelight_drift_pictures", **WHO) == 0
    assert value("safelight_drift_psi", **WHO, statistic="brightness") is None

    def see(low, high):
        for _ in range(2 * LEAST):
            clock.now += 1
            telemetry.observer.seen(
                "coco", "first", picture(rng, rng.uniform(low, high)), found(rng, rng.uniform(0.3, 0.9))
            )
        telemetry.look_around()

    see(60, 180)
    assert value("safelight_drift_pictures", **WHO) == 2 * LEAST
    assert value("safelight_drift_changed", **WHO, statistic="brightness") == 0
    for _ in range(5):
        see(10, 30)  # it is night
    assert value("safelight_drift_changed", **WHO, statistic="brightness") == 1
    assert value("safelight_drift_psi", **WHO, statistic="brightness") > 1
    assert value("safelight_drift_changed", **WHO, statistic="top_score") == 0


def test_of_a_busy_model_a_part_of_the_pictures_is_looked_at(telemetry, clock, value, rng):
    view, seen = picture(rng, 100), found(rng, 0.5)
    for _ in range(100):
        clock.now += 0.01
        telemetry.observer.seen("coco", "first", view, seen)
        telemetry.observer.seen("coco", "second", view, seen)
    telemetry.look_around()
    assert 18 <= value("safelight_drift_pictures", **WHO) <= 21
    assert value("safelight_drift_pictures", route="coco", member="second") >= 18


def test_drift_can_be_off(settings, registry, value, rng):
    off = settings.model_copy(update={"telemetry": settings.telemetry.model_copy(update={"drift": False})})
    telemetry = Telemetry(off, clock=time.perf_counter, registry=registry)
    telemetry.observer.expects("coco", "first", None)
    telemetry.observer.seen("coco", "first", picture(rng, 100), found(rng, 0.5))
    telemetry.look_around()
    assert value("safelight_drift_pictures", **WHO) is None
