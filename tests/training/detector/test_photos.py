import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.preprocess import Preprocess
from training.detector.metrics import Truth
from training.detector.photos import PhotoAugment, Photos
from training.detector.scenes import LabelledScene
from training.fitting.cache import PictureCache

SIDE = 128
PREPROCESS = Preprocess("letterbox", SIDE)
STILL = {"scale": 1, "translate": 0, "flip": 0, "gamma": 1, "brightness": 1, "contrast": 1, "saturation": 1, "grey": 0}


def photo(number, size=(160, 96)):
    """A dark picture with two bright rectangles of their own class each."""
    rng = np.random.default_rng(number)
    image = np.full((size[1], size[0], 3), 20, np.uint8)
    boxes = []
    for left in (8, size[0] // 2 + 8):
        width, height = (int(side) for side in rng.integers(24, 48, 2))
        x, y = left + int(rng.integers(0, 16)), int(rng.integers(4, size[1] - 52))
        image[y : y + height, x : x + width] = 250
        boxes.append([x, y, x + width, y + height])
    return LabelledScene(str(number), image, Truth(np.array(boxes), np.array([0, 1]), size))


def photos(augment, count=3, **values):
    return Photos([photo(i) for i in range(count)], PREPROCESS, augment, values.pop("samples", 24), 0, **values)


def extent(picture, box):
    """The bright patch under the middle of a box: its corners, xyxy."""
    bright = picture.numpy().mean(axis=0) > 0.7
    column, row = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
    edges = []
    for line, at in ((bright[row], column), (bright[:, column], row)):
        assert line[at]
        low = high = at
        while low > 0 and line[low - 1]:
            low -= 1
        while high < SIDE - 1 and line[high + 1]:
            high += 1
        edges.append((low, high + 1))
    return [edges[0][0], edges[1][0], edges[0][1], edges[1][1]]


@pytest.mark.parametrize(
    "changes", [{}, {"flip": 1.0}, {"scale": 1.4}, {"translate": 0.2}, {"flip": 0.5, "scale": 1.3, "translate": 0.1}]
)
def test_boxes_go_where_the_objects_go(changes):
    data, looked_at = photos(PhotoAugment(**{**STILL, **changes})), 0
    for picture, boxes, classes in data:
        assert picture.shape == (3, SIDE, SIDE) and picture.dtype == torch.float32
        assert len(boxes) == len(classes) <= 2
        for box in boxes.tolist():
            assert extent(picture, box) == pytest.approx(box, abs=1.3)
            looked_at += 1
    assert looked_at > 24


def test_without_augmentation_it_is_what_is_served():
    scene = photo(0)
    picture, boxes, classes = Photos([scene], PREPROCESS, None, 1, 0)[0]
    view = PREPROCESS.views(scene.truth.image_size)[0]
    assert np.array_equal(picture.numpy(), PREPROCESS.render(scene.image, view))
    assert np.array_equal(boxes.numpy(), view.from_image(scene.truth.boxes)) and classes.tolist() == [0, 1]


@settings(max_examples=8)
@given(st.permutations(range(8)))
def test_a_sample_depends_on_seed_and_number_alone(asked):
    augment = PhotoAugment(mosaic=0.5)
    wanted = {i: photos(augment, cache=PictureCache(1 << 20))[i] for i in (asked[0], asked[-1])}
    data = photos(augment)
    torch.manual_seed(asked[0])
    for i in asked:
        found = data[i]
        if i in wanted:
            assert all(torch.equal(a, b) for a, b in zip(found, wanted[i], strict=True))


def test_nothing_leaves_the_range_of_colours_or_the_picture():
    augment = PhotoAugment(scale=2, gamma=2, brightness=2, contrast=2, saturation=2, grey=0.3, degrees=20, mosaic=0.3)
    for picture, boxes, classes in photos(augment):
        assert picture.min() >= 0 and picture.max() <= 1
        assert boxes.dtype == torch.float32 and classes.dtype == torch.int64
        assert ((boxes >= 0) & (boxes <= SIDE)).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_what_is_hardly_visible_is_no_target():
    augment = {**STILL, "translate": 0.4}
    strict, lenient = (photos(PhotoAugment(**augment, min_visible=share)) for share in (1.0, 0.01))
    counts = [(len(a[1]), len(b[1])) for a, b in zip(strict, lenient, strict=True)]
    assert all(few <= many for few, many in counts) and any(few < many for few, many in counts)


def test_a_mosaic_has_four_pictures():
    picture, boxes, classes = photos(PhotoAugment(**{**STILL, "mosaic": 1.0}))[0]
    assert len(boxes) == 8 and sorted(classes.tolist()) == [0] * 4 + [1] * 4
    for box in boxes.tolist():
        assert extent(picture, box) == pytest.approx(box, abs=1.3)


def test_pictures_without_boxes_are_learnt_from_too():
    empty = LabelledScene("e", np.zeros((40, 60, 3), np.uint8), Truth(np.zeros((0, 4)), np.zeros(0), (60, 40)))
    for mosaic in (0.0, 1.0):
        picture, boxes, classes = Photos([empty], PREPROCESS, PhotoAugment(mosaic=mosaic, degrees=5), 3, 0)[2]
        assert picture.shape == (3, SIDE, SIDE) and boxes.shape == (0, 4) and classes.shape == (0,)


def test_a_picture_is_letterboxed_once_while_it_fits():
    cache = PictureCache(3 * SIDE * SIDE * 3)
    list(photos(PhotoAugment(), cache=cache))
    assert (cache.misses, cache.hits) == (3, 21)


@pytest.mark.parametrize(
    "values", [{"scale": 0.5}, {"flip": 1.1}, {"min_visible": 0}, {"degrees": 200}, {"mosaic": -1}]
)
def test_what_makes_no_sense_is_refused(values):
    with pytest.raises(ValueError, match="expected"):
        PhotoAugment(**values)


def test_tiles_are_not_for_whole_pictures():
    with pytest.raises(ValueError, match="letterbox"):
        Photos([photo(0)], Preprocess("tiles", 64, tile=48, overlap=8), None, 1, 0)
