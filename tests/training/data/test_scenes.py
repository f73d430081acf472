import numpy as np
import pytest
from datasets import load_from_disk

from safelight.errors import DataError
from tests.training.data import made
from training.data.records import PictureFile, Scene
from training.data.regions import crop_scene
from training.data.scenes import whole, write_split


def scene(folder, name="s.png", boxes=((8, 12, 40, 30),), seed=0):
    picture = PictureFile(made.picture(folder / name, seed))
    return Scene(name, picture, made.SIZE, list(boxes), [0] * len(boxes))


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_region_keeps_what_is_mostly_inside(tmp_path):
    part = crop_scene(scene(tmp_path, boxes=[(0, 0, 20, 20), (15, 0, 35, 20), (50, 30, 60, 40)]), (20, 0, 64, 48), 0.5)
    assert part.boxes == [(0, 0, 15, 20), (30, 30, 40, 40)] and part.size == (44, 48)


def test_a_split_holds_the_pixels_and_the_boxes(tmp_path):
    one, region = scene(tmp_path), (4, 0, 64, 40)
    cut = crop_scene(one, region, 0.5)
    digest = write_split([(cut, region)], ["tree"], tmp_path / "a")
    row = load_from_disk(str(tmp_path / "a"))[0]
    assert np.array_equal(np.asarray(row["image"]), made.pixels(0)[0:40, 4:64])
    assert row["objects"] == {"bbox": [[4, 12, 32, 18]], "category": [0]}
    assert digest != write_split([(cut, region)], ["shrub"], tmp_path / "b")


def test_a_whole_picture_keeps_its_bytes_and_a_turned_one_becomes_upright(tmp_path):
    plain = scene(tmp_path, "s.jpg")
    (tmp_path / "t.jpg").write_bytes(made.encoded(1, "JPEG", exif=_turned()))
    turned = Scene("t", PictureFile(tmp_path / "t.jpg"), (48, 64), [(0, 0, 48, 32)], [0])
    write_split([(plain, None), (plain, (0, 0, 64, 48)), (turned, None)], ["tree"], tmp_path / "a")
    table = load_from_disk(str(tmp_path / "a")).data.column("image").to_pylist()
    assert table[0]["bytes"] == table[1]["bytes"] == plain.picture.read()
    assert table[2]["bytes"].startswith(b"\x89PNG")
    assert load_from_disk(str(tmp_path / "a"))[2]["image"].size == (48, 64)


def test_the_same_scenes_make_the_same_folder_byte_for_byte(tmp_path):
    scenes = [(scene(tmp_path, f"{i}.png", seed=i), None) for i in range(20)]
    one, other = (write_split(scenes, ["tree"], tmp_path / name) for name in "ab")
    assert one == other and files(tmp_path / "a") == files(tmp_path / "b")
    assert load_from_disk(str(tmp_path / "a"))["image_id"] == [f"{i}.png" for i in range(20)]
    assert not list(tmp_path.glob(".*"))


def test_a_split_without_scenes_is_refused(tmp_path):
    with pytest.raises(DataError, match="pictures in the split 'a'"):
        write_split([], ["tree"], tmp_path / "a")


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "made"
    for leftover in (".made.new", ".made.old"):
        (tmp_path / leftover).mkdir()
    with pytest.raises(RuntimeError), whole(target) as folder:
        (folder / "a").write_text("1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with whole(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(RuntimeError), whole(target) as folder:
        raise RuntimeError
    with whole(target) as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in tmp_path.rglob("*")] == ["made", "b"]


def _turned():
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
