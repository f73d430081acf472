"""Each head reads the boxes and scores that were written down for it by hand, and refuses what it cannot tell."""

from __future__ import annotations

import numpy as np
import pytest

from safelight.errors import ManifestInvalid
from safelight.heads import Given, Output, adapter_of

GIVEN = Given(classes=2, input_size=64)
BOXES = np.array([[[8, 16, 24, 48], [32, 0, 64, 16]]], np.float32)
CENTRES = np.array([[[16, 32, 16, 32], [48, 8, 32, 16]]], np.float32)
SCORES = np.array([[[0.75, 0.125], [0.25, 0.5]]], np.float32)
STRONGEST = np.array([[[0.75, 0], [0, 0.5]]], np.float32)
LOGITS = np.log(SCORES / (1 - SCORES))
NO_OBJECT = 1 - SCORES.sum(axis=2, keepdims=True)
CLASSES = np.array([[0, 1]])


def output(name: str, *shape: int | None, dtype: str = "float32") -> Output:
    return Output(name, dtype, shape)


def answer(head, arrays, given=GIVEN):
    """What a head reads from arrays by name, whose batch dimension it is not told."""
    outputs = [Output(n, a.dtype.name, (None, *a.shape[1:])) for n, a in arrays.items()]
    adapter = adapter_of(head, outputs, given)
    return adapter([arrays[name].copy() for name in adapter.names], 1)


def rows(*parts):
    return np.concatenate(parts, axis=2).astype(np.float32)


OBJECTNESS = np.array([[[0.75], [0.5]]], np.float32)
DENSE = {
    "ours": ("boxes-scores", {"scores": SCORES, "boxes": BOXES}),
    "yolov3 rows": ("yolov3", {"output": rows(CENTRES, OBJECTNESS, SCORES / OBJECTNESS)}),
    "yolov5": ("yolov5", {"output0": rows(CENTRES, OBJECTNESS, SCORES / OBJECTNESS)}),
    "yolov5 beside its maps": (
        "yolov5",
        {
            "output": rows(CENTRES, OBJECTNESS, SCORES / OBJECTNESS),
            **{str(side): np.zeros((1, 3, side, side, 7), np.float32) for side in (8, 4, 2)},
        },
    ),
    "yolov8": ("yolov8", {"output0": rows(CENTRES, SCORES).transpose(0, 2, 1)}),
    "yolov8 turned": ("yolov8", {"output0": rows(CENTRES, SCORES)}),
    "yolo-nas": ("yolo-nas", {"913": BOXES, "904": SCORES}),
    "sigmoids": ("detr", {"logits": LOGITS, "pred_boxes": CENTRES / 64}),
    "softmax": ("detr", {"pred_boxes": CENTRES / 64, "logits": np.log(rows(SCORES, NO_OBJECT)) + 7}),
    "rf-detr": ("detr", {"dets": CENTRES / 64, "labels": rows(LOGITS, np.full((1, 2, 1), 9.0))}),
}


@pytest.mark.parametrize(("head", "arrays"), DENSE.values(), ids=DENSE)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_score_for_every_class(head, arrays, dtype):
    boxes, scores = answer(head, {name: array.astype(dtype) for name, array in arrays.items()})
    assert boxes.dtype == scores.dtype == np.float32
    tolerance = 1e-5 if dtype is np.float32 else 4e-3
    np.testing.assert_allclose(boxes, BOXES, atol=64 * tolerance)
    np.testing.assert_allclose(scores, SCORES, atol=tolerance)


PADDED = np.pad(BOXES, ((0, 0), (0, 1), (0, 0)), constant_values=-1)
SPARSE = {
    "one row a box": (
        "yolo-end2end",
        {"output0": rows(BOXES, np.array([[[0.75], [0.5]]]), CLASSES[..., None])},
    ),
    "batch": (
        "yolo-nas-nms",
        {
            "num_predictions": np.array([[2]]),
            "pred_boxes": PADDED,
            "pred_scores": np.array([[0.75, 0.5, -1]], np.float32),
            "pred_classes": np.array([[0, 1, -1]]),
        },
    ),
    "batch, classes as floats": (
        "yolo-nas-nms",
        {
            "pred_classes": np.array([[0, 1, -1]], np.float32),
            "pred_boxes": PADDED,
            "pred_scores": np.array([[0.75, 0.5, -1]], np.float32),
            "num_predictions": np.array([[2]], np.int32),
        },
    ),
    "flat": ("yolo-nas-nms", {"flat": np.array([[0, *BOXES[0, 1], 0.5, 1], [0, *BOXES[0, 0], 0.75, 0]], np.float32)}),
}


@pytest.mark.parametrize(("head", "arrays"), SPARSE.values(), ids=SPARSE)
def test_one_class_a_box(head, arrays):
    boxes, scores = answer(head, arrays)
    assert scores.shape == (*boxes.shape[:2], 2)
    np.testing.assert_array_equal(boxes[:, :2], BOXES)
    np.testing.assert_array_equal(scores[:, :2], STRONGEST)
    assert not scores[:, 2:].any()


def test_a_flat_answer_is_parted_among_the_pictures():
    flat = np.array([[2, 1, 2, 3, 4, 0.5, 1], [0, 5, 6, 7, 8, 0.25, 0], [2, 9, 9, 10, 10, 0.75, 0]], np.float32)
    adapter = adapter_of("yolo-nas-nms", [output("flat", None, 7)], GIVEN)
    boxes, scores = adapter([flat], 3)
    assert boxes.shape == (3, 1000, 4) and scores.shape == (3, 1000, 2)
    assert not scores[1].any() and scores[0].max() == 0.25 and (scores[2] > 0).sum() == 2
    assert boxes[2, :2].tolist() == [[9, 9, 10, 10], [1, 2, 3, 4]]
    assert adapter([flat[:0]], 3)[1].shape == (3, 1000, 2)


def test_a_class_that_is_none_of_the_labels_has_no_score():
    listed = np.array([[[0, 0, 8, 8, 0.9, 2], [0, 0, 8, 8, 0.8, -1], [0, 0, 8, 8, 0.7, 1]]], np.float32)
    _, scores = answer("yolo-end2end", {"output0": listed})
    np.testing.assert_array_equal(scores[0], np.array([[0, 0], [0, 0], [0, 0.7]], np.float32))


def test_maps_are_decoded_as_darknet_does():
    """One cell of the finer map and one of the coarser; the second of two anchors in each."""
    anchors = (((4.0, 4.0), (10.0, 20.0)), ((30.0, 30.0), (40.0, 10.0)))
    fine, coarse = (np.full((1, 2 * 7, side, side), -30, np.float32) for side in (8, 4))
    fine[0, 7:, 5, 2] = [0, np.log(3), np.log(2), 0, 30, np.log(3), -30]  # row 5, column 2
    coarse[0, 7:, 0, 3] = [np.log(3), 0, 0, np.log(2), np.log(3), -30, np.log(3)]
    given = Given(2, 64, anchors)
    boxes, scores = answer("yolov3", {"coarse": coarse, "fine": fine}, given)
    assert boxes.shape == (1, 2 * (64 + 16), 4)
    (found,) = np.nonzero((scores > 0.1).any(axis=2)[0])
    assert found.tolist() == [64 + 5 * 8 + 2, 128 + 16 + 3]
    centres = [((2 + 0.5) * 8, (5 + 0.75) * 8), ((3 + 0.75) * 16, 0.5 * 16)]
    sizes = [(20, 20), (40, 20)]
    for box, (x, y), (w, h) in zip(boxes[0, found], centres, sizes, strict=True):
        np.testing.assert_allclose(box, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-5)
    np.testing.assert_allclose(scores[0, found], [[0.75, 0], [0, 0.5625]], atol=1e-6)


ANCHORS = (((8.0, 8.0),),)
WRONG = {
    "other names": ("boxes-scores", [output("a", 1, 9, 4), output("b", 1, 9, 2)], GIVEN),
    "one more output": (
        "boxes-scores",
        [output("boxes", 1, 9, 4), output("scores", 1, 9, 2), output("c", 1, 9, 2)],
        GIVEN,
    ),
    "no objectness": ("yolov5", [output("o", 1, 9, 6)], GIVEN),
    "an objectness": ("yolov8", [output("o", 1, 9, 7)], GIVEN),
    "as many boxes as numbers": ("yolov8", [output("o", 1, 6, 6)], GIVEN),
    "free sides": ("yolov8", [output("o", 1, None, None)], GIVEN),
    "two that fit": ("yolov8", [output("o", 1, 9, 6), output("p", 1, 6, 9)], GIVEN),
    "whole numbers": ("yolov8", [output("o", 1, 9, 6, dtype="int64")], GIVEN),
    "a free number of boxes": ("yolo-end2end", [output("o", 1, None, 6)], GIVEN),
    "seven numbers": ("yolo-end2end", [output("o", 1, 300, 7)], GIVEN),
    "boxes alone": ("yolo-nas", [output("boxes", 1, 9, 4)], GIVEN),
    "another number of scores": ("yolo-nas", [output("boxes", 1, 9, 4), output("scores", 1, 8, 2)], GIVEN),
    "four classes without names": ("yolo-nas", [output("a", 1, 9, 4), output("b", 1, 9, 4)], Given(4, 64)),
    "flat of six": ("yolo-nas-nms", [output("o", None, 6)], GIVEN),
    "no numbers": ("yolo-nas-nms", [output("b", 1, 9, 4), output("s", 1, 9), output("c", 1, 9)], GIVEN),
    "scores or classes": (
        "yolo-nas-nms",
        [output("n", 1, 1, dtype="int64"), output("b", 1, 9, 4), output("x", 1, 9), output("y", 1, 9)],
        GIVEN,
    ),
    "91 logits for 80 labels": ("detr", [output("logits", 1, 9, 91), output("pred_boxes", 1, 9, 4)], Given(80, 64)),
    "three labels without names": ("detr", [output("a", 1, 9, 4), output("b", 1, 9, 4)], Given(3, 64)),
    "maps without anchors": ("yolov3", [output("m", 1, 7, 8, 8)], GIVEN),
    "too few maps": ("yolov3", [output("m", 1, 7, 8, 8)], Given(2, 64, ANCHORS * 2)),
    "two maps of a size": ("yolov3", [output("m", 1, 7, 8, 8), output("n", 1, 7, 8, 8)], Given(2, 64, ANCHORS * 2)),
    "other channels": ("yolov3", [output("m", 1, 21, 8, 8)], Given(2, 64, ANCHORS)),
    "an oblong map": ("yolov3", [output("m", 1, 7, 8, 4)], Given(2, 64, ANCHORS)),
    "a map of no stride": ("yolov3", [output("m", 1, 7, 7, 7)], Given(2, 64, ANCHORS)),
    "an anchor of no width": ("yolov3", [output("m", 1, 7, 8, 8)], Given(2, 64, (((0.0, 8.0),),))),
    "anchors for rows": ("yolov3", [output("o", 1, 9, 7)], Given(2, 64, ANCHORS)),
    "anchors for another head": ("yolov8", [output("o", 1, 9, 6)], Given(2, 64, ANCHORS)),
}


@pytest.mark.parametrize(("head", "outputs", "given"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_or_fits_twice_is_refused(head, outputs, given):
    with pytest.raises(ManifestInvalid, match=r"Expected|cannot be told"):
        adapter_of(head, outputs, given)


def test_names_decide_where_shapes_cannot():
    four, three = Given(4, 64), Given(3, 64)
    assert adapter_of("yolo-nas", [output("scores", 1, 9, 4), output("boxes", 1, 9, 4)], four).names == (
        "boxes",
        "scores",
    )
    assert adapter_of("detr", [output("labels", 1, 9, 4), output("dets", 1, 9, 4)], three).names == ("dets", "labels")
    assert adapter_of("detr", [output("pred_logits", 1, 9, 4), output("pred_boxes", 1, 9, 4)], three).names == (
        "pred_boxes",
        "pred_logits",
    )


def test_our_own_head_costs_nothing_in_single_precision_alone():
    def ours(dtype: str):
        return adapter_of("boxes-scores", [output("boxes", 1, 9, 4, dtype=dtype), output("scores", 1, 9, 2)], GIVEN)

    assert ours("float32").plain and not ours("float16").plain
