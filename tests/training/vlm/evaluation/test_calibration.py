"""Confidence, its calibration and how far it is off, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.reader.confidence import MOST_LOGIT, confidence_of, logit_of
from safelight.reader.manifest import Calibration
from training.vlm.evaluation.calibration import Sure, bin_rows, bins, confidence, confidence_figures, fitted, told
from training.vlm.evaluation.reading import Reading


def sure(*pairs):
    """(probability, right) of answers."""
    return Sure(np.log([p for p, _ in pairs]), np.array([right for _, right in pairs], np.bool_))


def test_confidence_by_hand():
    assert confidence_of(math.log(0.8), Calibration()) == pytest.approx(0.8)
    # logit(0.8) = ln 4; twice that less ln 4 is ln 4 again
    assert confidence_of(math.log(0.8), Calibration(scale=2, offset=-math.log(4))) == pytest.approx(0.8)
    assert confidence_of(math.log(0.5), Calibration(scale=3, offset=math.log(3))) == pytest.approx(0.75)
    assert logit_of(0.0) == MOST_LOGIT and logit_of(-1e9) == -MOST_LOGIT and logit_of(-1e-300) == MOST_LOGIT
    for extreme in (0.0, -1e9):
        assert 0 <= confidence_of(extreme, Calibration(scale=1000, offset=5)) <= 1


@given(st.floats(-60, 0), st.floats(-60, 0), st.floats(0, 50), st.floats(-20, 20))
def test_confidence_keeps_the_order(one, other, scale, offset):
    by = Calibration(scale=scale, offset=offset)
    low, high = sorted((one, other))
    assert confidence_of(low, by) <= confidence_of(high, by)


def test_confidence_of_a_reading():
    by = Calibration(scale=1, offset=0)
    assert confidence(Reading({"a": 1}, {"a": 1}, math.log(0.3)), by) == pytest.approx(0.3)
    assert confidence(Reading({"a": 1}, None, -0.1), by) is None and confidence(Reading({"a": 1}, {}, None), by) is None


def test_the_fit_by_hand():
    """Two logits, +1 and -1: what is fitted meets the mean target at both, so it can be solved for."""
    p = 1 / (1 + math.exp(-1))
    given = sure(*[(p, True)] * 30, *[(p, False)] * 10, *[(1 - p, True)] * 10, *[(1 - p, False)] * 30)
    high, low = 41 / 42, 1 / 42  # Platt's targets: 40 are right, 40 wrong
    up, down = ((30 * high + 10 * low) / 40, (10 * high + 30 * low) / 40)
    logit = lambda q: math.log(q / (1 - q))  # noqa: E731
    found = fitted(given, 30)
    assert found.scale == pytest.approx((logit(up) - logit(down)) / 2, abs=1e-4)
    assert found.offset == pytest.approx((logit(up) + logit(down)) / 2, abs=1e-4)


def test_what_cannot_be_fitted():
    assert fitted(sure(*[(0.9, True)] * 50), 30) is None and fitted(sure(*[(0.9, False)] * 50), 30) is None
    assert fitted(sure((0.9, True), (0.2, False)), 30) is None and fitted(Sure.of([]), 1) is None
    said = told(None, sure((0.9, True)))
    assert (said["fitted"], said["scale"], said["offset"], said["fitted_on"]) == (False, 1.0, 0.0, 1) and said["reason"]


def test_the_more_sure_are_never_turned_around():
    found = fitted(sure(*[(0.9, False)] * 40, *[(0.1, True)] * 40), 30)
    assert found.scale == 0 and found.offset == pytest.approx(0, abs=1e-4)


def test_separable_answers_have_a_finite_scale():
    found = fitted(sure(*[(0.99, True)] * 40, *[(0.2, False)] * 40), 30)
    assert 0 < found.scale < 100 and math.isfinite(found.offset)


@given(st.integers(0, 2**32), st.floats(0.3, 3), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_the_fit_finds_what_answers_were_made_by(seed, scale, offset):
    """And never does worse, by the likelihood that it was fitted for, than no calibration."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-4, 4, 4000)
    truly = 1 / (1 + np.exp(-(scale * logits + offset)))
    given = Sure(-np.logaddexp(0, -logits), rng.random(4000) < truly)
    found = fitted(given, 30)
    assert np.abs(given.confidence(found) - truly).max() < 0.1


def test_only_answers_are_counted():
    readings = [Reading({"a": 1}, {"a": 1}, -0.1), Reading({"a": 1}, None, -3.0), Reading({"a": 1}, {"a": 2}, -0.2)]
    found = Sure.of(readings)
    assert found.log_probability.tolist() == [-0.1, -0.2] and found.right.tolist() == [True, False]


def test_figures_by_hand():
    given = sure((0.9, True), (0.9, False), (0.6, True), (0.2, False))
    found = confidence_figures(given, Calibration(), 100, 0)
    assert found["answers"] == 4 and found["mean"] == pytest.approx(0.65) and found["right"]["value"] == 0.5
    # squares of 0.1, 0.9, 0.4, 0.2
    assert found["brier"]["value"] == pytest.approx((0.01 + 0.81 + 0.16 + 0.04) / 4)
    # bins: two at 0.9 of which half are right; one at 0.6, right; one at 0.2, wrong
    assert found["ece"] == pytest.approx((2 * 0.4 + 0.4 + 0.2) / 4)
    rows = bin_rows(bins(given, Calibration()))
    assert [row["right"]["value"] for row in rows] == [0.0, 1.0, 0.5] and [r["right"]["of"] for r in rows] == [1, 1, 2]
    nothing = confidence_figures(Sure.of([]), Calibration(), 100, 0)
    assert nothing["ece"] is None and nothing["brier"]["value"] is None and bins(Sure.of([]), Calibration()) == []
