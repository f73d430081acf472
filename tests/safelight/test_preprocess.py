from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from safelight.preprocess import FILL, Preprocess, render_view, to_tensor


def test_letterbox_bit_for_bit(picture):
    tensor = Preprocess("letterbox", 64).render(picture, Preprocess("letterbox", 64).views((120, 90))[0])
    resized = np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BILINEAR))
    expected = np.full((64, 64, 3), FILL, np.uint8)
    expected[8:56] = resized
    assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
    assert np.array_equal(tensor, expected.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def test_tiles_at_scale_one_are_the_pixels_themselves(picture):
    preprocess = Preprocess("tiles", 40, tile=40, overlap=8)
    for view in preprocess.views((120, 90)):
        cut = picture[view.y : view.y + 40, view.x : view.x + 40]
        assert np.array_equal(render_view(picture, view, 40), cut)


def test_batches_are_the_views_in_order(picture):
    preprocess = Preprocess("tiles", 32, tile=40, overlap=8)
    views = preprocess.views((120, 90))
    batches = list(preprocess.batches(picture, 4))
    assert [v for part, _ in batches for v in part] == views
    assert all(len(part) == len(batch) <= 4 for part, batch in batches)
    whole = np.concatenate([batch for _, batch in batches])
    assert np.array_equal(whole, np.stack([to_tensor(render_view(picture, v, 32)) for v in views]))


sizes = st.tuples(st.integers(1, 700), st.integers(1, 700))


@given(sizes, st.integers(16, 200), st.integers(0, 15))
def test_tiles_cover_every_pixel_and_overlap(size, tile, overlap):
    preprocess = Preprocess("tiles", 64, tile=tile, overlap=overlap)
    columns = sorted({(v.x, v.x + v.width) for v in preprocess.views(size)})
    rows = sorted({(v.y, v.y + v.height) for v in preprocess.views(size)})
    for spans, length in ((columns, size[0]), (rows, size[1])):
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(a[1] - b[0] >= overlap for a, b in pairwise(spans))


@given(sizes, st.sampled_from([Preprocess("letterbox", 416), Preprocess("tiles", 416, tile=208, overlap=32)]))
def test_boxes_go_there_and_back(size, preprocess):
    for view in preprocess.views(size)[:3]:
        box = np.array([[view.x, view.y, view.x + view.width, view.y + view.height]], np.float32)
        inside = view.from_image(box)
        assert (inside >= -0.51).all() and (inside <= preprocess.input_size + 0.51).all()
        assert np.allclose(view.to_image(inside), box, atol=0.05)


@given(sizes)
def test_any_picture_renders(size):
    preprocess = Preprocess("letterbox", 32)
    image = np.zeros((size[1], size[0], 3), np.uint8)
    assert preprocess.render(image, preprocess.views(size)[0]).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "squash", "input_size": 416}, "expected 'letterbox' or 'tiles', got 'squash'"),
        ({"mode": "letterbox", "input_size": 0}, "positive number"),
        ({"mode": "letterbox", "input_size": 416, "tile": 8}, "belong to mode 'tiles'"),
        ({"mode": "tiles", "input_size": 416}, "got None"),
        ({"mode": "tiles", "input_size": 416, "tile": 10, "overlap": 10}, "0 <= overlap < tile"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**values)


def test_it_survives_the_manifest():
    preprocess = Preprocess("tiles", 416, tile=208, overlap=32)
    assert Preprocess(**preprocess.to_dict()) == preprocess
