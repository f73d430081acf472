from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.errors import DataError
from tests.training.data import made
from training.data import voc
from training.data.check import checked
from training.data.records import Rules


def read(root):
    listing = voc.read(root)
    return listing, {c.image_id: c for c in listing.candidates}


def test_files_beside_the_pictures_are_read(tmp_path):
    listing, found = read(made.voc(tmp_path))
    assert sorted(found) == ["p0", "p1", "p2"]
    assert [(o.label, o.box) for o in found["p1"].objects] == [("dog", made.BOX)]
    assert found["p0"].size == made.SIZE and found["p0"].split is None and not found["p0"].shares
    assert listing.quarantined == [] and listing.why == "3 XML files with the root <annotation>, beside the pictures"


def test_the_layout_of_the_challenge_gives_its_splits(tmp_path):
    listing, found = read(made.vockit(tmp_path))
    assert {c.place: c.split for c in found.values()} == {
        "VOC2007/000": "train",
        "VOC2007/001": "val",
        "VOC2007/002": "test",
    }
    assert [(q.scene, q.reason, q.bad) for q in listing.quarantined] == [
        ("VOC2007__003", "in no split of ImageSets/Main", False)
    ]
    assert "Annotations" in listing.why


def test_folders_named_like_splits_are_splits(tmp_path):
    for k, split in enumerate(("train", "valid", "test")):
        made.picture(tmp_path / split / "a.png", k).with_suffix(".xml").write_text(made.xml(("cat", *made.BOX)))
    _, found = read(tmp_path)
    assert {c.image_id: c.split for c in found.values()} == {"train__a": "train", "valid__a": "val", "test__a": "test"}


def test_half_a_record_is_quarantined_whichever_half(tmp_path):
    made.voc(tmp_path)
    (tmp_path / "p0.xml").unlink()
    (tmp_path / "p1.png").unlink()
    (tmp_path / "p2.xml").write_text("<annotation><object>")
    listing, found = read(tmp_path)
    assert found == {}
    assert {q.scene: q.reason for q in listing.quarantined} == {
        "p0": "no annotation file",
        "p1": "no such picture",
        "p2": "malformed annotation file",
    }


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (("Tree", 1, 2, 130, 40), "outside the picture"),
        (("Tree", -1, 2, 30, 40), "outside the picture"),
        (("Tree", 10, 2, 10, 40), "zero area"),
        (("Tree", 30, 2, 10, 40), "zero area"),
        (("Tree", "nan", 2, 10, 40), "malformed"),
        (("Tree", "-inf", 2, 10, 40), "malformed"),
        (("Tree", "x", 2, 10, 40), "malformed"),
        (("Tree", "", 2, 10, 40), "malformed"),
        (("Bush", 1, 2, 10, 40), "unknown class"),
        (("", 1, 2, 10, 40), "unknown class"),
        (("Tree", 1, 2, 30, 40), "the same box twice"),
    ],
)
def test_bad_records_are_quarantined_with_their_reason(tmp_path, record, reason):
    path = made.picture(tmp_path / "s.png", 0)
    path.with_suffix(".xml").write_text(made.xml(("Tree", 1, 2, 30, 40), record))
    found = checked(voc.read(tmp_path), Rules(["tree"], {"Tree": "tree"}, max_quarantined=1))
    assert len(found.scenes[0].boxes) == 1 and found.records == 2
    assert [(q.record, q.reason, q.bad) for q in found.quarantined] == [(1, reason, True)]


BILLION = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>'


@pytest.mark.parametrize(
    "text", [None, "not xml", "<html/>", BILLION, OUTSIDE, '<?xml encoding="no-such"?><annotation/>']
)
def test_an_annotation_that_is_no_xml_stops_where_scenes_are_named(tmp_path, text):
    picture = made.picture(tmp_path / "s.png", 0)
    if text is not None:
        picture.with_suffix(".xml").write_text(text)
    with pytest.raises(DataError, match="Pascal VOC XML"):
        voc.candidate(picture, picture.with_suffix(".xml"))


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda t: f"<annotation>{t}".encode())))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    picture = tmp_path_factory.getbasetemp() / "any.png"
    picture.with_suffix(".xml").write_bytes(data)
    with suppress(DataError):
        assert voc.candidate(picture, picture.with_suffix(".xml")).image_id == "any"


NUMBERISH = st.text(alphabet="0123456789.eE+-nainf ", max_size=6)


@given(st.lists(st.tuples(*[NUMBERISH] * 4), max_size=4), st.text("09-x.", max_size=4))
def test_any_numbers_are_boxes_or_malformed(tmp_path_factory, boxes, side):
    picture = tmp_path_factory.getbasetemp() / "numbers.png"
    text = made.xml(*(("cat", *box) for box in boxes), size=(side, side))
    picture.with_suffix(".xml").write_text(text)
    found = voc.candidate(picture, picture.with_suffix(".xml"))
    assert len(found.objects) == len(boxes)
    assert all(o.box is None or len(o.box) == 4 for o in found.objects)
    assert found.size is None or min(found.size) > 0
