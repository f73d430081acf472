"""What a specification makes: the same files whenever drawn, splits that share no answers, digests that are held to."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from safelight.errors import ConfigError, DataError
from tests.training.drawings.specifications import small
from training.drawings import meters
from training.drawings.drawn import write
from training.drawings.interface import DRAWINGS, drawing
from training.drawings.specification import Specification


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_whoever_draws_and_test_stays_when_training_grows(tmp_path):
    told = []
    one = write(Specification.of(small(train=30)), tmp_path / "one", 1, told.append)
    two = write(Specification.of(small(train=30)), tmp_path / "two", 2, told.append)
    assert sum(told) == 2 * 39
    assert one == two and files(tmp_path / "one") == files(tmp_path / "two")
    more = write(Specification.of(small(train=31)), tmp_path / "more", 2, told.append)
    assert {name for name in one if one[name] != more[name]} == {"train"}
    lines = (tmp_path / "one/test.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["image_path"] for r in records] == [f"images/test_{n:06d}.jpg" for n in range(3)]
    for number, record in enumerate(records):
        answer, drawn = Specification.of(small()).one(meters, "test", number)
        pixels = drawn.pixels
        assert record == {"image_path": record["image_path"], **answer}
        with Image.open(io.BytesIO((tmp_path / "one" / record["image_path"]).read_bytes())) as image:
            assert image.format == "JPEG" and image.size == (336, 336) and not image.getexif()
            assert np.abs(np.asarray(image, np.int64) - pixels).mean() < 6


def test_no_answer_is_in_two_splits():
    specification = Specification.of(small())
    groups = {
        split: {meters.group(specification._answer(meters, split, specification._rng(split, n))) for n in range(150)}
        for split in specification.splits
    }
    names = list(groups)
    for one in names:
        for other in names[names.index(one) + 1 :]:
            assert not groups[one] & groups[other]


def test_a_digest_is_held_to(tmp_path):
    values = small(train=1)
    wanted = write(Specification.of(values), tmp_path / "a", 1, lambda _: None)
    values["splits"]["test"]["sha256"] = wanted["test"]
    assert write(Specification.of(values), tmp_path / "b", 1, lambda _: None) == wanted
    values["splits"]["test"]["difficulty"] = {**values["splits"]["test"]["difficulty"], "noise": [9, 9]}
    with pytest.raises(DataError, match="cannot be compared"):
        write(Specification.of(values), tmp_path / "c", 1, lambda _: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "faces"}, "name"),
        ({"seed": -1}, "seed"),
        ({"splits": {}}, "splits"),
        ({"splits": {"../a": {"count": 1, "share": 1, "difficulty": {}}}}, "lower-case"),
        ({"splits": {"a": {"count": 0, "share": 1, "difficulty": {}}}}, "count"),
        ({"quality": 99}, "quality"),
        ({"colour": 1}, "colour"),
    ],
)
def test_specifications_that_cannot_be(change, said):
    with pytest.raises(ConfigError, match=said):
        Specification.of({**small(), **change})


def test_a_share_too_small_is_said():
    values = small()
    values["splits"]["hard"]["share"] = 1e-12
    with pytest.raises(DataError, match="share is too small"):
        Specification.of(values).one(meters, "hard", 0)


def test_drawings_are_found_by_name():
    assert drawing("meters") is meters and "meters" in DRAWINGS
    with pytest.raises(ConfigError, match="keys, meters"):
        drawing("os")
