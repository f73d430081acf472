import pytest
import torch

from safelight.errors import ConfigError
from safelight.preprocess import Preprocess
from training.detector.datamodule import SceneDataModule
from training.detector.scenes import Augment, LabelledScene

PREPROCESS = Preprocess("tiles", 64, tile=48, overlap=16)


def made(splits, **values):
    arguments = {"batch_size": 4, "steps": 5, "seed": 0, **values}
    return SceneDataModule(str(splits), PREPROCESS, Augment(), **arguments)


def test_as_many_batches_as_steps(splits):
    batches = list(made(splits).train_dataloader())
    assert len(batches) == 5
    pictures, boxes, classes = batches[0]
    assert pictures.shape == (4, 3, 64, 64) and pictures.dtype == torch.float32
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    assert len(boxes) == len(classes) == 4
    assert all(b.shape == (len(c), 4) and c.dtype == torch.int64 for b, c in zip(boxes, classes, strict=True))


def equal(a, b):
    return all(
        torch.equal(x[0], y[0]) and all(torch.equal(p, q) for p, q in zip(x[1], y[1], strict=True))
        for x, y in zip(a, b, strict=True)
    )


def test_the_seed_fixes_every_tile(splits):
    one, two, other = (list(made(splits, seed=seed).train_dataloader()) for seed in (0, 0, 1))
    assert equal(one, two)
    assert not equal(one, other)


def test_workers_make_the_same_tiles(splits):
    assert equal(list(made(splits).train_dataloader()), list(made(splits, workers=1).train_dataloader()))


def test_validation_sees_whole_scenes(splits):
    data = made(splits)
    scenes = list(data.val_dataloader())
    assert [s.image_id for s in scenes] == ["scene-3"]
    assert isinstance(scenes[0], LabelledScene)
    assert data.transfer_batch_to_device(scenes[0], torch.device("cpu"), 0) is scenes[0]


def test_scenes_are_decoded_once(splits):
    data = made(splits)
    assert data.scenes("train") is data.scenes("train")


@pytest.mark.parametrize("values", [{"batch_size": 0}, {"steps": 0}])
def test_nothing_to_do_is_refused(splits, values):
    with pytest.raises(ConfigError, match="at least 1"):
        made(splits, **values)
