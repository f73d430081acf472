"""Each measure moves as its name says, and each limit names what to do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from pydantic import ValidationError

from safelight.reader.quality import MEASURED_SIDE, Problem, QualityLimits, measure, problems

NOTHING = QualityLimits(**dict.fromkeys(QualityLimits.model_fields))


def textured(seed, height=240, width=320):
    """Coarse and fine structure, no clipping."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(40, 216, (height // 20, width // 20, 3)), np.ones((20, 20, 1)))
    return (coarse + rng.integers(-10, 11, (height, width, 3))).clip(20, 235).astype(np.uint8)


@given(st.integers(0, 1000), st.floats(0.5, 2), st.floats(1.5, 3))
@settings(max_examples=25, deadline=None)
def test_blur_lowers_sharpness(seed, radius, factor):
    sharp = Image.fromarray(textured(seed))
    blurred = [sharp.filter(ImageFilter.GaussianBlur(r)) for r in (radius, radius * factor)]
    a, b, c = (measure(np.asarray(image)).sharpness for image in (sharp, *blurred))
    assert a > b > c > 0


@given(st.integers(0, 1000), st.floats(0.2, 0.95))
@settings(max_examples=25, deadline=None)
def test_less_light_and_less_contrast(seed, factor):
    pixels = textured(seed)
    darker = (pixels * factor).astype(np.uint8)
    flatter = (128 + (pixels.astype(float) - 128) * factor).astype(np.uint8)
    whole = measure(pixels)
    assert measure(darker).luminance == pytest.approx(whole.luminance * factor, abs=0.005)
    assert measure(flatter).contrast == pytest.approx(whole.contrast * factor, abs=0.01)


@given(st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_clipped_shares_are_shares(dark, bright):
    pixels = np.full((MEASURED_SIDE, MEASURED_SIDE, 3), 128, np.uint8)
    rows = round(dark * MEASURED_SIDE)
    pixels[:rows] = 3
    rest = round(bright * (MEASURED_SIDE - rows))
    pixels[rows : rows + rest] = 250
    quality = measure(pixels)
    assert quality.dark == pytest.approx(rows / MEASURED_SIDE) and quality.bright == pytest.approx(rest / MEASURED_SIDE)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_any_plain_picture(height, width, value):
    quality = measure(np.full((height, width, 3), value, np.uint8))
    assert (quality.width, quality.height) == (width, height)
    assert quality.sharpness == pytest.approx(0, abs=1e-6) and quality.contrast == pytest.approx(0, abs=1e-6)
    assert quality.luminance == pytest.approx(value / 255, abs=1e-4)
    assert {"sharpness", "contrast", "side"} <= {p.measure for p in problems(quality, QualityLimits())}
    assert problems(quality, NOTHING) == ()


def test_the_laplacian_by_hand():
    pixels = np.zeros((MEASURED_SIDE, MEASURED_SIDE, 3), np.uint8)
    pixels[100, 100] = 100  # one point: responses -400 and four times 100 among 510 x 510
    count = (MEASURED_SIDE - 2) ** 2
    assert measure(pixels).sharpness == pytest.approx((400**2 + 4 * 100**2) / count, rel=1e-4)


def test_a_good_picture_has_no_problems():
    assert problems(measure(textured(1)), QualityLimits()) == ()
    assert measure(textured(1)).to_dict()["width"] == 320


@pytest.mark.parametrize(
    ("limits", "pixels", "name"),
    [
        ({"min_sharpness": 100.0}, np.full((200, 200, 3), 90, np.uint8), "sharpness"),
        ({"min_luminance": 0.2}, np.full((200, 200, 3), 20, np.uint8), "luminance"),
        ({"max_luminance": 0.8}, np.full((200, 200, 3), 240, np.uint8), "luminance"),
        ({"max_dark": 0.5}, np.full((200, 200, 3), 2, np.uint8), "dark"),
        ({"max_bright": 0.5}, np.full((200, 200, 3), 255, np.uint8), "bright"),
        ({"min_contrast": 0.1}, np.full((200, 200, 3), 90, np.uint8), "contrast"),
        ({"min_side": 201}, np.full((200, 300, 3), 90, np.uint8), "side"),
    ],
)
def test_every_limit(limits, pixels, name):
    (found,) = problems(measure(pixels), NOTHING.model_copy(update=limits))
    assert isinstance(found, Problem) and found.measure == name
    assert found.limit == next(iter(limits.values())) and found.value != found.limit and found.advice.endswith(".")


@pytest.mark.parametrize(
    "values", [{"min_sharpness": -1}, {"max_dark": 1.5}, {"min_blur": 3}, {"min_contrast": float("nan")}]
)
def test_limits_that_cannot_be(values):
    with pytest.raises(ValidationError):
        QualityLimits(**values)


def test_what_is_no_picture():
    with pytest.raises(ValueError, match="uint8"):
        measure(np.zeros((4, 4), np.uint8))
