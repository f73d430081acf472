"""What a picture teaches: which word each image token is to mean, and where in the picture which value is to be seen.

Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from safelight.reader.picture import to_input
from safelight.reader.task import Task
from training.drawings.interface import Pixels
from training.vlm.photometry import Photometry
from training.vlm.tower.pool import Seen
from training.vlm.tower.words import Words

NOWHERE = -1
_MOST_PLACES = 16


@dataclass(frozen=True)
class Lesson:
    """picture: `(3, S, S)` float32 in [-1, 1]. words: see `Words.targets`. For each of the places that there are, filled up
    with `NOWHERE`: names, `(P,)` int64, which value it is; cells, `(P,)` int64, the patch it lies in; values, `(P,)` int64,
    the number of its (first) word."""

    picture: Tensor
    words: Tensor
    names: Tensor
    cells: Tensor
    values: Tensor


class Lessons(Dataset[Lesson]):
    """An endless numbered stream over `pictures`, in an order of its own each time round, moved and relit at every look.

    patch: of the tower, pixels. shift: greatest move of a picture, pixels. light: how the light varies; None: as drawn, and
    nothing moves."""

    def __init__(
        self,
        pictures: Sequence[Seen],
        tasks: Mapping[str, Task],
        words: Words,
        *,
        patch: int,
        shift: int = 0,
        light: Photometry | None = None,
        seed: int = 0,
    ) -> None:
        self._pictures, self._tasks, self._words = pictures, tasks, words
        self._patch, self._shift, self._light, self._seed = patch, shift, light, seed
        self._orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Lesson:
        if self._light is None:
            return self._lesson(self._pictures[index], self._pictures[index].pixels(), (0, 0))
        rng = np.random.default_rng([self._seed, index])
        seen = self._pictures[self._place(index)]
        dx, dy = (int(step) for step in rng.integers(-self._shift, self._shift + 1, 2))
        pixels = self._light.varied(moved(seen.pixels(), dx, dy), rng)
        return self._lesson(seen, pixels, (dx, dy))

    def _place(self, index: int) -> int:
        turn, within = divmod(index, len(self._pictures))
        if turn not in self._orders:
            self._orders = {turn: np.random.default_rng([self._seed, 1, turn]).permutation(len(self._pictures))}
        return int(self._orders[turn][within])

    def _lesson(self, seen: Seen, pixels: Pixels, step: tuple[int, int]) -> Lesson:
        task = self._tasks[seen.task]
        leaves = task.leaves(seen.answer)
        side = task.image_side // self._patch
        names = torch.full((_MOST_PLACES,), NOWHERE)
        cells, values = torch.zeros(_MOST_PLACES, dtype=torch.int64), torch.zeros(_MOST_PLACES, dtype=torch.int64)
        for i, (name, (x, y)) in enumerate(seen.places.items()):
            column, row = (min(max(int(v // self._patch), 0), side - 1) for v in (x + step[0], y + step[1]))
            names[i], cells[i] = self._words.place(seen.task, name), row * side + column
            values[i] = self._words.word(_text(leaves, name))
        words = self._words.targets(seen.task, leaves)
        return Lesson(torch.from_numpy(to_input(pixels, task.image_side)), words, names, cells, values)


def moved(pixels: Pixels, dx: int, dy: int) -> Pixels:
    """The picture, moved to the right and down; what comes in at its border is its border."""
    height, width = pixels.shape[:2]
    rows = np.clip(np.arange(height) - dy, 0, height - 1)
    columns = np.clip(np.arange(width) - dx, 0, width - 1)
    shifted: Pixels = pixels[rows[:, None], columns]
    return shifted


def stacked(lessons: Sequence[Lesson]) -> Lesson:
    """A batch: every tensor with a batch dimension in front."""
    return Lesson(*(torch.stack([getattr(lesson, name) for lesson in lessons]) for name in Lesson.__dataclass_fields__))


def _text(leaves: Mapping[str, object], name: str) -> str:
    """What is to be seen at a place: a value, or the character of a text."""
    if name in leaves:
        return str(leaves[name])
    whole, _, number = name.rpartition("/")
    return str(leaves[whole])[int(number)]
