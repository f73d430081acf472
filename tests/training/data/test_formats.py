import pytest
from datasets import Dataset

from safelight.errors import DataError
from tests.training.data import made
from training.data import formats


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (made.voc, "voc"),
        (made.vockit, "voc"),
        (made.coco, "coco"),
        (made.coco_splits, "coco"),
        (made.yolo, "yolo"),
        (lambda root: made.yolo(root, "{split}/images"), "yolo"),
        (made.yolo_flat, "yolo"),
        (lambda root: Dataset.from_dict({"a": [1]}).save_to_disk(str(root)), "datasets"),
    ],
)
def test_the_format_is_told_by_what_lies_there(tmp_path, make, name):
    make(tmp_path)
    (tmp_path / "README.txt").write_text("Exported on 3 May with 12 pictures and 2 classes.")
    found, why = formats.detect(tmp_path)
    assert found == name and why


def test_nothing_known_says_what_was_looked_for(tmp_path):
    made.picture(tmp_path / "a.png", 0)
    (tmp_path / "a.json").write_text('{"shapes": []}')
    (tmp_path / "notes.txt").write_text("1 2 3 4 5 6")
    with pytest.raises(DataError, match=r"No known annotation format.*COCO.*Pascal VOC.*YOLO.*datasets"):
        formats.detect(tmp_path)


def test_two_formats_at_once_must_be_told_apart_by_the_asker(tmp_path):
    made.voc(made.yolo_flat(tmp_path))
    with pytest.raises(DataError, match=r"More than one format would fit \(voc: .*; yolo: .*data\.format="):
        formats.read(tmp_path, "auto")
    assert formats.read(tmp_path, "yolo").format == "yolo"
    assert formats.read(tmp_path, "voc").format == "voc"


def test_a_format_that_is_not_there_or_not_known_is_refused(tmp_path):
    made.voc(tmp_path)
    with pytest.raises(DataError, match="Expected COCO"):
        formats.read(tmp_path, "coco")
    with pytest.raises(DataError, match=r"data\.format: expected one of auto, coco, voc, yolo, datasets"):
        formats.read(tmp_path, "csv")
    with pytest.raises(DataError, match="Expected a folder"):
        formats.read(tmp_path / "none", "auto")
