"""Several looks at a picture: what is moved where, what the network is given, and where it is looked at once."""

import numpy as np
import pytest
import torch

from safelight.errors import ConfigError
from tests.training.vlm.families.checkpoints import PROMPT
from training.vlm.families import open_reader
from training.vlm.families.views import checked, looks
from training.vlm.tower.lessons import moved

VIEWS = ((0, 0), (5, 2), (-3, 0), (0, -7))


def test_looks_are_moved_right_and_down_and_their_border_comes_in():
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    found = looks(torch.from_numpy(pictures).permute(0, 3, 1, 2).float(), VIEWS)
    expected = np.stack([moved(picture, dx, dy) for dx, dy in VIEWS for picture in pictures])
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), expected)


def test_a_network_is_given_the_mean_of_its_looks_but_for_training(folders, pictures):
    folder = str(folders("smolvlm"))
    once, around = (open_reader(folder, "smolvlm", image_side=32, views=views) for views in (None, VIEWS))
    assert (once.views, around.views) == (((0, 0),), VIEWS)
    example = once.encode(pictures[0], PROMPT)
    pixels = example.inputs["pixel_values"]
    alone = [
        once.features(type(example)({**example.inputs, "pixel_values": looks(pixels, [view])}, example.labels))
        for view in VIEWS
    ]
    mean = torch.stack([one.inputs["image_features"] for one in alone]).mean(0)
    torch.testing.assert_close(around.features(example).inputs["image_features"], mean)
    around.model.train()
    torch.testing.assert_close(around.features(example).inputs["image_features"], alone[0].inputs["image_features"])


@pytest.mark.parametrize("views", [[], [[0]], [[0, 32]], [[0, -32]]])
def test_views_that_are_none(folders, views):
    with pytest.raises(ConfigError, match="views"):
        open_reader(str(folders("smolvlm")), "smolvlm", image_side=32, views=views)
    with pytest.raises(ConfigError, match="views"):
        checked(views, 32)


@pytest.mark.parametrize("name", ["gemma3n", "qwen3_vl", "lfm2_vl"])
def test_families_that_look_once(folders, name):
    with pytest.raises(ConfigError, match="family smolvlm"):
        open_reader(str(folders(name)), name, views=VIEWS)
