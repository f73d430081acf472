import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import DataError
from tests.training.data import made
from training.data import yolo
from training.data.check import checked
from training.data.records import Rules

LOOSE = Rules(max_quarantined=1)


@pytest.mark.parametrize("layout", ["images/{split}", "{split}/images"])
def test_both_layouts_give_boxes_names_and_splits(tmp_path, layout):
    found = checked(yolo.read(made.yolo(tmp_path, layout)), Rules(max_quarantined=0))
    assert found.labels == ("cat", "dog") and found.quarantined == ()
    assert {name: [s.image_id for s in own] for name, own in found.splits.items()} == {
        split: [f"{split}__p{i}" for i in range(3)] for split in ("train", "val", "test")
    }
    for scene in found.scenes:
        for box in scene.boxes:
            assert box == pytest.approx(made.BOX, abs=1e-4)
    assert [len(s.boxes) for s in found.splits["val"]] == [1, 1, 0]  # no text file: no objects


def test_files_beside_the_pictures_without_names(tmp_path):
    for i in range(2):
        made.picture(tmp_path / f"p{i}.png", i).with_suffix(".txt").write_text(made.yolo_line(i))
    found = checked(yolo.read(tmp_path), Rules())
    assert found.labels == ("class_0", "class_1") and found.splits is None


def test_a_list_of_names_in_a_text_file(tmp_path):
    found = checked(yolo.read(made.yolo_flat(tmp_path)), Rules())
    assert found.labels == ("cat", "dog") and len(found.scenes) == 12 and found.quarantined == ()


def test_splits_that_the_description_lists(tmp_path):
    """As files of paths, or as folders of another name; pictures in none of them are left out on purpose."""
    root = made.yolo_flat(tmp_path, 4)
    (root / "classes.txt").unlink()
    (root / "train.txt").write_text("./images/p00.jpg\nimages/p01.jpg\n../outside.jpg\n")
    (root / "val.txt").write_text("images/p02.jpg\n")
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: {0: cat, '1': dog}\n")
    listing = yolo.read(root)
    assert {c.image_id: c.split for c in listing.candidates} == {"p00": "train", "p01": "train", "p02": "val"}
    assert [(q.scene, q.bad) for q in listing.quarantined] == [("p03", False)]
    (root / "data.yaml").write_text("train: [images/a]\nval: images/b\nnames: [cat, dog]\n")
    for i, folder in enumerate("abb"):
        (root / "images" / folder).mkdir(exist_ok=True)
        (root / f"images/p0{i}.jpg").rename(root / f"images/{folder}/p0{i}.jpg")
    assert {c.place: c.split for c in yolo.read(root).candidates} == {"a/p00": "train", "b/p01": "val", "b/p02": "val"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.2", "unknown class"),
        ("x 0.5 0.5 0.2 0.2", "unknown class"),
        ("0 0.5 0.5 0.2 0.2 0.9", "malformed"),
        ("0 0.5 0.5 nan 0.2", "malformed"),
        ("0 0.5 0.5 1e999 0.2", "malformed"),
        ("0 0.5 0.5 0 0.2", "zero area"),
        ("0 0.5 0.5 -0.2 0.2", "zero area"),
        ("0 0.5 0.5 1.5 0.2", "outside the picture"),
        ("0 32 24 20 20", "outside the picture"),
        ("2 0.5 0.5 0.2 0.2", "unknown class"),
        ("-1 0.5 0.5 0.2 0.2", "unknown class"),
        ("0.5 0.5 0.5 0.2 0.2", "unknown class"),
    ],
)
def test_bad_lines_are_quarantined(tmp_path, line, reason):
    root = made.yolo_flat(tmp_path, 2)
    (root / "labels/p01.txt").write_text(f"{made.yolo_line()}\n\n{line}\n")
    found = checked(yolo.read(root), LOOSE)
    assert [(q.scene, q.record, q.bad) for q in found.quarantined] == [("p01", 1, True)]
    assert found.quarantined[0].reason in (reason, "malformed")


def test_a_polygon_becomes_the_box_around_it_and_keypoints_are_passed_over(tmp_path):
    root = made.yolo_flat(tmp_path, 1)
    (root / "labels/p00.txt").write_text("1 0.25 0.5 0.5 0.25 0.75 0.75\n")
    assert checked(yolo.read(root), Rules()).scenes[0].boxes == [(16, 12, 48, 36)]
    (root / "classes.txt").unlink()
    (root / "pose.yaml").write_text("kpt_shape: [1, 2]\nnames: [cat, dog]\n")
    (root / "labels/p00.txt").write_text("1 0.5 0.5 0.5 0.5 0.1 0.1\n")
    assert checked(yolo.read(root), Rules()).scenes[0].boxes == [(16, 12, 48, 36)]


def test_boxes_that_fill_the_picture_survive_their_six_decimals(tmp_path):
    root = made.yolo_flat(tmp_path, 1)
    (root / "labels/p00.txt").write_text("0 0.5000005 0.5 1.000000 1.000001\n")
    found = checked(yolo.read(root), Rules(max_overhang=0))
    assert found.scenes[0].boxes[0] == pytest.approx((0, 0, 64, 48), abs=1e-3) and found.clipped == 0


def test_text_files_without_a_picture_and_broken_ones_are_quarantined(tmp_path):
    root = made.yolo_flat(tmp_path, 2)
    (root / "labels/gone.txt").write_text(made.yolo_line())
    (root / "labels/p01.txt").write_bytes(b"\xff\xfe0 0.5")
    listing = yolo.read(root)
    assert {q.scene: q.reason for q in listing.quarantined} == {
        "gone": "no such picture",
        "p01": "malformed annotation file",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names: [", "does not parse"),
        ("- names", "a mapping"),
        ("names: 3", "found none"),
        ("names: []", "found none"),
        ("names: {a: cat}", "from numbers to names"),
        ("names: [[cat]]", "from numbers to names"),
        ("names: !!python/object/apply:os.system [id]", "does not parse"),
    ],
)
def test_a_description_that_does_not_hold_is_refused(tmp_path, text, said):
    root = made.yolo_flat(tmp_path, 1)
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=said):
        yolo.read(root)


@given(st.text(alphabet="0123456789.eE+- naif\tx", max_size=60))
def test_any_line_is_a_box_or_malformed(line):
    described = yolo._Description({0: "cat"}, {})
    marked = yolo._marked(line, described)
    assert marked.label in (None, "cat") and (marked.box is None or len(marked.box) == 4)


YAML = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(YAML)
def test_any_value_of_a_split_gives_paths_that_stay_inside(value):
    for entry in yolo._entries(value):
        assert ".." not in entry.split("/") and not entry.startswith("/")
