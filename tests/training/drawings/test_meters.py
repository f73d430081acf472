"""Drawn meters: answers that hold to the task's schema, digits that show what they say, and the same picture every time."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.stage import CONF
from safelight.errors import ConfigError
from safelight.reader.quality import QualityLimits, measure, problems
from safelight.reader.task import Task
from tests.training.drawings.specifications import task_values
from training.drawings import meters
from training.drawings.meters.difficulty import Difficulty
from training.drawings.meters.segments import LIT, digits, segments
from training.drawings.specification import Specification

VALUES = task_values(CONF / "task/meters.yaml")
TASK = Task(VALUES["name"], VALUES["schema"], VALUES["prompt"], VALUES["image_side"])
PLAIN, HARD = (VALUES["drawing"]["splits"][name]["difficulty"] for name in ("test", "hard"))


def drawn(seed, difficulty=PLAIN):
    rng = np.random.default_rng(seed)
    answer = meters.sample(rng)
    return answer, meters.draw(rng, answer, difficulty).pixels


def test_test_and_hard_are_what_their_figures_were_measured_on():
    """Of each, the first few pictures are drawn again; the stage compares all of them with these digests."""
    assert all(len(split["sha256"]) == 64 for split in VALUES["drawing"]["splits"].values())
    found = hashlib.sha256()
    for split in ("test", "hard"):
        for number in range(4):
            answer, drawn = Specification.of(VALUES["drawing"]).one(meters, split, number)
            pixels = drawn.pixels
            found.update(json.dumps(answer).encode() + pixels.tobytes())
    assert found.hexdigest() == "21dbeb414fe4b89663af8d9bd486423d1b7c872912e004c2300044e84cddb5fe"


def test_every_answer_holds_and_all_kinds_come_up():
    rng = np.random.default_rng(0)
    answers = [meters.sample(rng) for _ in range(2000)]
    assert all(not TASK.violations(answer) for answer in answers)
    assert {answer["unit"] for answer in answers} == set(meters.UNITS)
    kinds = {(a["unit"], len(a["reading"].partition(".")[2])) for a in answers}
    assert kinds == {(unit, decimals) for unit, own in meters.UNITS.items() for decimals in own}
    assert {len(a["reading"].replace(".", "")) for a in answers} == set(meters.DIGITS)
    assert meters.group({"reading": "0012.3", "unit": "GJ"}) == meters.group({"reading": "0012.3", "unit": "m3"})


@pytest.mark.parametrize("difficulty", [PLAIN, HARD], ids=["plain", "hard"])
def test_a_seed_is_a_picture(difficulty):
    one, same, other = (drawn(seed, difficulty)[1] for seed in (5, 5, 6))
    assert one.shape == (336, 336, 3) and one.dtype == np.uint8
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_the_answer_shows_in_the_picture():
    """The same chance, another reading or unit: something else is seen, and where both have a digit it differs little."""
    for change in ({"reading": "00007"}, {"unit": "GJ"}):
        answer = {"reading": "00001", "unit": "kWh"}
        one, other = (
            meters.draw(np.random.default_rng(3), a, PLAIN).pixels.astype(int) for a in (answer, {**answer, **change})
        )
        changed = np.abs(one - other).max(2) > 60
        assert 20 < changed.sum() < 0.1 * changed.size


@pytest.mark.parametrize("place", range(6))
def test_a_digit_is_where_it_is_said_to_be(place):
    """A digit is changed: what changes in the picture lies about its place, at every angle."""
    answer = {"reading": "111111", "unit": "kWh"}
    other = {**answer, "reading": f"{'1' * place}8{'1' * (5 - place)}"}
    harsh = {**HARD, "noise": [0, 0], "blur": [0, 0]}
    drawn = meters.draw(np.random.default_rng(place), answer, harsh)
    one, places = drawn.pixels, drawn.places
    two = meters.draw(np.random.default_rng(place), other, harsh).pixels
    rows, columns = np.nonzero(np.abs(one.astype(int) - two).max(2) > 25)
    assert set(places) == {*(f"/reading/{n}" for n in range(6)), "/unit"}
    x, y = places[f"/reading/{place}"]
    assert len(rows) > 30 and abs(columns.mean() - x) < 14 and abs(rows.mean() - y) < 10


@pytest.mark.parametrize("digit", LIT)
def test_the_segments_of_a_digit_are_lit(digit):
    size = (60.0, 110.0)
    canvas = Image.new("L", (100, 140))
    pen = ImageDraw.Draw(canvas)
    for shape, on in digits(digit, size, 80, 12, 0.0):
        if on:
            pen.polygon([(float(x) + 15, float(y) + 15) for x, y in shape], fill=255)
    middles = {name: shape.mean(0) + 15 for name, shape in segments(size, 12, 1.4).items()}
    assert {name for name, (x, y) in middles.items() if canvas.getpixel((round(x), round(y)))} == set(LIT[digit])


def test_no_two_digits_look_alike_and_a_point_takes_no_room():
    assert len({frozenset(lit) for lit in LIT.values()}) == 10
    with_point, without = (np.concatenate([s for s, _ in digits(t, (60, 110), 80, 12, 0.1)]) for t in ("12.3", "123"))
    assert np.allclose(with_point.max(0)[0], without.max(0)[0])
    assert len(with_point) == len(without) + 4


def test_the_usual_limits_refuse_no_drawn_picture():
    for seed in range(25):
        for difficulty in (PLAIN, HARD):
            assert problems(measure(drawn(seed, difficulty)[1]), QualityLimits()) == ()


@pytest.mark.parametrize(
    ("change", "said"), [({"blur": [2, 1]}, "blur"), ({"rotation": 90}, "rotation"), ({"wear": 1}, "wear")]
)
def test_a_difficulty_that_cannot_be(change, said):
    with pytest.raises(ConfigError, match=said):
        Difficulty.of({**PLAIN, **change})
