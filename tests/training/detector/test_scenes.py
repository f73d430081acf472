import pickle

import numpy as np
import pytest

from safelight.errors import DataError
from safelight.preprocess import Preprocess, render_view, tile_view
from training.detector.metrics import Truth
from training.detector.scenes import Augment, LabelledScene, Scenes, Tiles, clip, read_scenes, turn

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)
STILL = Augment(scale=1, gamma=1, brightness=1, tint=0)


def test_scenes_come_back_as_they_were_stored(splits, scene):
    read = read_scenes(splits / "train")
    assert [s.image_id for s in read] == ["scene-1", "scene-2"]
    for got, made in zip(read, (scene(1), scene(2, (96, 96), 4)), strict=True):
        assert np.array_equal(got.image, made.image)
        assert np.allclose(got.truth.boxes, made.truth.boxes)
        assert got.truth.image_size == made.truth.image_size


def test_a_split_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="Run the prepare stage first"):
        read_scenes(tmp_path / "none")


@pytest.mark.parametrize("symmetry", range(8))
def test_boxes_turn_with_the_pixels(symmetry):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[4:10, 20:31] = 255
    turned, boxes = turn(pixels, np.array([[20, 4, 31, 10]], np.float32), symmetry)
    rows, columns = np.nonzero(turned[..., 0])
    assert boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_the_symmetries_are_eight():
    pixels = np.arange(16 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    pixels[0, 1] = 255
    assert len({turn(pixels, np.zeros((0, 4), np.float32), k)[0].tobytes() for k in range(8)}) == 8


def test_clipping_says_what_share_is_left():
    boxes, share = clip(np.array([[-10, 0, 10, 10], [0, 0, 5, 5], [90, 0, 120, 10]], np.float32), 64)
    assert boxes.tolist()[0] == [0, 0, 10, 10]
    assert share.tolist() == [0.5, 1, 0]


@pytest.mark.parametrize(("min_visible", "kept"), [(0.4, 2), (0.6, 1)])
def test_a_box_cut_by_the_border_stays_when_enough_of_it_is_visible(min_visible, kept):
    image = np.zeros((48, 48, 3), np.uint8)
    truth = Truth(np.array([[4, 4, 24, 24], [38, 10, 58, 30]]), np.zeros(2), (48, 48))  # half of the second is outside
    augment = Augment(scale=1, gamma=1, brightness=1, tint=0, min_visible=min_visible)
    tiles = Tiles([LabelledScene("s", image, truth)], PREPROCESS, augment, 1, 0)
    _, boxes, classes = tiles[0]
    assert len(boxes) == len(classes) == kept
    assert boxes.min() >= 0 and boxes.max() <= 64


def test_a_still_tile_is_what_serving_renders(scene):
    """Without augmentation a tile's pixels are those of the one preprocessing, up to a symmetry."""
    whole = scene(7, (48, 48), 1)
    picture, boxes, _ = Tiles([whole], PREPROCESS, STILL, 1, 3)[0]
    view = tile_view(0, 0, 48, (48, 48), 64)
    rendered = render_view(whole.image, view, 64)
    truth = view.from_image(whole.truth.boxes)
    seen = (picture.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
    matches = [k for k in range(8) if np.array_equal(turn(rendered, truth, k)[0], seen)]
    assert len(matches) == 1
    assert np.allclose(turn(rendered, truth, matches[0])[1], boxes.numpy(), atol=1e-4)


def test_a_sample_depends_on_seed_and_index_alone(scene):
    scenes = [scene(1), scene(2, (96, 96), 4)]
    forward, backward = (Tiles(scenes, PREPROCESS, Augment(), 40, 9) for _ in range(2))
    first = [forward[i] for i in range(40)]
    for i in reversed(range(40)):
        assert all(np.array_equal(a, b) for a, b in zip(first[i], backward[i], strict=True))
    other = Tiles(scenes, PREPROCESS, Augment(), 40, 10)
    assert not all(np.array_equal(first[i][0], other[i][0]) for i in range(40))


def test_a_round_visits_every_place_and_no_two_rounds_are_alike(scene):
    scenes = [scene(1)]
    places = len(PREPROCESS.views((160, 128)))
    tiles = Tiles(scenes, PREPROCESS, STILL, 2 * places, 0)
    assert len(tiles) == 2 * places
    pictures = [tiles[i][0].numpy().tobytes() for i in range(2 * places)]
    assert len(set(pictures)) > 1.5 * places


def test_values_and_boxes_stay_in_range(scene):
    tiles = Tiles([scene(1)], PREPROCESS, Augment(scale=2, gamma=2, brightness=2, tint=0.3), 30, 0)
    for i in range(30):
        picture, boxes, classes = tiles[i]
        assert picture.shape == (3, 64, 64) and picture.min() >= 0 and picture.max() <= 1
        assert len(boxes) == len(classes)
        assert ((boxes[:, 2:] > boxes[:, :2]).all() and boxes.numel() == 0) or (boxes.min() >= 0 and boxes.max() <= 64)


@pytest.mark.parametrize("values", [{"scale": 0.5}, {"gamma": 0}, {"tint": 1}, {"min_visible": 0}])
def test_augmentation_out_of_range_is_refused(values):
    with pytest.raises(ValueError, match="expected"):
        Augment(**values)


def test_tiles_need_a_preprocessing_in_tiles(scene):
    with pytest.raises(ValueError, match="mode 'tiles'"):
        Tiles([scene(1)], Preprocess("letterbox", 64), Augment(), 1, 0)


def test_pixels_are_decoded_when_asked_for_and_kept_within_a_bound(splits):
    size = 160 * 128 * 3
    scenes = Scenes(splits / "train", cache_bytes=size)
    assert [len(s.truth) for s in scenes] == [8, 4] and scenes.cache.misses == 0
    for index in (0, 0, 1, 0):
        assert scenes[index].image.shape == (*scenes[index].truth.image_size[::-1], 3)
    assert (scenes.cache.hits, scenes.cache.misses) == (1, 3) and scenes.cache.nbytes <= size
    with pytest.raises(IndexError):
        scenes[2]
    assert [s.image_id for s in scenes[1:]] == ["scene-2"]


def test_scenes_travel_to_processes_that_are_not_forked(splits):
    there = pickle.loads(pickle.dumps(Scenes(splits / "train")))
    assert np.array_equal(there[1].image, read_scenes(splits / "train")[1].image)


def test_a_stream_ends_where_it_was_told_to(splits):
    assert len(list(Tiles(read_scenes(splits / "train"), PREPROCESS, STILL, 3, 0))) == 3


def test_tiles_of_rare_classes_come_up_more_often(scene):
    """The one object of class 1 lies in a corner, so that few tiles show it."""
    made = scene(1)
    classes = made.truth.class_ids.copy()
    corner = made.truth.boxes[:, :2].sum(axis=1).argmin()
    classes[corner] = 1
    rare = LabelledScene("rare", made.image, Truth(made.truth.boxes, classes, made.truth.image_size))
    counts = []
    for balance in (None, 1.0):
        tiles = Tiles([rare], PREPROCESS, STILL, 200, 0, balance)
        counts.append(sum(1 in tile[2] for tile in tiles))
    assert counts[1] > 1.15 * counts[0] > 0
