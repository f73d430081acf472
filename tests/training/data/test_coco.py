import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import DataError
from tests.training.data import made
from training.data import coco
from training.data.check import checked
from training.data.records import Rules

LOOSE = Rules(max_quarantined=1)


def test_one_file_and_a_folder_of_pictures(tmp_path):
    listing = coco.read(made.coco(tmp_path))
    assert listing.labels == ["cat", "bird", "dog"]  # by id, whatever the order in the file
    assert [c.image_id for c in listing.candidates] == ["images__p0", "images__p1", "images__p2"]
    assert [(o.label, o.box) for o in listing.candidates[1].objects] == [("dog", made.BOX)]
    assert {c.split for c in listing.candidates} == {None} and listing.quarantined == []
    found = checked(listing, Rules())
    assert found.labels == ("cat", "dog") and found.unused == ("bird",)
    assert [s.classes for s in found.scenes] == [[0], [1], [0]] and found.splits is None


def test_a_file_a_split(tmp_path):
    found = checked(coco.read(made.coco_splits(tmp_path)), Rules())
    assert {name: len(scenes) for name, scenes in found.splits.items()} == {"train": 2, "val": 2, "test": 2}
    assert found.scenes[-1].image_id == "valid__p1"


def test_the_layout_of_the_original(tmp_path):
    """annotations/instances_train2017.json with pictures in train2017/, and files of other tasks beside it."""
    (tmp_path / "annotations").mkdir()
    for k, split in enumerate(("train", "val")):
        made.picture(tmp_path / f"{split}2017/p.jpg", k)
        for task in ("instances", "person_keypoints", "captions"):
            path = tmp_path / f"annotations/{task}_{split}2017.json"
            path.write_text(json.dumps(made.coco_document(["p.jpg"])))
    listing = coco.read(tmp_path)
    assert {c.place: c.split for c in listing.candidates} == {"train2017/p": "train", "val2017/p": "val"}
    assert "instances_train2017.json" in listing.why and "captions" not in listing.why


def test_crowds_are_left_out_on_purpose(tmp_path):
    document = made.coco_document(["p0.png", "p1.png", "p2.png"])
    document["annotations"][1]["iscrowd"] = 1
    found = checked(coco.read(made.coco(tmp_path, annotations=document["annotations"])), Rules(max_quarantined=0))
    assert [(q.scene, q.reason, q.bad) for q in found.quarantined] == [("images__p1", "crowd", False)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "malformed"),
        ({"bbox": None}, "malformed"),
        ({"bbox": [1, 2, "3", 4]}, "malformed"),
        ({"bbox": [1, 2, True, 4]}, "malformed"),
        ({"bbox": [1, 2, float("nan"), 4]}, "malformed"),
        ({"bbox": [1, 2, float("inf"), 4]}, "malformed"),
        ({"bbox": [1, 2, 10**400, 4]}, "malformed"),
        ({"bbox": [1, 2, 0, 4]}, "zero area"),
        ({"bbox": [1, 2, -3, 4]}, "zero area"),
        ({"bbox": [60, 2, 30, 4]}, "outside the picture"),
        ({"category_id": 1}, "unknown class"),
        ({"category_id": "3"}, "unknown class"),
        ({"category_id": [3]}, "unknown class"),
        ({"image_id": 99}, "of a picture that is not listed"),
        ({"image_id": [10]}, "of a picture that is not listed"),
    ],
)
def test_bad_annotations_are_quarantined(tmp_path, change, reason):
    document = made.coco_document(["p0.png", "p1.png"])
    document["annotations"][1].update(change)
    found = checked(coco.read(made.coco(tmp_path, 2, annotations=document["annotations"])), LOOSE)
    assert [(q.reason, q.bad) for q in found.quarantined] == [(reason, True)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file_name": "../outside.png"}, "no such picture inside the folder"),
        ({"file_name": "images/../../outside.png"}, "no such picture inside the folder"),
        ({"file_name": "none.png"}, "no such picture inside the folder"),
        ({"file_name": "x" * 5000}, "no such picture inside the folder"),
        ({"file_name": "a\0.png"}, "no such picture inside the folder"),
        ({"file_name": None}, "malformed entry of a picture"),
        ({"id": None}, "malformed entry of a picture"),
        ({"id": 10}, "another picture has the same id"),
        ({"width": 48, "height": 64}, "not of the size that was annotated"),
        ({"file_name": "p0.png"}, "another picture has the same id"),
    ],
)
def test_bad_pictures_are_quarantined(tmp_path, change, reason):
    made.picture(tmp_path / "outside.png", 9)
    document = made.coco_document(["p0.png", "p1.png"])
    document["images"][1].update(change)
    root = made.coco(tmp_path / "data", 2, images=document["images"])
    bad = [q for q in checked(coco.read(root), LOOSE).quarantined if q.bad and q.record is None]
    assert [q.reason for q in bad] == [reason]


def test_an_absolute_path_or_a_link_that_leads_out_is_no_picture(tmp_path):
    outside = made.picture(tmp_path / "outside.png", 9)
    document = made.coco_document([str(outside), "link.png"])
    root = made.coco(tmp_path / "data", 1, images=document["images"], annotations=document["annotations"])
    (root / "images/link.png").symlink_to(outside)
    listing = coco.read(root)
    assert listing.candidates == []
    assert [q.reason for q in listing.quarantined] == ["no such picture inside the folder"] * 2 + [
        "in no annotation file"
    ]


def test_pictures_that_no_file_lists_are_told(tmp_path):
    made.picture(made.coco(tmp_path) / "images/extra.png", 8)
    assert [(q.scene, q.reason, q.bad) for q in coco.read(tmp_path).quarantined] == [
        ("images__extra", "in no annotation file", False)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [], "annotations": [], "categories": [', "does not parse"),
        ('["images", "annotations", "categories"]', "a JSON object"),
        ('{"images": {}, "annotations": [], "categories": []}', "a list 'images'"),
        ('{"images": [], "annotations": [], "categories": [{"id": "1", "name": "a"}]}', "integer id and a name"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "twice"),
        ('{"images": [], "annotations": [], "categories": [7]}', "integer id and a name"),
        ('{"images": ' + "[" * 100_000 + ', "annotations" "categories"', "does not parse"),
        ('{"images": [' + "9" * 5000 + '], "annotations": [], "categories": []}', "does not parse"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=said):
        coco.read(tmp_path)


def test_files_that_disagree_or_do_not_say_their_split_are_refused(tmp_path):
    root = made.coco_splits(tmp_path)
    path = root / "test/_annotations.coco.json"
    path.write_text(path.read_text().replace('"name": "cat"', '"name": "fox"'))
    with pytest.raises(DataError, match="category 3 is"):
        coco.read(root)
    (root / "more.json").write_text(json.dumps(made.coco_document([])))
    with pytest.raises(DataError, match=r"no split in the name of more\.json"):
        coco.read(root)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "image_id", "file_name", "bbox", "name", "category_id", "iscrowd", "width"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3), st.lists(JSON, max_size=3))
def test_any_json_is_read_or_refused(tmp_path_factory, images, annotations, categories):
    root = tmp_path_factory.getbasetemp() / "any-coco"
    root.mkdir(exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "a.json").write_text(json.dumps(document))
    try:
        listing = coco.read(root)
    except DataError:
        return
    assert listing.candidates == []  # there is no picture to name
    assert len(listing.quarantined) == len(images) + len(annotations)
