import pytest

from safelight.errors import DataError
from tests.training.data import made
from training.data.check import checked
from training.data.records import Candidate, Listing, Marked, PictureFile, Rules


def listing(folder, *boxes, labels=(), shares=False, size=None, names=("cat",)):
    """A listing of one picture with these boxes."""
    picture = PictureFile(made.picture(folder / "a.png", 0))
    objects = [Marked(names[i % len(names)], box) for i, box in enumerate(boxes)]
    return Listing("test", "made", labels, [Candidate("a", picture, objects, "a", None, size, shares)])


def test_an_overhang_is_clipped_up_to_what_is_allowed(tmp_path):
    found = checked(listing(tmp_path, (-1, 2, 30, 48.9), (3, 3, 64, 48)), Rules(max_overhang=1))
    assert found.scenes[0].boxes == [(0, 2, 30, 48), (3, 3, 64, 48)] and found.clipped == 1
    found = checked(listing(tmp_path, (-1, 2, 30, 48.9)), Rules(max_overhang=0.5, max_quarantined=1))
    assert [q.reason for q in found.quarantined] == ["outside the picture"] and found.clipped == 0


def test_a_sliver_outside_is_no_box(tmp_path):
    found = checked(listing(tmp_path, (-0.9, 2, 0, 20), (64.0, 2, 64.5, 20)), Rules(max_overhang=1, max_quarantined=1))
    assert [q.reason for q in found.quarantined] == ["zero area", "zero area"]


def test_classes_are_mapped_left_out_or_unknown(tmp_path):
    made_ = listing(tmp_path, *((x, 1, x + 5, 9) for x in range(4)), names=("car", "van", "dog", "cow"))
    rules = Rules(class_map={"van": "vehicle", "car": "vehicle", "dog": None}, max_quarantined=0.5)
    found = checked(made_, rules)
    assert found.labels == ("vehicle",) and found.scenes[0].classes == [0, 0]
    assert [(q.record, q.reason, q.bad) for q in found.quarantined] == [
        (2, "class left out", False),
        (3, "unknown class", True),
    ]


def test_configured_labels_are_kept_in_their_order_even_without_a_box(tmp_path):
    found = checked(listing(tmp_path, (1, 1, 5, 9), labels=("cat", "dog")), Rules(["zebra", "cat"]))
    assert found.labels == ("zebra", "cat") and found.scenes[0].classes == [1] and found.unused == ()


def test_too_many_bad_records_or_pictures_are_an_error(tmp_path):
    boxes = [(x, 1, x + 5, 9) for x in range(9)]
    with pytest.raises(DataError, match=r"1 of 10 records are bad \{'zero area': 1\}: more than 5%.*The first: a\."):
        checked(listing(tmp_path, *boxes, (5, 5, 5, 5)), Rules())
    assert len(checked(listing(tmp_path, *boxes, (5, 5, 5, 5)), Rules(max_quarantined=0.1)).quarantined) == 1
    (tmp_path / "b.png").write_bytes(b"")
    one = listing(tmp_path, *boxes)
    broken = Candidate("b", PictureFile(tmp_path / "b.png"), [], "b")
    with pytest.raises(DataError, match="1 of 2 pictures are bad"):
        checked(Listing("test", "made", (), [*one.candidates, broken]), Rules(max_quarantined=0.4))


def test_what_is_left_out_on_purpose_counts_as_nothing(tmp_path):
    crowd = Candidate(
        "a", PictureFile(made.picture(tmp_path / "a.png", 0)), [Marked("cat", (1, 1, 5, 5), "crowd")], "a"
    )
    assert len(checked(Listing("test", "made", ("cat",), [crowd]), Rules(max_quarantined=0)).quarantined) == 1


def test_a_second_picture_of_the_same_id_is_quarantined(tmp_path):
    one = listing(tmp_path, (1, 1, 5, 9)).candidates[0]
    found = checked(Listing("test", "made", (), [one, one]), Rules(max_quarantined=1))
    assert [(q.scene, q.reason) for q in found.quarantined] == [("a", "another picture has the same id")]


def test_a_picture_turned_after_it_was_annotated_is_told_apart(tmp_path):
    (tmp_path / "t.jpg").write_bytes(
        made.encoded(0, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    )
    turned = PictureFile(tmp_path / "t.jpg")

    def reasons(size):
        candidate = Candidate("t", turned, [Marked("cat", (1, 1, 9, 60))], "t", None, size)
        return [q.reason for q in checked(Listing("test", "", (), [candidate]), Rules(max_quarantined=1)).quarantined]

    assert reasons((48, 64)) == []  # upright, as a person sees it
    assert reasons(None) == []
    assert reasons((64, 48)) == ["annotated before it was turned upright"]
    assert reasons((60, 48)) == ["not of the size that was annotated"]


@pytest.mark.parametrize(
    "values", [{"max_quarantined": 2}, {"max_overhang": -1}, {"labels": []}, {"labels": ["a", "a"]}, {"max_pixels": 0}]
)
def test_rules_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        Rules(**values)
