"""From pixels to an answer: what is turned away first, how sure an answer is, and how far two agree."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from safelight.errors import PoorPicture, Unreadable
from safelight.reader.manifest import Calibration
from safelight.reader.picture import to_input
from safelight.reader.quality import QualityLimits, measure
from safelight.reader.task import Task
from serving.privacy.record import Record
from serving.reader.predictor import Prepared, Reader, Reading, alike, confidence_of
from tests.serving.reader import tiny
from tests.serving.reader.test_read import blurred, picture

TEXT = '{"keyway":"SC1","bittings":[2,5,4,7],"brand":"Yale"}'


@pytest.fixture
def reader():
    def make(text=TEXT, log_probability=-0.1):
        asked = []

        def ask(given, left_s):
            asked.append((given, left_s()))
            return SimpleNamespace(text=text, log_probability=log_probability)

        task = Task("keys", tiny.KEYS, "Read the key.", tiny.SIDE)
        return Reader(task, ask, Calibration(), QualityLimits()), asked

    return make


def test_the_model_is_given_the_one_preprocessing_and_its_answer_is_checked(reader):
    looker, asked = reader()
    record = Record()
    prepared = looker.prepare(picture(), record)
    found = looker.read(prepared, lambda: 3.0, record)
    ((given, left_s),) = asked
    np.testing.assert_array_equal(given, to_input(picture(), tiny.SIDE))
    assert left_s == 3.0 and found.answer == {"keyway": "SC1", "bittings": [2, 5, 4, 7], "brand": "Yale"}
    assert found.quality == measure(picture()) and found.confidence == pytest.approx(math.exp(-0.1))
    assert [stage for stage, *_ in record.stages] == ["preprocess", "infer", "postprocess"]


def test_a_poor_picture_is_turned_away_with_every_measure(reader):
    looker, asked = reader()
    with pytest.raises(PoorPicture) as caught:
        looker.prepare(blurred(), Record())
    assert not asked and caught.value.status == 422
    assert caught.value.members["quality"] == measure(blurred()).to_dict()
    assert [one["measure"] for one in caught.value.members["problems"]] == ["sharpness"]


@pytest.mark.parametrize("text", ["", TEXT[:-5], TEXT.replace("SC1", "XX9"), TEXT.replace("2,", ""), "[]"])
def test_an_answer_that_does_not_hold_is_no_answer_and_is_not_quoted(reader, text):
    looker, _ = reader(text)
    prepared = Prepared(to_input(picture(), tiny.SIDE), measure(picture()))
    with pytest.raises(Unreadable) as caught:
        looker.read(prepared, lambda: 1.0, Record())
    assert "SC1" not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize("p", [1e-30, 0.01, 0.5, 0.93, 0.9999])
def test_a_confidence_is_a_probability_moved_as_the_calibration_says(p):
    assert confidence_of(math.log(p), Calibration()) == pytest.approx(p, rel=1e-6, abs=3e-9)
    moved = confidence_of(math.log(p), Calibration(scale=0.5, offset=-1.0))
    logit = max(-20.0, math.log(p) - math.log1p(-p))
    assert moved == pytest.approx(1 / (1 + math.exp(-(0.5 * logit - 1.0))))


@pytest.mark.parametrize("log_probability", [0.0, 1e-9, -1e4, -1e308])
def test_certainty_and_none_are_finite(log_probability):
    assert 0 <= confidence_of(log_probability, Calibration(scale=40.0, offset=3.0)) <= 1


def reading(**answer):
    return Reading(answer, 0.5, measure(picture()))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}, 1.0),
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 3]}, 2 / 3),
        ({"a": 1, "b": [1]}, {"a": 1, "b": [1, 2]}, 2 / 3),
        ({"a": 1}, {"b": 1}, 0.0),
        ({"a": None}, {"b": None}, 0.0),
    ],
)
def test_readings_agree_by_their_single_values(one, other, share):
    assert alike(reading(**one), reading(**other)) == pytest.approx(share)
