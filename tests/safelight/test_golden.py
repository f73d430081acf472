"""Golden samples tell the network of the export from every other one, and agree with themselves."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import onnxruntime as ort
import pytest
from pydantic import ValidationError

from safelight.errors import ManifestInvalid
from safelight.golden import EXACT, QUANTISED, STRONGEST, Golden, check, draw, make
from safelight.preprocess import Preprocess
from tests.serving.graphs import SIDE, colour_graph

SQUARE = Preprocess("letterbox", SIDE)


def network():
    session = ort.InferenceSession(colour_graph(), providers=["CPUExecutionProvider"])
    return lambda batch: tuple(session.run(["boxes", "scores"], {"images": batch}))


def changed(boxes=lambda b: b, scores=lambda s: s):
    """The colour detector, its answers tampered with."""
    run = network()

    def answer(batch):
        found = run(batch)
        return boxes(found[0].copy()), scores(found[1].copy())

    return answer


@pytest.fixture(scope="module")
def golden():
    return make(SQUARE, network(), seed=3)


def test_drawings_are_the_same_on_every_machine():
    """Figures written down, so that a change of the recipe without a change of its number is noticed."""
    digests = [hashlib.sha256(draw(seed, drawing, side)).hexdigest()[:16] for seed, drawing, side in CASES]
    assert digests == list(CASES.values())


CASES = {(0, 0, 416): "ca3fcff89fb3bebb", (7, 3, 64): "041c5d6e0dac95d2"}


def test_drawings_have_shapes_and_detail_and_differ():
    views = [draw(0, drawing, 128) for drawing in range(4)]
    for view in views:
        assert view.shape == (128, 128, 3) and view.dtype == np.uint8
        step = np.abs(np.diff(view.astype(int), axis=1)).mean()
        assert view.std() > 25 and 2 < step < 30  # contrast, and neighbours alike: noise would have 85
    assert len({view.tobytes() for view in views}) == 4


@pytest.mark.parametrize("side", [1, 7, 32, 33, 640])
def test_drawings_come_in_every_size(side):
    assert draw(1, 2, side).shape == (side, side, 3)


def test_the_network_of_the_export_agrees_and_says_the_same_twice(golden):
    check(golden, SQUARE, network())
    again = make(SQUARE, network(), seed=3)
    assert again.model_dump_json() == golden.model_dump_json()
    assert Golden.model_validate_json(golden.model_dump_json()) == golden
    assert len(golden.samples) == 3 and all(len(sample.answers) == STRONGEST for sample in golden.samples)
    assert len(golden.model_dump_json()) < 4000
    assert make(SQUARE, network(), seed=4).samples != golden.samples


def test_another_process_says_the_same_to_the_bit(golden):
    program = "from tests.safelight.test_golden import *; print(make(SQUARE, network(), seed=3).model_dump_json())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(said.stdout) == golden.model_dump(mode="json")


def test_the_drawings_kept_are_those_on_which_most_is_seen(golden):
    strongest = [sample.answers[0].score for sample in golden.samples]
    assert strongest == sorted(strongest, reverse=True) and strongest[-1] > 0.1


def test_answers_may_change_places(golden):
    order = np.random.RandomState(0).permutation(network()(np.zeros((1, 3, SIDE, SIDE), np.float32))[0].shape[1])
    check(golden, SQUARE, changed(lambda b: b[:, order], lambda s: s[:, order]))


def test_what_is_within_the_tolerance_agrees(golden):
    check(golden, SQUARE, changed(lambda b: b + np.float32(0.3), lambda s: s * np.float32(0.999)))


def add_a_strong_one(scores):
    scores[:, np.argmin(scores[0].max(axis=1)), 0] = 1.0
    return scores


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        (lambda b: b + np.float32(1), lambda s: s),
        (lambda b: b[:, ::-1], lambda s: s),
        (lambda b: b, lambda s: s * np.float32(0.99)),
        (lambda b: b, lambda s: s * 0),
        (lambda b: b, lambda s: s[:, :, ::-1]),
        (lambda b: b, add_a_strong_one),
    ],
    ids=["moved", "other boxes", "weaker", "blind", "classes swapped", "one more"],
)
def test_a_network_that_answers_otherwise_is_told(golden, boxes, scores):
    with pytest.raises(
        ManifestInvalid, match=r"does not answer as it did at export: on golden sample \d of 3 .*allowed"
    ):
        check(golden, SQUARE, changed(boxes, scores))


def test_more_slack_is_for_the_caller_to_give(golden):
    weaker = changed(scores=lambda s: s * np.float32(0.99))
    check(golden, SQUARE, weaker, slack=10)
    check(make(SQUARE, network(), 3, QUANTISED), SQUARE, weaker)
    with pytest.raises(ManifestInvalid):
        check(make(SQUARE, network(), 3, QUANTISED), SQUARE, changed(scores=lambda s: s * np.float32(0.4)))


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        (lambda b: b * np.nan, lambda s: s),
        (lambda b: b, lambda s: s * np.inf),
        (lambda b: b[:, :, :3], lambda s: s),
        (lambda b: b[:, :5], lambda s: s),
        (lambda b: b[:, :0], lambda s: s[:, :0]),
        (lambda b: b[:, :5], lambda s: s[:, :5]),
        (lambda b: b, lambda s: s[:, :, :0]),
        (lambda b: b, lambda s: s[:, :, :1]),
    ],
    ids=["nan", "infinite", "three sides", "fewer boxes", "no boxes", "fewer of both", "no classes", "fewer classes"],
)
def test_answers_of_another_shape_are_told(golden, boxes, scores):
    with pytest.raises(ManifestInvalid):
        check(golden, SQUARE, changed(boxes, scores))


def few(count):
    """A graph that suppresses doubles itself: it answers with its strongest boxes alone."""

    def answer(batch):
        boxes, scores = network()(batch)
        best = np.argsort(-scores[0].max(axis=1), kind="stable")[:count]
        return boxes[:, best], scores[:, best]

    return answer


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_network_may_answer_with_few_boxes_or_none(count):
    golden = make(SQUARE, few(count), seed=3)
    assert all(len(sample.answers) == 2 * count for sample in golden.samples)
    check(golden, SQUARE, few(count))
    for other in {0, 1, 5, 9} - {count}:
        with pytest.raises(ManifestInvalid, match="does not answer"):
            check(golden, SQUARE, few(other))


def test_a_blind_network_has_no_golden_score_to_divide_by():
    blind = changed(scores=lambda s: s * 0)
    nothing = make(SQUARE, blind, seed=0)
    check(nothing, SQUARE, blind)
    with pytest.raises(ManifestInvalid):
        check(nothing, SQUARE, network())


@pytest.mark.parametrize(
    "change",
    [{"recipe": 2}, {"seed": -1}, {"samples": ()}, {"tolerance": {"score": 0, "box": 1}}, {"picture": "x"}],
)
def test_a_malformed_golden_is_refused(golden, change):
    with pytest.raises(ValidationError):
        Golden.model_validate(golden.model_dump() | change)


def test_fp32_is_held_to_more_than_int8():
    assert EXACT.score < QUANTISED.score and EXACT.box < QUANTISED.box
