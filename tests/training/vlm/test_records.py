"""Every line of a user's JSONL is a record or is quarantined, with its number, its text and every reason."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from safelight.errors import ConfigError, DataError
from safelight.reader.quality import QualityLimits
from safelight.reader.task import Task
from tests.training.vlm.made_records import SCHEMA, TASK, folder, lines, picture, pixels, record
from training.vlm.checking import Rules, checked, refuse_too_many
from training.vlm.records import Listing, kinds, read_records, write_quarantine


def read(tmp_path, *records, **options):
    return read_records(lines(tmp_path / "mine.jsonl", list(records)), TASK, **options)


def reasons(listing, line):
    (own,) = [q for q in listing.quarantined if q.line == line]
    return [(reason.kind, reason.place) for reason in own.reasons]


def test_good_lines(tmp_path):
    folder(tmp_path, {"mine": range(3)})
    found = read_records(tmp_path / "mine.jsonl", TASK, split="test")
    assert found.lines == 3 and not found.quarantined
    one = found.records[1]
    assert (one.file, one.line, one.image_path, one.split) == ("mine.jsonl", 2, "images/1.png", "test")
    assert one.answer == {"colour": "red", "counts": [1, 0], "serial": "s0"} and list(one.answer) == list(TASK.fields)
    assert one.picture == tmp_path / "images/1.png" and json.loads(one.text) == record(1)


BAD = {
    "not json\n": [("json", "")],
    '{"image_path": "images/0.png", "colour": "red", "counts": [1]\n': [("json", "")],
    '{"image_path": "images/0.png", "colour": "red", "colour": "red", "counts": []}\n': [("json", "")],
    '{"image_path": "images/0.png", "colour": "red", "counts": [NaN]}\n': [("json", "")],
    '{"image_path": "images/0.png", "colour": "red", "counts": [], "serial": "\\ud800"}\n': [("json", "")],
    "[1, 2]\n": [("object", "")],
    "{}\n": [("object", "")],
    json.dumps(record(0, colour="mauve", counts=[1, 12])) + "\n": [("schema", "/colour"), ("schema", "/counts/1")],
    json.dumps({"image_path": "images/0.png", "colour": "red"}) + "\n": [("schema", "")],
    json.dumps(record(0, size=3)) + "\n": [("schema", "")],
    json.dumps({"colour": "red", "counts": []}) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path=7)) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path="../other/0.png")) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path="images\\..\\..\\0.png")) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path="/etc/hostname")) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path="link.png")) + "\n": [("image_path", "/image_path")],
    json.dumps(record(0, image_path="images/none.png")) + "\n": [("picture", "/image_path")],
    json.dumps(record(0, image_path="a\0b")) + "\n": [("picture", "/image_path")],
    json.dumps(record(0, image_path="x" * 5000)) + "\n": [("picture", "/image_path")],
    json.dumps(record(0, image_path="images/none.png", colour=1)) + "\n": [
        ("picture", "/image_path"),
        ("schema", "/colour"),
    ],
}


@pytest.mark.parametrize("line", BAD, ids=range(len(BAD)))
def test_bad_lines(tmp_path, line):
    outside = picture(tmp_path / "elsewhere/0.png", 9)
    root = tmp_path / "mine"
    picture(root / "images/0.png", 0)
    (root / "link.png").symlink_to(outside)
    found = read(root, record(0), "\n", line)
    assert [r.line for r in found.records] == [1] and found.lines == 2
    assert reasons(found, 3) == BAD[line]
    assert found.quarantined[0].text == line.rstrip("\n")
    assert all(reason.message for reason in found.quarantined[0].reasons)


def test_bytes_that_are_no_text_are_kept(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"colour": "\xff"}\n' + b'"' + b"x" * (1 << 20) + b'"\n')
    found = read_records(path, TASK)
    assert [reasons(found, n) for n in (1, 2)] == [[("json", "")], [("json", "")]]
    write_quarantine(tmp_path / "q.jsonl", found.quarantined)
    stored = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert stored[0]["text"].encode("utf-8", "surrogateescape") == b'{"colour": "\xff"}'
    assert len(stored[1]["text"]) == (1 << 20) + 2


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_line_is_lost_whatever_it_holds(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "mine.jsonl"
    path.write_bytes(data)
    found = read_records(path, TASK)
    wanted = [part for part in data.split(b"\n") if part.strip()]
    assert found.lines == len(wanted) == len(found.quarantined) and not found.records


def test_fields_that_are_no_part_of_the_answer(tmp_path):
    folder(tmp_path, {"mine": range(1)})
    assert not read(tmp_path, record(0, note="dusty")).records
    (own,) = read(tmp_path, record(0, note="dusty"), ignore=["note"]).records
    assert "note" not in own.answer
    with pytest.raises(ConfigError, match="image_path"):
        read(tmp_path, record(0), ignore=["image_path"])
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "image_path": {"type": "string"}}}
    with pytest.raises(ConfigError, match="image_path"):
        read_records(tmp_path / "mine.jsonl", Task("blocks", schema, "?", 64))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="can be read"):
        read_records(tmp_path / "none.jsonl", TASK)


def test_pictures_are_opened(tmp_path):
    folder(tmp_path, {"mine": range(3)})
    (tmp_path / "images/1.png").write_bytes((tmp_path / "images/1.png").read_bytes()[:-200])
    found = checked(read_records(tmp_path / "mine.jsonl", TASK), Rules())
    assert [own.record.line for own in found.records] == [1, 3] and found.lines == 3
    (bad,) = found.quarantined
    assert (bad.line, bad.reasons[0].kind, json.loads(bad.text)) == (2, "picture", record(1))
    assert found.records[0].quality.width == 160 and found.records[0].plain


def test_too_many_pixels_and_poor_pictures(tmp_path):
    folder(tmp_path, {"mine": range(2)})
    Image.fromarray(np.full((160, 160, 3), 60, np.uint8)).save(tmp_path / "images/1.png")
    listing = read_records(tmp_path / "mine.jsonl", TASK)
    assert not checked(listing, Rules()).quarantined
    (poor,) = checked(listing, Rules(limits=QualityLimits())).quarantined
    assert {reason.kind for reason in poor.reasons} == {"quality"}
    assert any("sharpness" in r.message and "at least" in r.message for r in poor.reasons)
    assert len(checked(listing, Rules(max_pixels=100)).quarantined) == 2


def test_the_same_picture_twice(tmp_path):
    """By its pixels: under one name or two, as PNG or BMP."""
    folder(tmp_path, {"mine": range(2)})
    Image.fromarray(pixels(0)).save(tmp_path / "images/copy.bmp")
    same = {key: value for key, value in record(0).items() if key != "image_path"}
    listing = read(tmp_path, record(0), record(1), record(0), {"image_path": "images/copy.bmp", **same})
    found = checked(listing, Rules())
    assert [own.record.line for own in found.records] == [1, 2]
    assert [(q.line, q.reasons[0].kind) for q in found.quarantined] == [(3, "duplicate"), (4, "duplicate")]
    assert "line 1 of mine.jsonl" in found.quarantined[0].reasons[0].message


def test_one_picture_two_answers(tmp_path):
    folder(tmp_path, {"mine": range(2)})
    found = checked(read(tmp_path, record(0), record(1), record(0, colour="blue")), Rules())
    assert [own.record.line for own in found.records] == [2]
    assert [(q.line, q.reasons[0].kind) for q in found.quarantined] == [(1, "contradiction"), (3, "contradiction")]


def test_the_same_picture_in_two_splits_is_a_leak_and_no_double(tmp_path):
    folder(tmp_path, {"train": range(2), "test": range(1, 3)})
    parts = [read_records(tmp_path / f"{name}.jsonl", TASK, split=name) for name in ("train", "test")]
    both = Listing(tuple(r for part in parts for r in part.records), (), 4)
    assert len(checked(both, Rules()).records) == 4


def test_too_many_bad_lines(tmp_path):
    folder(tmp_path, {"mine": range(3)})
    found = checked(read(tmp_path, *map(record, range(3)), "oops\n"), Rules())
    refuse_too_many(found, 0.25)
    with pytest.raises(DataError, match=r"1 of 4 lines were set aside \(json 1\): more than 20%"):
        refuse_too_many(found, 0.2)
    nothing = checked(read(tmp_path, "oops\n"), Rules())
    with pytest.raises(DataError, match="at least one record"):
        refuse_too_many(nothing, 1.0)
    assert kinds(nothing.quarantined) == {"json": 1}
    with pytest.raises(ValueError, match="max_quarantined"):
        Rules(max_quarantined=2)
