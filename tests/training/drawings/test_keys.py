"""Drawn keys: every cut can be seen where it is said to be, and a seed is a picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safelight.errors import ConfigError
from training.drawings import keys
from training.drawings.keys import outline
from training.drawings.keys.systems import System, systems

PLAIN: dict[str, Any] = {
    "rotation": 0, "perspective": 0, "fill": [0.9, 0.9], "shift": 0, "blur": [0, 0], "noise": [0, 0], "light": [1, 1],
    "gradient": 0, "glare": 0, "glare_strength": [0, 0], "clutter": 0, "wear": 0,
}  # fmt: skip
HARD = PLAIN | {"rotation": 20, "perspective": 0.08, "shift": 10, "glare": 1, "glare_strength": [0.5, 1], "clutter": 9}
SEEDS = st.integers(0, 10_000)


@given(SEEDS)
def test_a_bitting_is_one_that_its_system_can_cut(seed: int) -> None:
    answer = keys.sample(np.random.default_rng(seed))
    system, depths = systems()[answer["keyway"]], answer["bittings"]
    assert len(depths) == system.cuts
    assert all(system.least <= depth < system.least + system.depths for depth in depths)
    assert all(abs(a - b) <= system.macs for a, b in pairwise(depths))
    assert answer["brand"] in system.invented.brands


@given(SEEDS)
def test_every_floor_lies_at_its_depth_on_the_edge(seed: int) -> None:
    answer = keys.sample(np.random.default_rng(seed))
    system = systems()[answer["keyway"]]
    edge = outline.profile(system, answer["bittings"], wear=0)
    for i, depth in enumerate(answer["bittings"]):
        height = np.interp(system.first + i * system.spacing, edge[:, 0], edge[:, 1])
        assert height == pytest.approx(system.root(depth), abs=0.5)


def test_a_system_whose_floors_would_hide_each_other_is_refused() -> None:
    values = systems()["SC1"].model_dump()
    with pytest.raises(ValidationError, match="between two floors"):
        System(**values | {"macs": 9, "increment": 23})
    with pytest.raises(ValidationError, match="bevel"):
        System(**values | {"invented": values["invented"] | {"tip": 60}})


def test_a_seed_is_a_picture() -> None:
    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return keys.draw(rng, keys.sample(rng), HARD).pixels

    assert drawn(3).shape == (336, 336, 3) and drawn(3).dtype == np.uint8
    np.testing.assert_array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))


@pytest.mark.parametrize("difficulty", [PLAIN, HARD])
def test_every_value_has_a_place_in_the_picture(difficulty: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        answer = keys.sample(rng)
        places = keys.draw(rng, answer, difficulty).places
        assert set(places) == {"/keyway", "/brand", *(f"/bittings/{i}" for i in range(len(answer["bittings"])))}
        assert all(-20 <= x <= 356 and 0 <= y < 336 for x, y in places.values())


@pytest.mark.parametrize("change", [{"keyway": "SC1"}, {"bittings": [3, 3, 4, 3, 3]}, {"brand": "Ilco"}])
def test_another_answer_is_another_picture(change: dict[str, Any]) -> None:
    answer = {"keyway": "SC4", "bittings": [3, 3, 3, 3, 3, 3], "brand": "Schlage"}
    if "keyway" in change:  # it has one cut less
        change = {"keyway": "SC1", "bittings": [3, 3, 3, 3, 3]}
    pictures = [
        keys.draw(np.random.default_rng(3), a, PLAIN).pixels.astype(int) for a in (answer, {**answer, **change})
    ]
    assert np.abs(pictures[0] - pictures[1]).max() > 40


def test_a_cut_one_deeper_takes_metal_away_there_and_nowhere_else() -> None:
    one, other = ({"keyway": "KW1", "bittings": [3, 3, depth, 3, 3], "brand": "Kwikset"} for depth in (3, 4))
    before = keys.draw(np.random.default_rng(5), one, PLAIN)
    first, places = before.pixels, before.places
    second = keys.draw(np.random.default_rng(5), other, PLAIN).pixels
    changed = np.argwhere(np.abs(first.astype(int) - second).max(2) > 60)
    x, y = places["/bittings/2"]
    assert len(changed) and (np.abs(changed - [y, x]) < 25).all()


@pytest.mark.parametrize("wrong", [{"rotation": 90}, {"blur": [2, 1]}, {"fog": 1}])
def test_a_difficulty_that_there_is_not_is_refused(wrong: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="difficulty of drawn keys"):
        keys.draw(rng, keys.sample(rng), PLAIN | wrong)


def test_the_frame_says_where_on_the_key_a_pixel_is() -> None:
    rng = np.random.default_rng(2)
    answer = keys.sample(rng)
    system, drawn = systems()[answer["keyway"]], keys.draw(rng, answer, HARD)
    for i, depth in enumerate(answer["bittings"]):
        x, y, w = drawn.frame @ [*drawn.places[f"/bittings/{i}"], 1]
        assert x / w * 700 + 300 == pytest.approx(system.first + i * system.spacing, abs=1e-6)
        assert (y / w + 1) * 170 == pytest.approx(system.root(depth), abs=1e-6)


def test_what_is_covered_is_the_key() -> None:
    answer = {"keyway": "SC1", "bittings": [0, 0, 0, 0, 0], "brand": "Schlage"}
    drawn = keys.draw(np.random.default_rng(1), answer, PLAIN)
    x, y = (int(value) // 4 for value in drawn.places["/keyway"])
    assert drawn.coverage.shape == (84, 84) and drawn.coverage[y, x] == 255
    assert not drawn.coverage[:10].any() and not drawn.coverage[-10:].any()
