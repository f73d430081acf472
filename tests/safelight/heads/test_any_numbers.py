"""Whatever finite numbers a graph answers, no head turns them into a score outside [0, 1] or into NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from safelight.heads import HEADS, Given, Output, adapter_of

CLASSES, SIDE, N = 3, 64, 5
MANY = 2
ANCHORS = (((4.0, 8.0),), ((16.0, 16.0), (30.0, 20.0)))

SHAPES = {
    "boxes-scores": [{"boxes": (N, 4), "scores": (N, CLASSES)}],
    "yolov3": [{"rows": (N, 5 + CLASSES)}, {"fine": (8, 4, 4), "coarse": (16, 2, 2)}],
    "yolov5": [{"rows": (N, 5 + CLASSES)}, {"columns": (5 + CLASSES, N)}],
    "yolov8": [{"rows": (N, 4 + CLASSES)}, {"columns": (4 + CLASSES, N)}],
    "yolo-end2end": [{"rows": (N, 6)}],
    "yolo-nas": [{"boxes": (N, 4), "scores": (N, CLASSES)}],
    "yolo-nas-nms": [{"flat": (7,)}, {"num": (1,), "boxes": (N, 4), "scores": (N,), "classes": (N,)}],
    "detr": [{"boxes": (N, 4), "logits": (N, CLASSES)}, {"boxes": (N, 4), "logits": (N, CLASSES + 1)}],
}
CASES = [(head, shapes) for head, layouts in SHAPES.items() for shapes in layouts]

DTYPES = {"float32": np.float32, "float16": np.float16}


def numbers(dtype: str, shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    width = 32 if dtype == "float32" else 16
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)
    near = st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5])  # pictures and classes that there are
    return arrays(DTYPES[dtype], shape, elements=st.one_of(near, finite))


def test_every_head_is_tried():
    assert set(SHAPES) == set(HEADS)


@pytest.mark.parametrize(("head", "shapes"), CASES, ids=[f"{head}-{'-'.join(shapes)}" for head, shapes in CASES])
@given(data=st.data(), dtype=st.sampled_from(sorted(DTYPES)))
def test_scores_stay_probabilities(head, shapes, data, dtype):
    types = {name: "int64" if name == "num" else dtype for name in shapes}
    outputs = [
        Output(name, types[name], (None, *shape) if name != "flat" else (None, 7)) for name, shape in shapes.items()
    ]
    adapter = adapter_of(head, outputs, Given(CLASSES, SIDE, ANCHORS if "fine" in shapes else None))
    values = {
        name: data.draw(arrays(np.int64, (MANY, 1)))
        if types[name] == "int64"
        else data.draw(numbers(dtype, (MANY, *shape)))
        for name, shape in shapes.items()
    }
    boxes, scores = adapter([values[name] for name in adapter.names], MANY)
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.shape == (MANY, boxes.shape[1], 4) and scores.shape == (MANY, boxes.shape[1], CLASSES)
    assert not np.isnan(boxes).any()
    assert (scores >= 0).all() and (scores <= 1).all()
