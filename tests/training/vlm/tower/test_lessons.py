"""What a drawn picture teaches: words in their places, values in their patches, whatever the picture was moved by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reader.tasks import task_of
from pipelines.stage import CONF
from safelight.errors import ConfigError
from tests.training.drawings.specifications import task_values
from training.drawings.interface import CELL
from training.drawings.specification import Specification
from training.vlm.photometry import Photometry
from training.vlm.tower.lessons import NOWHERE, Lessons, moved, stacked
from training.vlm.tower.pool import draw
from training.vlm.tower.words import NONE, Words

VALUES = {name: task_values(CONF / f"task/{name}.yaml") for name in ("keys", "meters")}
TASKS = {name: task_of(values) for name, values in VALUES.items()}
STILL = Photometry(1, 1, 0, 0, 0)
PATCH, SIDE = 28, 12


def letters(text: str) -> list[int]:
    """A tokenizer of single characters."""
    return [ord(character) for character in text]


@pytest.fixture(scope="module")
def drawn() -> list[Any]:
    specifications = {name: Specification.of(values["drawing"]) for name, values in VALUES.items()}
    return draw(specifications, {"keys": 12, "meters": 6}, "train", 1, lambda count: None)


@pytest.fixture(scope="module")
def words(drawn: list[Any]) -> Words:
    answers = {name: [TASKS[name].leaves(seen.answer) for seen in drawn if seen.task == name] for name in TASKS}
    return Words(letters, answers, 36)


def test_the_words_of_an_answer_stand_in_their_room(drawn: list[Any], words: Words) -> None:
    for seen in drawn:
        leaves = TASKS[seen.task].leaves(seen.answer)
        targets, layout = words.targets(seen.task, leaves), words.layouts[seen.task]
        asked = targets != NONE
        assert asked.nonzero().flatten().tolist() == list(range(layout.first, layout.first + layout.size))
        for name, value in leaves.items():
            first, room = layout.room[name]
            said = [chr(words.token_ids[number]) for number in targets[first : first + room].tolist()]
            assert "".join(said).rstrip() == str(value)


def test_answers_that_need_more_words_than_a_picture_has_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4 words"):
        Words(letters, {"keys": [{"/a": "12345"}]}, 4)


def test_items_of_a_list_follow_one_another_whichever_was_seen_first() -> None:
    words = Words(letters, {"t": [{"/b/0": 1, "/b/10": 3, "/a": "x"}, {"/b/2": 2}]}, 16)
    assert list(words.layouts["t"].room) == ["/b/0", "/b/2", "/b/10", "/a"]


@given(st.integers(-2, 2), st.integers(-2, 2))
def test_a_moved_picture_is_the_same_elsewhere(dx: int, dy: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    rows, columns = np.clip(np.arange(9) - dy, 0, 8), np.clip(np.arange(7) - dx, 0, 6)
    np.testing.assert_array_equal(moved(pixels, dx, dy), pixels[rows[:, None], columns])


def test_places_move_with_the_picture(drawn: list[Any], words: Words) -> None:
    lessons = Lessons(drawn, TASKS, words, patch=PATCH, shift=2, light=STILL, seed=3, batch=2)
    still = Lessons(drawn, TASKS, words, patch=PATCH)
    steps = set()
    for index in range(len(drawn)):
        number, lesson = lessons._place(index), lessons[index]
        before = still[number]
        rng = np.random.default_rng([3, index])
        dx, dy = (CELL * int(step) for step in rng.integers(-2, 3, 2))
        steps.add((dx, dy))
        np.testing.assert_array_equal(lesson.names, before.names)
        np.testing.assert_array_equal(lesson.words, before.words)
        for i, (x, y) in enumerate(drawn[number].places.values()):
            column, row = (min(max(int(v // PATCH), 0), SIDE - 1) for v in (x + dx, y + dy))
            assert lesson.cells[i] == row * SIDE + column and lesson.names[i] != NOWHERE
        # where on the thing the picture's middle patch lies has moved the other way
        x, y, w = drawn[number].frame @ [6.5 * PATCH - dx, 5.5 * PATCH - dy, 1]
        torch.testing.assert_close(lesson.frame[5 * SIDE + 6], torch.tensor([x / w, y / w], dtype=torch.float32))
    assert len(steps) > 4


def test_a_patch_is_covered_as_far_as_the_thing_covers_its_pixels(drawn: list[Any], words: Words) -> None:
    seen = drawn[0]
    lesson = Lessons(drawn, TASKS, words, patch=PATCH)[0]
    cells = PATCH // CELL
    whole = lesson.covered.reshape(SIDE, SIDE, cells, cells).permute(0, 2, 1, 3).reshape(SIDE * cells, SIDE * cells)
    np.testing.assert_allclose(whole.numpy(), seen.coverage / 255, atol=1e-6)


def test_every_picture_comes_up_once_a_turn_and_batches_are_of_one_task(drawn: list[Any], words: Words) -> None:
    lessons = Lessons(drawn, TASKS, words, patch=PATCH, light=STILL, seed=1, batch=3)
    for turn in range(3):
        order = [lessons._place(turn * len(drawn) + i) for i in range(len(drawn))]
        assert sorted(order) == list(range(len(drawn)))
        assert all(len({drawn[i].task for i in order[start : start + 3]}) == 1 for start in range(0, len(order), 3))


def test_a_batch_has_a_dimension_more(drawn: list[Any], words: Words) -> None:
    batch = stacked([Lessons(drawn, TASKS, words, patch=PATCH)[i] for i in (0, 13)])
    assert batch.picture.shape == (2, 3, 336, 336) and batch.picture.abs().max() <= 1
    assert batch.covered.shape == (2, SIDE**2, (PATCH // CELL) ** 2) and batch.frame.shape == (2, SIDE**2, 2)
