"""Real pictures for export come from prepared splits."""

import io

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pillow

from safelight.errors import DataError
from safelight.preprocess import Preprocess
from training.export.samples import calibration_inputs, files


def split(folder, pictures, kind="PNG"):
    rows = []
    for pixels in pictures:
        buffer = io.BytesIO()
        Pillow.fromarray(pixels).save(buffer, kind)
        size = {"width": pixels.shape[1], "height": pixels.shape[0]}
        rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, **size})
    features = Features({"image": Image(), "width": Value("int32"), "height": Value("int32")})
    columns = {name: [row[name] for row in rows] for name in features}
    Dataset.from_dict(columns, features=features).save_to_disk(str(folder))
    return [row["image"]["bytes"] for row in rows]


def plain(value, side=32):
    return np.full((side, side, 3), value, np.uint8)


def test_each_picture_has_its_turn(tmp_path):
    split(tmp_path / "train", [plain(value, 96) for value in (10, 20, 30)] + [plain(40)])
    tiles = Preprocess("tiles", 16, tile=32, overlap=0)
    found = calibration_inputs(tmp_path / "train", tiles, 11, seed=0)
    assert found.shape == (11, 16, 16, 3) and found.dtype == np.uint8
    values, counts = np.unique(found[:, 0, 0, 0], return_counts=True)
    assert values.tolist() == [10, 20, 30, 40]
    assert counts[3] == 1 and sorted(counts[:3]) == [3, 3, 4], "the small one has one tile, the others fill up"


def test_samples_are_those_of_the_seed_and_no_more_than_there_are(tmp_path):
    split(tmp_path / "train", [plain(value) for value in range(0, 200, 20)])
    letterbox = Preprocess("letterbox", 16)

    def drawn(samples, seed):
        return calibration_inputs(tmp_path / "train", letterbox, samples, seed)[:, 0, 0, 0].tolist()

    assert drawn(4, 0) == drawn(4, 0) != drawn(4, 1)
    assert len(drawn(4, 0)) == 4 and sorted(drawn(99, 0)) == list(range(0, 200, 20))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_files_are_the_bytes_that_were_kept(tmp_path, kind):
    data = split(tmp_path / "val", [plain(1), plain(2)], kind)
    assert files(tmp_path / "val") == data


def test_without_a_split_there_is_nothing_to_calibrate_on(tmp_path):
    with pytest.raises(DataError, match="calibrate"):
        calibration_inputs(tmp_path / "train", Preprocess("letterbox", 16), 4, 0)
