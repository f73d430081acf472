import numpy as np
import pytest
from datasets import load_from_disk
from PIL import Image

from safelight.errors import DataError
from training.data.scenes import write_split
from training.data.voc import crop_scene, read_scene

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def scene_files(folder, *objects, picture=(100, 80)):
    xml = "<annotation>" + "".join(OBJECT.format(*o) for o in objects) + "</annotation>"
    (folder / "s.xml").write_text(xml)
    pixels = np.arange(picture[0] * picture[1] * 3, dtype=np.uint32).astype(np.uint8).reshape(picture[1], picture[0], 3)
    Image.fromarray(pixels).save(folder / "s.png")
    return folder / "s.png", folder / "s.xml"


def read(folder, *objects):
    return read_scene(*scene_files(folder, *objects), ["tree"], {"Tree": "tree", "Alive": "tree"})


def test_good_records_are_read(tmp_path):
    scene, bad = read(tmp_path, ("Tree", 1, 2, 30, 40), ("Alive", 0, 0, 100, 80))
    assert bad == []
    assert scene.boxes == [(1, 2, 30, 40), (0, 0, 100, 80)]
    assert scene.classes == [0, 0] and scene.size == (100, 80)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (("Tree", 1, 2, 130, 40), "outside the picture"),
        (("Tree", -1, 2, 30, 40), "outside the picture"),
        (("Tree", 10, 2, 10, 40), "zero area"),
        (("Tree", 30, 2, 10, 40), "zero area"),
        (("Tree", "nan", 2, 10, 40), "zero area"),
        (("Tree", "x", 2, 10, 40), "malformed"),
        (("Tree", "", 2, 10, 40), "malformed"),
        (("Bush", 1, 2, 10, 40), "unknown class"),
    ],
)
def test_bad_records_are_quarantined_with_their_reason(tmp_path, record, reason):
    scene, bad = read(tmp_path, ("Tree", 1, 2, 30, 40), record)
    assert len(scene.boxes) == 1
    assert [(q.record, q.reason) for q in bad] == [(1, reason)]


def test_a_picture_that_cannot_be_read_is_quarantined(tmp_path):
    picture, xml = scene_files(tmp_path)
    picture.write_bytes(picture.read_bytes()[:60])
    scene, bad = read_scene(picture, xml, ["tree"], {})
    assert scene is None and bad[0].reason == "unreadable image"


BILLION = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>'


@pytest.mark.parametrize("text", [None, "not xml", BILLION])
def test_an_annotation_that_is_no_xml_stops(tmp_path, text):
    picture, xml = scene_files(tmp_path)
    xml.unlink() if text is None else xml.write_text(text)
    with pytest.raises(DataError, match="Pascal VOC XML"):
        read_scene(picture, xml, ["tree"], {})


def test_a_region_keeps_what_is_mostly_inside(tmp_path):
    scene, _ = read(tmp_path, ("Tree", 0, 0, 20, 20), ("Tree", 15, 0, 35, 20), ("Tree", 60, 60, 70, 70))
    part = crop_scene(scene, (20, 0, 100, 80), 0.5)
    assert part.boxes == [(0, 0, 15, 20), (40, 60, 50, 70)]
    assert part.size == (80, 80)
    with pytest.raises(DataError, match="inside"):
        crop_scene(scene, (20, 0, 101, 80), 0.5)


def test_a_split_holds_the_pixels_and_the_boxes(tmp_path):
    scene, _ = read(tmp_path, ("Tree", 30, 10, 50, 40))
    region = (20, 0, 100, 80)
    cut = crop_scene(scene, region, 0.5)
    digest = write_split([(cut, region)], ["tree"], tmp_path / "a")
    row = load_from_disk(str(tmp_path / "a"))[0]
    assert np.array_equal(np.asarray(row["image"]), np.asarray(Image.open(scene.path))[0:80, 20:100])
    assert row["objects"] == {"bbox": [[10, 10, 20, 30]], "category": [0]}
    assert digest == write_split([(cut, region)], ["tree"], tmp_path / "b")
    assert digest != write_split([(cut, region)], ["shrub"], tmp_path / "c")
    arrow = [next((tmp_path / f).glob("*.arrow")).read_bytes() for f in "ab"]
    assert arrow[0] == arrow[1]


def test_too_many_bad_records_stop_the_stage(tmp_path):
    from pipelines.prepare import _read_scenes

    scene_files(tmp_path, ("Tree", 1, 2, 30, 40), ("Bush", 1, 2, 30, 40))
    data = {
        "folder": str(tmp_path),
        "labels": ["tree"],
        "class_map": {"Tree": "tree"},
        "splits": {"train": [{"scene": "s"}]},
        "max_quarantined": 0.05,
    }
    with pytest.raises(DataError, match=r"1 of 2 records are bad \{'unknown class': 1\}"):
        _read_scenes(data)
    scenes, bad, records = _read_scenes({**data, "max_quarantined": 0.5})
    assert (len(scenes["s"].boxes), len(bad), records) == (1, 1, 2)
