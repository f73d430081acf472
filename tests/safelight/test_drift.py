"""Drift: statistics without content, and what chance alone does to them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safelight.detections import Detections
from safelight.drift import EDGES, LEAST, STATISTICS, Drift, Reference, Tally, psi, statistics

SIDE = 64
COUNTS = st.lists(st.integers(0, 500), min_size=10, max_size=10).filter(any).map(lambda c: np.array(c, np.float64))


def flat(level, side=SIDE):
    return np.full((side, side, 3), level, np.uint8)


def boxes(count, side=10.0, score=0.8, size=(100, 100)):
    place = np.tile(np.array([0, 0, side, side], np.float32), (count, 1))
    return Detections(place, np.full(count, score, np.float32), np.zeros(count, np.int64), size)


def picture(rng, shift=0):
    """A view and its boxes, drawn from one distribution; `shift` makes the light another one."""
    level = np.clip(rng.normal(120 + shift, 30, (SIDE, SIDE, 1)) + rng.normal(0, 25, 3), 0, 255)
    return level.astype(np.uint8), boxes(int(rng.poisson(4)), rng.uniform(2, 60), rng.uniform(0.3, 1))


def fed(drift, count, seed, shift=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        drift.see(*picture(rng, shift))
    return drift.told()


def reference(count=1000, seed=0):
    rng, tally = np.random.default_rng(seed), Tally()
    for _ in range(count):
        tally.add(*picture(rng))
    return tally.reference()


@pytest.fixture(scope="module")
def usual():
    return reference()


def named(values):
    return dict(zip(STATISTICS, values, strict=True))


@pytest.mark.parametrize("side", [2, 33, 288, 416, 640])
def test_the_figures_of_a_grey_picture(side):
    found = named(statistics(flat(51, side), boxes(3, side=20, score=0.75)))
    assert found["brightness"] == pytest.approx(0.2)
    assert found["contrast"] == pytest.approx(0, abs=1e-3)
    assert found["saturation"] == found["sharpness"] == 0
    assert (found["boxes"], found["top_score"]) == (3, 0.75)
    assert found["box_share"] == pytest.approx(0.04)


def test_each_figure_follows_what_it_is_named_after():
    halves = flat(0)
    halves[:, SIDE // 2 :] = 255
    assert named(statistics(halves, boxes(0)))["contrast"] == pytest.approx(0.5, abs=0.01)
    red = flat(0)
    red[..., 0] = 255
    assert named(statistics(red, boxes(0)))["saturation"] == pytest.approx(1)
    stripes = flat(0)
    stripes[:, ::2] = 102
    assert named(statistics(stripes, boxes(0)))["sharpness"] == pytest.approx(0.4)
    assert np.isnan(named(statistics(stripes, boxes(0)))["box_share"])


def test_figures_are_near_those_of_all_pixels(usual):
    rng = np.random.default_rng(5)
    view = np.clip(rng.normal(100, 40, (416, 416, 3)), 0, 255).astype(np.uint8)
    found, luma = named(statistics(view, boxes(1))), view @ np.array([0.299, 0.587, 0.114]) / 255
    assert found["brightness"] == pytest.approx(luma.mean(), abs=0.01)
    assert found["contrast"] == pytest.approx(luma.std(), abs=0.01)
    green = view[..., 1].astype(int)
    assert found["sharpness"] == pytest.approx(np.abs(np.diff(green, axis=1)).mean() / 255, abs=0.015)


@given(a=COUNTS, b=COUNTS)
def test_psi_is_symmetric_and_zero_for_the_same(a, b):
    assert psi(a, b) == pytest.approx(psi(b, a)) and psi(a, b) >= 0
    assert psi(a, a) == 0


def test_psi_is_the_figure_of_the_definition():
    """Two bins of 60 and 40 % against 40 and 60 %: 0.2 ln 1.5 twice."""
    a, b = np.array([600_000.0, 400_000.0]), np.array([400_000.0, 600_000.0])
    assert psi(a, b) == pytest.approx(0.4 * np.log(1.5), abs=1e-5)


def test_nothing_is_told_before_two_hundred_pictures(usual):
    drift = Drift(usual)
    assert fed(drift, LEAST - 1, seed=1, shift=80).changes == {}
    told = fed(drift, 1, seed=2, shift=80)
    assert told.pictures == LEAST and told.against == "bundle"
    assert told.changes["brightness"].psi > told.changes["brightness"].limit


def test_chance_alone_stays_below_the_limit(usual):
    """Twenty services whose pictures are as they were, at every point where a few pictures have come in."""
    for seed in range(20):
        drift = Drift(usual)
        for part in range(3):
            for change in fed(drift, 250, seed=100 + 10 * seed + part).changes.values():
                assert change.psi < change.limit


def test_another_light_is_told_by_brightness_and_not_by_boxes(usual):
    changes = fed(Drift(usual), 1500, seed=3, shift=50).changes
    assert changes["brightness"].psi > 2 * changes["brightness"].limit
    assert all(changes[name].psi < changes[name].limit for name in ("boxes", "top_score", "box_share", "sharpness"))


def test_a_model_that_finds_nothing_any_more_is_told(usual):
    drift, rng = Drift(usual), np.random.default_rng(4)
    for _ in range(500):
        drift.see(picture(rng)[0], boxes(0))
    changes = drift.told().changes
    assert changes["boxes"].psi > changes["boxes"].limit and changes["top_score"].psi > changes["top_score"].limit
    assert "box_share" not in changes  # no box, so no share was met


def test_what_is_long_past_is_forgotten(usual):
    drift = Drift(usual, window=100)
    assert fed(drift, 300, seed=5, shift=80).changes["brightness"].psi > 1
    assert fed(drift, 1000, seed=6).changes["brightness"].psi < 0.5


def test_without_a_reference_the_first_pictures_are_it_and_it_says_so():
    drift = Drift(None, learnt=400)
    assert fed(drift, 399, seed=7).against == "nothing yet"
    told = fed(drift, 1, seed=8)
    assert (told.against, told.changes, told.pictures) == ("first pictures", {}, 400)
    assert all(change.psi < change.limit for change in fed(drift, 300, seed=9).changes.values())
    changed = fed(drift, 600, seed=10, shift=60).changes["brightness"]
    assert changed.psi > changed.limit


def test_pictures_of_several_threads_are_all_counted(usual):
    drift, start = Drift(usual), threading.Barrier(4)

    def feed(seed):
        start.wait(10)
        fed(drift, 100, seed)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(feed, range(4)))
    assert drift.told().pictures == 400


def test_few_pictures_are_no_reference():
    assert reference(LEAST - 1) is None
    tally = Tally()
    for _ in range(LEAST):
        tally.add(flat(9), boxes(0))
    assert tally.reference() is None  # not a box among them


def test_a_reference_is_the_same_twice_and_survives_writing(usual):
    assert reference().model_dump_json() == usual.model_dump_json()
    assert Reference.model_validate_json(usual.model_dump_json()) == usual
    assert set(usual.histograms) == set(STATISTICS)
    assert sum(usual.histograms["brightness"]) == 1000 > sum(usual.histograms["box_share"])


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": 2},
        {"histograms": {}},
        {"histograms": dict.fromkeys(STATISTICS, (0,) * 10)},
        {"histograms": dict.fromkeys(STATISTICS, (1,) * 9)},
        {"histograms": dict.fromkeys(STATISTICS, (-1,) * 10)},
        {"histograms": dict.fromkeys((*STATISTICS, "faces"), (1,) * 10)},
    ],
)
def test_a_malformed_reference_is_refused(usual, change):
    with pytest.raises(ValidationError):
        Reference.model_validate(usual.model_dump() | change)


def test_there_are_ten_bins_in_order():
    assert all(len(edges) == 9 and sorted(edges) == list(edges) for edges in EDGES.values())
