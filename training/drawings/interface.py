"""What draws the pictures of a task, and where it is found. Knows nothing of files or of learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from safelight.errors import ConfigError

Pixels = NDArray[np.uint8]
Answer = dict[str, Any]
Place = tuple[float, float]
DrawingName = Literal["keys", "meters"]
DRAWINGS: tuple[DrawingName, ...] = ("keys", "meters")


CELL = 4
"""Pixels a side of a cell of `Drawn.coverage`."""


@dataclass(frozen=True)
class Drawn:
    """A picture with what is known of it beside its answer. pixels: `(336, 336, 3)` uint8 RGB. places: where in it the values
    of the answer are to be seen, (x, y) pixels by JSON Pointer; for each character of a text, as POINTER/0, POINTER/1, where
    they stand apart. coverage: `(84, 84)` uint8, how far the thing covers each cell, 255 for all of it. frame: `(3, 3)`, the
    homography from pixels to coordinates on the thing, from about -1 to 1."""

    pixels: Pixels
    places: dict[str, Place]
    coverage: NDArray[np.uint8]
    frame: NDArray[np.float64]


def covered(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`Drawn.coverage` of a mask of the picture's size, 255 where the thing is."""
    height, width = mask.shape
    cells = mask.reshape(height // CELL, CELL, width // CELL, CELL).mean((1, 3))
    whole: NDArray[np.uint8] = np.rint(cells).astype(np.uint8)
    return whole


class Drawing(Protocol):
    """A module of training.drawings. All that is left to chance comes from `rng`, so that a seed is a picture."""

    def sample(self, rng: np.random.Generator) -> Answer:
        """What is to be read on a picture, drawn from all that there may be."""
        ...

    def group(self, answer: Answer) -> str:
        """What must not be in two splits at once: answers of one group differ in nothing that is hard to read."""
        ...

    def draw(self, rng: np.random.Generator, answer: Answer, difficulty: Mapping[str, Any]) -> Drawn:
        """A picture of `answer`. difficulty: checked by the drawing; raises ConfigError."""
        ...


def drawing(name: str) -> Drawing:
    """The drawing of that name. Raises ConfigError for one that there is not."""
    if name not in DRAWINGS:
        raise ConfigError(f"Expected a drawing out of {', '.join(DRAWINGS)}, got {name}.")
    module: Any = import_module(f"training.drawings.{name}")
    return module  # type: ignore[no-any-return]  # a module is looked at through the protocol
