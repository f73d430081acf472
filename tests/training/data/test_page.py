import re

import numpy as np
import pytest

from tests.training.data import made
from training.data import formats
from training.data.card import card
from training.data.charts import coverage
from training.data.check import checked
from training.data.duplicates import pairs
from training.data.page import page, with_boxes
from training.data.parting import SplitRules, parted
from training.data.records import PictureFile, Rules, Scene
from training.data.summary import summary


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """(summary, parts) of a small data set with a crowd of faults, for a card that says private or not."""
    root = made.yolo(tmp_path_factory.mktemp("data"))
    (root / "images/val/p0.jpg").write_bytes((root / "images/train/p0.jpg").read_bytes())
    (root / "labels/train/p1.txt").write_text(made.yolo_line(1) + "\n0 0.5 0.5 0 0\n")
    (root / "data.yaml").write_text("names: ['cat', '<b>$dog$ & co|', 'never']")
    found = checked(formats.read(root, "auto"), Rules(max_quarantined=0.5))
    near = pairs([s.looks for s in found.scenes], 4)
    parting = parted(found, near, SplitRules(max_leaked=1))
    digests = dict.fromkeys(parting.parts, "0" * 64)
    return lambda private: (summary("my-data", found, parting, near, digests, private), parting.parts)


def test_the_summary_counts(told):
    report, _ = told(True)
    assert report["labels"] == ["cat", "<b>$dog$ & co|"] and report["unused_labels"] == ["never"]
    assert report["reasons"] == {"zero area": 1} and report["records"] == 7 and report["pictures"] == 9
    assert report["splits"]["train"]["boxes"] == 2 and report["splits"]["train"]["without_boxes"] == 1
    assert report["splits"]["val"]["pictures_by_class"] == {"cat": 1, "<b>$dog$ & co|": 1}
    assert report["duplicates"]["across"] == [
        {"pictures": ["train__p0", "val__p0"], "splits": ["train", "val"], "distance": 0, "exact": True}
    ]
    assert report["leaked"] == {"val": 0.3333, "test": 0.0}


def test_a_page_of_private_data_holds_no_picture(told):
    text = page(*told(True))
    assert "data:image/jpeg" not in text and "no picture is shown" in text


def test_a_page_is_whole_in_itself_and_always_the_same(told):
    text = page(*told(False))
    assert text == page(*told(False))
    assert text.count("data:image/jpeg") == 6 + 2  # two with boxes of each split, and a pair of twins
    assert text.count("<svg") == 4
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    assert "<script" not in text


def test_class_names_are_text_and_nothing_else(told):
    text = page(*told(False))
    assert "<b>$dog$" not in text and text.count("&lt;b&gt;$dog$") >= 2  # in the table and on an axis


def test_a_card_says_what_is_known_and_what_is_not(told):
    text = card(told(True)[0], True)
    assert text.startswith("# Data card: my-data\n")
    assert "| Private | **Yes.**" in text and "| Licence | unknown: fill in |" in text
    assert "9 pictures, 6 boxes, 2 classes. 1 bad record was set aside." in text
    assert r"| <b>$dog$ & co\| | 1 | 1 | 1 |" in text
    assert "| Private | **No.**" in card(told(False)[0], False)


def test_where_boxes_lie():
    scene = Scene("s", PictureFile(""), (96, 48), [(0, 0, 48, 48), (0, 0, 96, 24)], [0, 0])
    values = coverage([scene])
    assert values[0, 0] == 1 and values[0, 47] == 0.5 and values[47, 0] == 0.5 and values[47, 47] == 0


def test_boxes_are_drawn_where_they_are():
    scene = Scene("s", PictureFile(""), (1280, 960), [(320, 240, 960, 720)], [0])
    before = np.full((960, 1280, 3), 128, np.uint8)
    small = with_boxes(before, scene, ["a thing"])
    assert small.shape == (480, 640, 3)
    changed = np.argwhere((small != 128).any(axis=2))
    assert np.abs(changed[:, 1].min() - 160) <= 2 and np.abs(changed[:, 1].max() - 480) <= 2
    assert np.abs(changed[:, 0].max() - 360) <= 2
