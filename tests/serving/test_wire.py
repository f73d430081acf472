"""What is written directly is what the documented models say."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from safelight.detections import Detections
from safelight.location import CoarseLocation
from serving.detector.schemas import DetectAnswer
from serving.detector.wire import answer_json
from serving.models.pool import Looked
from serving.models.served import Served
from tests.serving.graphs import manifest

SERVED = Served(manifest(), "ab" * 32, None, None, None, None)  # type: ignore[arg-type]
SIDES = st.floats(0, 1, width=32)


@given(
    boxes=st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES, SIDES, st.integers(0, 1)), max_size=8),
    passed_over=st.lists(st.sampled_from(["failed", "too slow", "breaker open", "busy", "not loaded"]), max_size=2),
    location=st.sampled_from([None, CoarseLocation("9q8y", None), CoarseLocation(None, "941")]),
)
def test_an_answer_is_one_that_the_model_takes_and_would_write(boxes, passed_over, location):
    corners = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d, *_ in boxes], np.float32) * 640
    found = Detections(corners, np.array([box[4] for box in boxes]), np.array([box[5] for box in boxes]), (640, 640))
    looked = Looked(found, (("coco", SERVED),), tuple(("other", reason) for reason in passed_over))
    timing = {"decode": 4.123, "detect": 31.777, "total": 36.2}
    written = answer_json("0" * 32, looked, timing, location)
    answer = DetectAnswer.model_validate_json(written)
    assert DetectAnswer.model_validate(answer.model_dump(exclude_none=True)) == answer
    assert answer.model_dump(exclude_none=True) == json.loads(written)
    assert [one.ordering for one in answer.annotations] == list(range(len(boxes)))
    confidences = [one.confidence for one in answer.annotations]
    assert confidences == sorted(confidences, reverse=True)
    assert sum(answer.counts.values()) == len(boxes) and answer.timing_ms.decode == 4.12
