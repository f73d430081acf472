"""Fusion and agreement of several answers to one picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.detections import Detections, box_iou
from safelight.fusion import agreement, fuse

SIZE = (100, 80)
PLACE = st.floats(0, 100, width=32)


def detections(*rows):
    """Rows of (left, top, right, bottom, score, class)."""
    values = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64), SIZE)


BOX = st.tuples(PLACE, PLACE, PLACE, PLACE, st.floats(0, 1, width=32), st.integers(0, 2)).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]), v[4], v[5])
)
FOUND = st.lists(BOX, max_size=8).map(lambda rows: detections(*rows))


def alike(a, b):
    return all(np.array_equal(x, y) for x, y in ((a.boxes, b.boxes), (a.scores, b.scores), (a.class_ids, b.class_ids)))


@given(found=st.lists(FOUND, min_size=1, max_size=4), data=st.data())
def test_the_order_of_models_of_equal_weight_does_not_matter(found, data):
    order = data.draw(st.permutations(range(len(found))))
    assert alike(fuse(found), fuse([found[i] for i in order]))


@given(found=st.lists(FOUND, min_size=1, max_size=3), data=st.data(), iou=st.floats(0.3, 1), skip=st.floats(0, 0.5))
def test_scores_and_boxes_stay_within_what_went_in(found, data, iou, skip):
    weights = [data.draw(st.floats(0.01, 10)) for _ in found]
    fused = fuse(found, weights, iou, skip)
    assert (np.diff(fused.scores) <= 0).all()
    for box, score, class_id in zip(fused.boxes, fused.scores, fused.class_ids, strict=True):
        members = [d.above(skip)[d.above(skip).class_ids == class_id] for d in found]
        boxes, scores = np.concatenate([m.boxes for m in members]), np.concatenate([m.scores for m in members])
        assert (box >= boxes.min(axis=0)).all() and (box <= boxes.max(axis=0)).all()
        assert score <= scores.max() * (1 + 1e-6)
    assert len(fused) <= sum(len(d.above(skip)) for d in found)


@given(one=FOUND, weight=st.floats(0.01, 10))
def test_one_model_whose_boxes_lie_apart_is_left_as_it_is(one, weight):
    overlaps = np.triu(box_iou(one.boxes, one.boxes), 1)
    same_class = one.class_ids[:, None] == one.class_ids[None, :]
    apart = ~((overlaps > 0.5) & same_class).any(axis=0)
    one = one[np.flatnonzero(apart)]
    fused = fuse([one], [weight], iou=0.55)
    order = np.lexsort((*one.boxes.T, one.class_ids, -one.scores))
    assert len(fused) == len(one)
    np.testing.assert_allclose(np.sort(fused.scores), np.sort(one.scores), rtol=1e-6, atol=1e-9)
    assert sorted(map(tuple, fused.boxes.tolist())) == sorted(map(tuple, one.boxes[order].tolist()))


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.floats(0.125, 1, width=32)), max_size=5), count=st.integers(1, 4))
def test_models_that_agree_wholly_are_as_one(rows, count):
    one = detections(*((20 * cell, 0, 20 * cell + 10, 10, score, cell) for cell, score in dict(rows).items()))
    fused = fuse([one] * count)
    assert agreement(fused, one, iou=0.99) == 1.0
    np.testing.assert_allclose(fused.scores, np.sort(one.scores)[::-1], rtol=1e-5)


def test_the_figures_are_those_of_the_paper():
    """Two of three models see it: the mean box by score, the mean score times two thirds (equations 1 to 5)."""
    a = detections((0, 0, 10, 10, 0.9, 0))
    b = detections((1, 0, 11, 10, 0.3, 0))
    fused = fuse([a, b, Detections.empty(SIZE)])
    np.testing.assert_allclose(fused.boxes, [[0.25, 0, 10.25, 10]], rtol=1e-6)
    np.testing.assert_allclose(fused.scores, [0.6 * 2 / 3], rtol=1e-6)


def test_a_heavier_model_counts_for_more():
    a, b = detections((0, 0, 10, 10, 0.5, 0)), detections((1, 0, 11, 10, 0.5, 0))
    assert fuse([a, b], [3, 1]).boxes[0, 0] == pytest.approx(0.25)
    assert fuse([a, Detections.empty(SIZE)], [3, 1]).scores[0] == pytest.approx(0.5 * 3 / 4)


def test_classes_are_never_mixed_and_weak_boxes_are_skipped():
    a = detections((0, 0, 10, 10, 0.5, 0), (0, 0, 10, 10, 0.1, 1))
    b = detections((0, 0, 10, 10, 0.5, 2))
    assert sorted(fuse([a, b]).class_ids.tolist()) == [0, 1, 2]
    assert sorted(fuse([a, b], skip=0.2).class_ids.tolist()) == [0, 2]


def test_a_model_that_boxes_an_object_twice_does_not_count_twice():
    twice = detections((0, 0, 10, 10, 0.8, 0), (0, 0, 10, 10, 0.8, 0))
    assert fuse([twice, Detections.empty(SIZE)]).scores[0] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("found", "options"),
    [
        ([], {}),
        ([detections(), Detections.empty((1, 1))], {}),
        ([detections()], {"weights": [1, 1]}),
        ([detections()], {"weights": [0]}),
        ([detections()], {"weights": [float("nan")]}),
        ([detections()], {"iou": 0}),
        ([detections()], {"skip": 2}),
    ],
)
def test_what_does_not_fit_is_refused(found, options):
    with pytest.raises(ValueError, match="expected"):
        fuse(found, **options)


@given(a=FOUND, b=FOUND)
def test_agreement_is_symmetric_and_a_share(a, b):
    assert 0 <= agreement(a, b) <= 1
    assert agreement(a, b) == pytest.approx(agreement(b, a), abs=0.5 / max(1, len(a) + len(b)) * 2)
    wide = a[(a.boxes[:, 2:] - a.boxes[:, :2] > 0.01).all(axis=1)]
    assert agreement(wide, wide) == 1.0


def test_agreement_is_the_f1_of_boxes():
    a = detections((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.9, 1))
    assert agreement(detections(), detections()) == 1.0
    assert agreement(a, detections()) == 0.0
    assert agreement(a, detections((0, 0, 10, 10, 0.1, 0))) == pytest.approx(2 / 3)
    assert agreement(a, detections((0, 0, 10, 10, 0.9, 1))) == 0.0  # of another class
    assert agreement(a, detections((5, 0, 15, 10, 0.9, 0))) == 0.0  # overlaps by a third
    assert agreement(a[:1], detections((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="one size"):
        agreement(a, Detections.empty((1, 1)))
