import json

import numpy as np
import pytest
from PIL import Image

from safelight.errors import DataError
from safelight.reader.picture import to_input
from tests.training.vlm.toys import TASK
from training.fitting.cache import PictureCache
from training.vlm.prepared import Labelled, Pictures, read_split


def test_records_are_pictures_and_the_one_text_of_an_answer(bars):
    records = read_split(bars, "train", TASK)
    assert len(records) == 24
    assert records[3] == Labelled(bars / "train_3.png", '{"colour":"red","count":200}')


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, "Run the prepare stage"),
        ("\n", "has no records"),
        ("{", "Record 1: expected an object with 'image_path', got JSONDecodeError"),
        ('{"colour": "red", "count": 1}', "Record 1: expected an object with 'image_path', got KeyError"),
        ('{"image_path": "a.png", "colour": "pink", "count": 1}', "Record 1: Expected an answer of task 'bars'"),
    ],
)
def test_what_does_not_hold_is_a_sentence(tmp_path, text, match):
    if text is not None:
        (tmp_path / "train.jsonl").write_text(text)
    with pytest.raises(DataError, match=match):
        read_split(tmp_path, "train", TASK)


@pytest.mark.parametrize("size", [(640, 480), (333, 1000), (32, 32), (7, 500)])
def test_a_picture_that_is_kept_gives_the_input_of_the_file_itself(tmp_path, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    cache = PictureCache(10**6)
    pictures = Pictures([Labelled(tmp_path / "a.png", "")], 32, cache)
    kept = pictures[0]
    assert max(kept.shape[:2]) == 32
    assert np.array_equal(to_input(kept, 32), to_input(pixels, 32))
    assert pictures[0] is kept and (cache.hits, cache.misses) == (1, 1)


def test_a_picture_that_is_none_is_a_sentence(tmp_path):
    (tmp_path / "a.png").write_text(json.dumps({}))
    for name in ("a.png", "missing.png"):
        with pytest.raises(DataError, match="The picture of record 1 cannot be read"):
            Pictures([Labelled(tmp_path / name, "")], 32, PictureCache(0))[0]
