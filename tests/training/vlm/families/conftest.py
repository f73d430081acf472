"""One checkpoint of each family for all tests here."""

import numpy as np
import pytest

from tests.training.vlm.families import checkpoints
from training.vlm.families import open_reader


@pytest.fixture(autouse=True)
def tower():
    """Gemma 3n's vision tower is looked up when a checkpoint is opened."""
    checkpoints.register_tower()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            checkpoints.write(name, made[name])
        return made[name]

    return folder


@pytest.fixture
def opened(folders):
    """A fresh reader of a checkpoint, and what it is made of."""

    def reader(name, **options):
        kind = checkpoints.KINDS[name]
        return open_reader(str(folders(name)), kind.family, image_side=kind.side, **options), kind

    return reader


@pytest.fixture
def pictures():
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (24, 40, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture
def batch(pictures):
    """Two examples of different lengths, collated."""
    return lambda reader: reader.collate(
        [
            reader.encode(picture, checkpoints.PROMPT, answer)
            for picture, answer in zip(pictures, checkpoints.ANSWERS, strict=False)
        ]
    )
