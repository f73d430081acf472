import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    calibration_error,
    fit_temperature,
    reliability,
    tempered,
)


def drawn(rng, temperature, count=20000):
    """Scores that are `temperature` times too sure, and hits that follow the honest ones."""
    logits = rng.normal(0, 2, count)
    hits = rng.random(count) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-logits * temperature)), hits


def likelihood(scores, hits):
    return float(np.where(hits, np.log(scores), np.log1p(-scores)).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_put_in_comes_out(rng, temperature):
    scores, hits = drawn(rng, temperature)
    fitted = fit_temperature(scores, hits)
    assert fitted == pytest.approx(temperature, rel=0.05)
    best = likelihood(tempered(scores, fitted), hits)
    assert all(best >= likelihood(tempered(scores, fitted * factor), hits) for factor in (0.9, 1.1))
    before, after = (calibration_error(reliability(s, hits)) for s in (scores, tempered(scores, fitted)))
    assert after < 0.02 and (after < before or temperature == 1.0)


def test_a_temperature_changes_no_order(rng):
    scores = rng.uniform(0.01, 0.99, 100)
    assert np.array_equal(np.argsort(tempered(scores, 3.0)), np.argsort(scores))
    np.testing.assert_allclose(tempered(scores, 1.0), scores, atol=1e-9)


def test_there_may_be_nothing_to_fit():
    scores = np.full(40, 0.7)
    assert fit_temperature(scores[:10], np.arange(10) % 2 == 0) is None
    assert fit_temperature(scores, np.ones(40, np.bool_)) is None
    assert fit_temperature(scores, np.zeros(40, np.bool_)) is None
    assert fit_temperature(np.zeros(0), np.zeros(0, np.bool_)) is None
    assert fit_temperature(np.full(40, 0.5), np.arange(40) % 2 == 0) is not None


def test_bins_and_error_by_hand():
    scores, hits = np.array([0.0, 0.1, 0.2, 0.9, 1.0]), np.array([False, True, False, True, True])
    low, high = reliability(scores, hits, bins=2)
    assert (low.low, low.high, low.count, high.count) == (0.0, 0.5, 3, 2)
    assert (low.confidence, low.precision) == pytest.approx((0.1, 1 / 3))
    assert calibration_error([low, high]) == pytest.approx(0.6 * abs(0.1 - 1 / 3) + 0.4 * abs(0.95 - 1))
    assert reliability(np.zeros(0), np.zeros(0, np.bool_)) == [] and calibration_error([]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=80), st.integers(1, 20))
def test_any_scores_can_be_calibrated(pairs, bins):
    scores, hits = np.array([s for s, _ in pairs]), np.array([h for _, h in pairs], np.bool_)
    some = reliability(scores, hits, bins)
    assert sum(b.count for b in some) == len(pairs)
    assert all(b.low - 1e-9 <= b.confidence <= b.high + 1e-9 for b in some)
    error = calibration_error(some)
    assert error is None if not pairs else 0 <= error <= 1
    temperature = fit_temperature(scores, hits)
    if temperature is not None:
        assert LOWEST - 1e-3 <= temperature <= HIGHEST + 1e-3
        assert np.isfinite(tempered(scores, temperature)).all()
