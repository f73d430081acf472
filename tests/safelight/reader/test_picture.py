import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.preprocess import FILL
from safelight.reader.picture import to_input


def test_a_square_of_the_right_size_is_its_own_values():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    found = to_input(pixels, 48)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.allclose(found, pixels.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([32, 56]))
def test_any_picture_fits(height, width, side):
    pixels = np.zeros((height, width, 3), np.uint8)
    found = to_input(pixels, side)
    assert found.shape == (3, side, side) and found.min() >= -1 and found.max() <= 1
    black = np.count_nonzero(found[0] == -1)
    shown = max(1, round(height * side / max(height, width))) * max(1, round(width * side / max(height, width)))
    assert black == shown
    assert np.allclose(found[found != -1], FILL / 127.5 - 1)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture(pixels):
    with pytest.raises(ValueError, match="uint8"):
        to_input(pixels, 32)
