import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from safelight.detections import Detections
from safelight.drawing import PALETTE, draw, draw_box, ink_on


def test_boxes_are_drawn_and_the_original_stays(picture):
    before = picture.copy()
    found = Detections(np.array([[10, 10, 100, 80]]), np.array([0.5]), np.array([1]), (120, 90))
    drawn = draw(picture, found, ["a", "b"])
    assert drawn.shape == picture.shape
    assert np.array_equal(picture, before)
    assert (drawn[10, 40:90] != picture[10, 40:90]).any()
    assert np.array_equal(drawn[85:], picture[85:])


def test_boxes_of_another_picture_are_refused(picture):
    with pytest.raises(ValueError, match=r"expected boxes on a picture of \(120, 90\), got \(9, 9\)"):
        draw(picture, Detections.empty((9, 9)), [])


def one(box, size, label_id=0):
    return Detections(np.array([box]), np.array([0.5]), np.array([label_id]), size)


def test_a_label_stays_within_the_picture_and_is_left_out_where_it_would_hide_more_than_its_box():
    grey = np.full((200, 300, 3), 128, np.uint8)
    shown = draw(grey, one([253, 80, 299, 150], (300, 200)), ["cat"])
    plate = (shown == ImageColor.getrgb(PALETTE[0])).all(axis=2)
    assert plate[66:78, 255:299].mean() > 0.4  # above the box, and not cut at the picture's border
    assert plate[66:78].any(axis=0).sum() > 46
    small = draw(grey, one([100, 100, 116, 116], (300, 200)), ["a class with a long name"])
    around = np.ones((200, 300), np.bool_)
    around[99:118, 99:118] = False
    assert np.array_equal(small[around], grey[around])


def test_lines_are_seen_on_ground_of_their_own_colour():
    for number, colour in enumerate(PALETTE):
        ground = np.full((60, 60, 3), ImageColor.getrgb(colour), np.uint8)
        drawn = draw(ground, one([10, 10, 50, 50], (60, 60), number), ["x"] * len(PALETTE))
        assert (drawn != ground).any()


def test_ink_is_legible_on_every_colour():
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(colour) / 255]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for colour in (*PALETTE, "#FFFFFF", "#000000"):
        one_, other = sorted(luminance(ImageColor.getrgb(c)) for c in (colour, ink_on(colour)))
        assert (other + 0.05) / (one_ + 0.05) >= 4.5


@pytest.mark.parametrize("style", ["solid", "dashed", "dotted"])
@pytest.mark.parametrize("box", [(10, 10, 90, 60), (0, 0, 1, 1), (5, 5, 5, 5), (-20, -20, 300, 300)])
def test_lines_of_every_style_around_any_box(style, box):
    canvas = Image.new("RGB", (100, 80), "#808080")
    draw_box(ImageDraw.Draw(canvas), box, "#FFFFFF", 3, style)
    drawn = np.asarray(canvas)
    white = (drawn == 255).all(axis=2)
    if box == (10, 10, 90, 60):
        side = white[10:13, 10:91].any(axis=0).mean()
        assert side == 1 if style == "solid" else 0.2 < side < 0.8
        assert not white[20:50, 20:80].any() and not white[:10].any()
