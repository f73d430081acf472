import numpy as np
import pytest

from training.vlm.photometry import Photometry

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def looks(photometry, count=40):
    return [photometry.varied(PIXELS, np.random.default_rng([7, number])) for number in range(count)]


def test_the_same_generator_gives_the_same_look_and_another_another():
    one, other = looks(Photometry(share=1), 2), looks(Photometry(share=1), 2)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0], one[1])
    assert one[0].shape == PIXELS.shape and one[0].dtype == np.uint8


def test_a_share_of_the_looks_varies():
    same = sum(look is PIXELS for look in looks(Photometry(share=0.5), 200))
    assert 70 < same < 130
    assert all(look is PIXELS for look in looks(Photometry(share=0)))


def test_each_measure_varies_as_far_as_it_may():
    none = {"brightness": 1.0, "contrast": 1.0, "noise": 0.0, "blur": 0.0, "share": 1.0}
    assert all(np.array_equal(look, PIXELS) for look in looks(Photometry(**none)))
    grey = PIXELS // 2
    random = np.random.default_rng(0)
    means = [Photometry(**{**none, "brightness": 1.5}).varied(grey, random).mean() / grey.mean() for _ in range(60)]
    assert 1 / 1.51 < min(means) < 0.75 and 1.35 < max(means) < 1.51
    spreads = [look.std() / PIXELS.std() for look in looks(Photometry(**{**none, "blur": 1.0}))]
    assert min(spreads) < 0.6 and max(spreads) <= 1
    flat = np.full((50, 50, 3), 128, np.uint8)
    noise = [Photometry(**{**none, "noise": 8.0}).varied(flat, random).std() for _ in range(40)]
    assert min(noise) < 2 and 6 < max(noise) < 8.5


@pytest.mark.parametrize(
    ("name", "value"), [("brightness", 0.9), ("contrast", 0.0), ("noise", -1), ("blur", -0.1), ("share", 1.1)]
)
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Photometry(**{name: value})
