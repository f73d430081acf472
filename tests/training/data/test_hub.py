import io
import json

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as PILImage

from safelight.errors import DataError
from tests.training.data import made
from training.data import formats, hub
from training.data.check import checked
from training.data.records import Rules

XYWH = [made.BOX[0], made.BOX[1], made.BOX[2] - made.BOX[0], made.BOX[3] - made.BOX[1]]


def rows(seeds, names=("cat", "dog"), **changes):
    category = List(ClassLabel(names=list(names))) if names else List(Value("int64"))
    features = {"image": Image(), "objects": {"bbox": List(List(Value("float32"))), "category": category}}
    values = {
        "image": [{"bytes": made.encoded(seed), "path": None} for seed in seeds],
        "objects": [{"bbox": [XYWH], "category": [i % 2]} for i, _ in enumerate(seeds)],
    }
    return Dataset.from_dict({**values, **changes}, features=Features(features))


def test_a_saved_data_set_with_splits(tmp_path):
    DatasetDict({"train": rows([0, 1]), "validation": rows([2]), "extra": rows([3])}).save_to_disk(str(tmp_path / "a"))
    listing = formats.read(tmp_path / "a", "auto")
    found = checked(listing, Rules())
    assert listing.why == "dataset_dict.json" and found.labels == ("cat", "dog")
    assert {name: [s.image_id for s in own] for name, own in found.splits.items()} == {
        "train": ["train__000000", "train__000001"],
        "val": ["validation__000000"],
    }
    assert all(list(s.boxes) == [made.BOX] for s in found.scenes)
    assert [(q.scene, q.bad) for q in found.quarantined] == [("extra", False)]
    picture = found.scenes[0].picture.read()
    assert picture == made.encoded(0)  # the very bytes


def test_parquet_files(tmp_path):
    for split, seed in (("train", 0), ("test", 1)):
        rows([seed]).to_parquet(str(tmp_path / f"{split}-00000-of-00001.parquet"))
    listing = formats.read(tmp_path, "auto", cache=tmp_path / "cache")
    assert {c.split: c.objects[0].label for c in listing.candidates} == {"train": "cat", "test": "cat"}


def test_a_folder_of_pictures_with_metadata(tmp_path):
    lines = []
    for i in range(2):
        made.picture(tmp_path / f"p{i}.png", i)
        lines.append({"file_name": f"p{i}.png", "objects": {"bbox": [XYWH], "category": ["dog"]}})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = checked(formats.read(tmp_path, "auto", cache=tmp_path / "cache"), Rules())
    assert found.labels == ("dog",) and found.splits is None and len(found.scenes) == 2


@pytest.mark.parametrize(("form", "box"), [("xywh", XYWH), ("xyxy", list(made.BOX)), ("cxcywh", [24, 21, 32, 18])])
def test_boxes_in_every_form(form, box):
    one = rows([0], objects=[{"bbox": [box], "category": [1]}])
    listing = hub.listing(one, hub.Columns(format=form), "a test")
    assert [(o.label, o.box) for o in listing.candidates[0].objects] == [("dog", made.BOX)]


def test_objects_as_a_list_of_mappings_and_numbers_without_names():
    features = Features(
        {
            "picture": Image(),
            "things": List({"box": List(Value("float32")), "kind": Value("int64")}),
            "image_id": Value("int64"),
        }
    )
    image = PILImage.open(io.BytesIO(made.encoded(0)))
    one = Dataset.from_dict(
        {"picture": [image], "things": [[{"box": [0.125, 0.25, 0.5, 0.375], "kind": 4}]], "image_id": [77]}, features
    )
    columns = hub.Columns(objects="things", box="box", category="kind", shares=True)
    found = checked(hub.listing(one, columns, "a test"), Rules())
    assert found.labels == ("class_4",) and found.scenes[0].image_id == "77"
    assert found.scenes[0].boxes == [(8, 12, 40, 30)]


def test_bad_records_are_quarantined():
    objects = [
        {"bbox": [XYWH, [1, 2], [1, 2, float("nan"), 3], [60, 0, 30, 5]], "category": [0, 0, 0, 0]},
        {"bbox": [XYWH], "category": [None, 1]},
        {"bbox": None, "category": None},
    ]
    broken = [{"bytes": made.encoded(i), "path": None} for i in range(2)] + [{"bytes": b"no picture", "path": None}]
    listing = hub.listing(rows([0, 1, 2], image=broken, objects=objects), hub.Columns(), "a test")
    found = checked(listing, Rules(max_quarantined=1))
    assert [(q.scene, q.record, q.reason) for q in found.quarantined] == [
        ("000000", 1, "malformed"),
        ("000000", 2, "malformed"),
        ("000000", 3, "outside the picture"),
        ("000001", 0, "unknown class"),
        ("000001", 1, "malformed"),
        ("000002", None, "unreadable image"),
    ]


def test_columns_that_are_not_there_are_named():
    with pytest.raises(DataError, match=r"data\.columns\.objects"):
        hub.listing(rows([0]).rename_column("objects", "marks"), hub.Columns(), "a test")
    with pytest.raises(DataError, match=r"data\.columns\.box"):
        hub.listing(rows([0]), hub.Columns(box="corners"), "a test")
    with pytest.raises(ValueError, match="format"):
        hub.Columns(format="yxyx")


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "ABCDEF" * 6 + "ABCD"])
def test_a_hub_data_set_needs_a_commit(revision):
    with pytest.raises(DataError, match="40 hex digits"):
        hub.read_hub("owner/name", revision, None, hub.Columns())


def test_what_cannot_be_loaded_is_one_sentence(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be loaded"):
        hub.read(tmp_path)
    with pytest.raises(DataError, match="cannot be loaded"):
        hub.read_hub("owner/name", "0" * 40, None, hub.Columns(), tmp_path / "cache")  # tests are offline
