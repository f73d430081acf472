"""What a picture teaches: which word each image token is to mean, and where in the picture which value is to be seen.

Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from safelight.reader.picture import to_input
from safelight.reader.task import Task
from training.drawings.interface import CELL, Pixels
from training.vlm.photometry import Photometry
from training.vlm.tower.pool import Seen
from training.vlm.tower.words import Words

NOWHERE = -1
_MOST_PLACES = 16


@dataclass(frozen=True)
class Lesson:
    """picture: `(3, S, S)` float32 in [-1, 1]. words: see `Words.targets`. For each of the places that there are, filled up
    with `NOWHERE`: names, `(P,)` int64, which value it is; cells, `(P,)` int64, the patch it lies in; values, `(P,)` int64,
    the number of its (first) word. For each of the patches, N in all: covered, `(N, C)` float32 in [0, 1], how far the thing
    covers each cell of it; frame, `(N, 2)` float32, where on the thing its middle is, about -1 to 1."""

    picture: Tensor
    words: Tensor
    names: Tensor
    cells: Tensor
    values: Tensor
    covered: Tensor
    frame: Tensor


class Lessons(Dataset[Lesson]):
    """An endless numbered stream over `pictures`, in an order of its own each time round, moved and relit at every look.

    patch: of the tower, pixels. shift: greatest move of a picture, cells of
    `Drawn.coverage`. light: how the light varies; None: as drawn, and
    nothing moves. batch: how many pictures of one task follow one another."""

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
        batch: int = 1,
    ) -> None:
        self._pictures, self._tasks, self._words = pictures, tasks, words
        self._patch, self._shift, self._light, self._seed, self._batch = patch, shift, light, seed, batch
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Lesson:
        if self._light is None:
            return self._lesson(self._pictures[index], self._pictures[index].pixels(), (0, 0))
        rng = np.random.default_rng([self._seed, index])
        seen = self._pictures[self._place(index)]
        dx, dy = (CELL * int(step) for step in rng.integers(-self._shift, self._shift + 1, 2))
        pixels = self._light.varied(moved(seen.pixels(), dx, dy), rng)
        return self._lesson(seen, pixels, (dx, dy))

    def _place(self, index: int) -> int:
        turn, within = divmod(index, len(self._pictures))
        if turn not in self._orders:
            self._orders = {turn: self._order(np.random.default_rng([self._seed, 1, turn]))}
        return int(self._orders[turn][within])

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Every picture once; those of a batch are of one task, but for the last ones."""
        kinds = np.array([seen.task for seen in self._pictures])
        batches, rest = [], []
        for task in sorted(set(kinds)):
            own = rng.permutation(np.flatnonzero(kinds == task))
            whole = len(own) // self._batch * self._batch
            batches += list(own[:whole].reshape(-1, self._batch))
            rest.append(own[whole:])
        return np.concatenate([*(batches[i] for i in rng.permutation(len(batches))), *rest])

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
        covered = self._by_patch(moved(seen.coverage, step[0] // CELL, step[1] // CELL))
        picture = torch.from_numpy(to_input(pixels, task.image_side))
        return Lesson(picture, words, names, cells, values, covered, self._frame(seen, step, side))

    def _by_patch(self, coverage: NDArray[np.uint8]) -> Tensor:
        """`(N, C)` in [0, 1]."""
        cells = self._patch // CELL
        side = coverage.shape[0] // cells
        parted = coverage.reshape(side, cells, side, cells).transpose(0, 2, 1, 3).reshape(side * side, cells * cells)
        return torch.from_numpy(parted.astype(np.float32) / 255)

    def _frame(self, seen: Seen, step: tuple[int, int], side: int) -> Tensor:
        """`(N, 2)`."""
        middles = (np.arange(side) + 0.5) * self._patch
        x, y = np.meshgrid(middles - step[0], middles - step[1])
        points = np.stack([x.ravel(), y.ravel(), np.ones(side * side)], axis=1) @ seen.frame.T
        return torch.from_numpy((points[:, :2] / points[:, 2:]).astype(np.float32))


def moved(pixels: NDArray[np.uint8], dx: int, dy: int) -> NDArray[np.uint8]:
    """`(H, W)` or `(H, W, 3)`, moved to the right and down; what comes in at its border is its border."""
    height, width = pixels.shape[:2]
    wider = ((max(dy, 0), max(-dy, 0)), (max(dx, 0), max(-dx, 0)), (0, 0))[: pixels.ndim]
    shifted: NDArray[np.uint8] = np.pad(pixels, wider, mode="edge")
    return shifted[max(-dy, 0) :][:height, max(-dx, 0) :][:, :width]


def stacked(lessons: Sequence[Lesson]) -> Lesson:
    """A batch: every tensor with a batch dimension in front."""
    return Lesson(*(torch.stack([getattr(lesson, name) for lesson in lessons]) for name in Lesson.__dataclass_fields__))


def _text(leaves: Mapping[str, object], name: str) -> str:
    """What is to be seen at a place: a value, or the character of a text."""
    if name in leaves:
        return str(leaves[name])
    whole, _, number = name.rpartition("/")
    return str(leaves[whole])[int(number)]
