"""The paired bootstrap on made detections, and timing by a clock that the test holds."""

import numpy as np
import pytest

from safelight.detections import Detections
from training.detector.metrics import Truth
from training.registry.comparison import paired_difference, renamed
from training.registry.latency import side_by_side

SIZE = (100, 100)
OPTIONS = {"confidence": 0.95, "plot": None, "samples": 400, "seed": 0}


def truths(pictures, boxes=4):
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 80, (pictures, boxes, 2))
    return [Truth(np.concatenate([at, at + 15], axis=1), np.arange(boxes) % 2, SIZE) for at in low]


def found(truth, keep):
    """Those of the boxes that `keep` says, exactly, with scores of 0.9."""
    count = int(keep.sum())
    return Detections(truth.boxes[keep], np.full(count, 0.9), truth.class_ids[keep], SIZE)


def model(pictures, share, seed):
    rng = np.random.default_rng(seed)
    return [found(truth, rng.random(len(truth)) < share) for truth in pictures]


def test_a_model_is_not_worse_than_itself():
    pictures = truths(20)
    same = model(pictures, 0.6, 2)
    difference = paired_difference(same, same, pictures, **OPTIONS)
    assert (difference.value, difference.low, difference.plots) == (0, 0, 20)


def test_the_bound_lies_below_the_difference_and_pairs_do_not_swap():
    pictures = truths(40)
    good, bad = model(pictures, 0.9, 2), model(pictures, 0.4, 3)
    up, down = (paired_difference(*pair, pictures, **OPTIONS) for pair in ((good, bad), (bad, good)))
    assert up.value == pytest.approx(-down.value) and up.value > 0.3
    assert 0.2 < up.low < up.value and down.low < down.value < -0.3
    assert up == paired_difference(good, bad, pictures, **OPTIONS)  # the same seed, the same bound


def test_pairing_is_what_makes_a_small_loss_visible():
    """Pictures are either easy or hopeless: each model alone varies widely, their difference does not."""
    pictures = truths(30)
    easy = [np.full(len(truth), index % 2 == 0) for index, truth in enumerate(pictures)]
    one = [found(truth, keep) for truth, keep in zip(pictures, easy, strict=True)]
    difference = paired_difference(one, one, pictures, **OPTIONS)
    assert difference.low == 0 and 0.3 < difference.candidate < 0.7


def test_a_confidence_of_half_is_the_middle():
    pictures = truths(40)
    good, bad = model(pictures, 0.8, 2), model(pictures, 0.6, 3)
    middle = paired_difference(good, bad, pictures, **{**OPTIONS, "confidence": 0.5})
    assert abs(middle.low - middle.value) < 0.05


def test_plots_are_cut_where_a_side_is_given():
    pictures = truths(3)
    same = model(pictures, 0.6, 2)
    assert paired_difference(same, same, pictures, **{**OPTIONS, "plot": 50}).plots == 12


def test_a_model_that_finds_nothing_is_worse():
    pictures = truths(10)
    nothing = [Detections.empty(SIZE) for _ in pictures]
    difference = paired_difference(nothing, model(pictures, 1.0, 2), pictures, **OPTIONS)
    assert difference.candidate == 0 and difference.low == pytest.approx(-1.0)


def test_there_must_be_something_to_find():
    empty = [Truth(np.zeros((0, 4)), np.zeros(0), SIZE)]
    with pytest.raises(ValueError, match="at least one box"):
        paired_difference([Detections.empty(SIZE)], [Detections.empty(SIZE)], empty, **OPTIONS)
    with pytest.raises(ValueError, match=r"shorter|longer|argument"):
        paired_difference([], [], truths(2), **OPTIONS)


def test_classes_are_renumbered_by_name():
    seen = Detections(np.zeros((2, 4)), np.ones(2), np.array([0, 1]), SIZE)
    assert renamed(seen, ["cat", "dog"], ["dog", "cat"]).class_ids.tolist() == [1, 0]
    assert renamed(Detections.empty(SIZE), ["cat"], ["cat"]).class_ids.tolist() == []


def test_models_take_turns_and_the_first_round_does_not_count():
    now, turns = [0.0], []

    def taking(name, seconds):
        def look(picture):
            turns.append(name)
            now[0] += seconds * (100 if len(turns) <= 4 else 1)

        return look

    pictures = [np.zeros((2, 2, 3), np.uint8)] * 2
    taken = side_by_side({"a": taking("a", 1.0), "b": taking("b", 3.0)}, pictures, 3, clock=lambda: now[0])
    assert taken == {"a": 1.0, "b": 3.0}
    assert turns == ["a", "b"] * 8
    for bad in (([], 3), (pictures, 0)):
        with pytest.raises(ValueError, match="expected pictures and repeats"):
            side_by_side({}, *bad)
