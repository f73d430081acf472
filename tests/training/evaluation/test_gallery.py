import numpy as np
import pytest

from safelight.detections import Detections
from tests.training.evaluation.made import found, truth
from training.evaluation.gallery import captions, choose, cropped, exhibits
from training.evaluation.observed import Observed
from training.evaluation.panel import KINDS, panel

SIZE = (800, 400)


def scene():
    """Left plot: a hit and a miss. Right plot: a miss and two false alarms."""
    there = truth([[10, 10, 50, 50], [100, 100, 150, 150], [500, 10, 540, 50]], size=SIZE)
    some = found([[12, 10, 52, 50], [600, 300, 640, 340], [700, 300, 740, 340]], [0.9, 0.8, 0.7], size=SIZE)
    return some, there


def test_plots_are_ranked_by_their_f1():
    some, there = scene()
    left, right = exhibits([some], [there], 0.5, 400)
    assert (left.region, left.hits, left.misses, left.false_alarms) == ((0, 0, 400, 400), 1, 1, 0)
    assert (right.region, right.hits, right.misses, right.false_alarms) == ((400, 0, 800, 400), 0, 1, 2)
    assert (left.f1, right.f1) == (pytest.approx(2 / 3), 0)
    assert len(left.errors) == 1 and len(right.errors) == 3
    assert choose([left, right], 4, 4) == ([left], [right])
    seen = Observed(("yard",), (some,), (there,))
    assert captions(right, seen) == "yard, x 400 to 800, y 0 to 400"


def test_whole_pictures_and_empty_ones():
    some, there = scene()
    nothing = (Detections.empty(SIZE), truth([], size=SIZE))
    every = exhibits([some, nothing[0]], [there, nothing[1]], 0.5, None)
    assert [(e.scene, e.region, e.hits, e.misses, e.false_alarms) for e in every] == [(0, (0, 0, *SIZE), 1, 2, 2)]
    assert captions(every[0], Observed(("yard", "sky"), (some, nothing[0]), (there, nothing[1]))) == "yard"
    assert choose([], 3, 3) == ([], [])


def test_best_and_worst_share_nothing_and_are_in_order():
    rng = np.random.default_rng(0)
    found_all, truths = [], []
    for _ in range(9):
        boxes = np.array([[x, 0, x + 20, 20] for x in range(0, 700, 40)])
        keep = rng.random(len(boxes)) < rng.random()
        found_all.append(found(boxes[keep], np.full(keep.sum(), 0.9), size=SIZE))
        truths.append(truth(boxes, size=SIZE))
    best, worst = choose(exhibits(found_all, truths, 0.5, None), 4, 20)
    assert [e.f1 for e in best] == sorted((e.f1 for e in best), reverse=True)
    assert [e.f1 for e in worst] == sorted(e.f1 for e in worst)
    assert not {e.scene for e in best} & {e.scene for e in worst} and len(best) == 4
    assert min(e.f1 for e in best) >= max(e.f1 for e in worst)


def test_a_crop_is_around_the_errors_when_they_are_close_together():
    some, there = scene()
    left, right = exhibits([some], [there], 0.5, 400)
    x0, y0, x1, y1 = cropped(left, SIZE)
    assert x0 < 100 and y0 < 100 and x1 > 150 and y1 > 150 and (x1 - x0) * (y1 - y0) < 400 * 400 / 2
    assert cropped(right, SIZE) == right.region  # errors in three corners
    perfect = exhibits([there_as_found(there)], [there], 0.5, None)[0]
    assert cropped(perfect, SIZE) == (0, 0, *SIZE)


def there_as_found(there):
    return Detections(there.boxes, np.ones(len(there)), there.class_ids, there.image_size)


def colours(picture):
    return {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}


def rgb(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def test_a_panel_shows_hits_misses_and_false_alarms_each_in_its_colour():
    some, there = scene()
    image = np.full((400, 800, 3), 90, np.uint8)
    left, right = exhibits([some], [there], 0.5, 400)
    drawn = panel(image, left, left.region, some, there, ["tree"], 0.5)
    assert drawn.shape == (962, 900, 3) and (image == 90).all()
    pixels = colours(drawn[:900])
    assert {rgb(KINDS[kind][0]) for kind in ("hit", "missed", "true box of a hit")} <= pixels
    assert rgb(KINDS["false alarm"][0]) not in pixels
    assert rgb(KINDS["false alarm"][0]) in colours(panel(image, right, right.region, some, there, ["tree"], 0.5)[:900])
    styles = [style for _, style in KINDS.values()]
    assert len({colour for colour, _ in KINDS.values()}) == 4 and styles.count("solid") == 2


def test_panels_of_slim_and_small_pictures():
    there = truth([[0, 0, 5, 8]], [1], size=(5, 60))
    some = found([[0, 0, 5, 8], [0, 30, 5, 40]], [0.9, 0.3], [0, 1], size=(5, 60))
    (exhibit,) = exhibits([some], [there], 0.5, None)
    image = np.zeros((60, 5, 3), np.uint8)
    drawn = panel(image, exhibit, (0, 0, 5, 60), some, there, ["cat", "dog"], 0.5)
    assert drawn.shape[0] == 962 and drawn.shape[1] >= 600
